"""South-side protocols that a profile's data cannot describe: one module each, pure.

Owns the choice of a codec by profile. Modules load only when a configured device needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_specs.errors import ProfileError
from firmware_specs.layouts import NamedCodec, NodesCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge.codecs.lines import LineCodec
    from firmware_specs.readings import Sample
    from firmware_specs.schema import Profile

    FrameDecoder = Callable[[bytes, int], list[Sample]]


BY_THE_BROKER: Final[list[Sample]] = []
"""What a decoder gives, by identity, for a will: the broker said it, so the device was not heard."""


def frame_decoder(profile: Profile) -> FrameDecoder:
    """How one whole frame of one device is decoded: (frame, the gateway's clock in ms) to samples.

    The decoder raises FrameError. Raises ProfileError when devices of this profile do not speak in frames.
    """
    codec = profile.codec
    if isinstance(codec, NamedCodec):
        make = _FRAMES.get(codec.name)
        if make is None:
            raise ProfileError(profile.profile, "codec.name", f"{codec.name!r} needs a serial line")
        return make(profile)
    if isinstance(codec, NodesCodec):
        raise ProfileError(profile.profile, "codec.kind", "'nodes' needs an opcua connector")
    from firmware_specs.codec import decoder  # noqa: PLC0415 - only when a device needs it

    return decoder(profile)


def line_codec(devices: Mapping[str, Profile], framing: str = "auto", max_frame_bytes: int = 1024) -> LineCodec:
    """What tells the devices of one serial line apart and decodes them; it names them by their keys in `devices`.

    devices: address to profile; `*` is whoever else speaks on the line.
    framing: for profiles without a protocol of their own: `line`, `nmea` or `stx-etx`; `auto` is `line`.
    Raises ProfileError when the devices cannot share a line.
    """
    families = {_family(profile): profile for profile in devices.values()}
    if len(families) > 1:
        first, second, *_ = families.values()
        raise ProfileError(second.profile, "codec", f"cannot share a serial line with {first.profile!r}")
    family = next(iter(families), "frames")
    return _LINES[family](devices, framing, max_frame_bytes)


def _family(profile: Profile) -> str:
    codec = profile.codec
    return _FAMILIES.get(codec.name, "frames") if isinstance(codec, NamedCodec) else "frames"


def _owntracks(profile: Profile) -> FrameDecoder:
    from edge.codecs.owntracks import owntracks_decoder  # noqa: PLC0415

    return owntracks_decoder(profile)


def _nmea(devices: Mapping[str, Profile], _framing: str, _max_frame_bytes: int) -> LineCodec:
    from edge.codecs.nmea import NmeaLine  # noqa: PLC0415

    return NmeaLine(devices)


def _radio(devices: Mapping[str, Profile], _framing: str, _max_frame_bytes: int) -> LineCodec:
    from edge.codecs.fleetsync import RadioLine  # noqa: PLC0415

    return RadioLine(devices)


def _frames(devices: Mapping[str, Profile], framing: str, max_frame_bytes: int) -> LineCodec:
    from edge.codecs.framed import FramedLine  # noqa: PLC0415

    return FramedLine(devices, framing, max_frame_bytes, frame_decoder)


_FRAMES: Final = {"owntracks": _owntracks}
_FAMILIES: Final = {"nmea": "nmea", "fleetsync": "radio", "nexedge": "radio"}
_LINES: Final = {"nmea": _nmea, "radio": _radio, "frames": _frames}
