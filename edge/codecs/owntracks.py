"""OwnTracks: the JSON that armbands and phones publish over MQTT.

Owns the message types. A location gives a position; a transition gives the place where an area was entered or left;
a `card`, `waypoint(s)`, `cmd`, `steps` or `status` only says that the wearer's device is there, and a `lwt` that the
broker misses it. An encrypted message is refused in words. `acc`, `cog` and the like are left out when zero, except
that a left-out `vel` is not a standstill but unknown.
Source: protocols.md section 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge.codecs import BY_THE_BROKER
from firmware_specs.errors import FrameError
from firmware_specs.layouts import NamedCodec
from firmware_specs.readings import Position, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_specs.schema import Profile

KMH_M_S: Final = 1 / 3.6
MAX_TST_S: Final = 253_402_300_799
"""The last second of the year 9999."""
_SILENT: Final = frozenset(
    {"lwt", "card", "cmd", "steps", "status", "waypoint", "waypoints", "configuration", "dump", "beacon", "request"}
)
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def owntracks_decoder(profile: Profile) -> Callable[[bytes, int], list[Sample]]:
    """The decoder of one armband: (payload, clock) to samples; raises FrameError."""
    wanted = frozenset(profile.metrics)
    codec = profile.codec
    sos_field = codec.sos_field if isinstance(codec, NamedCodec) else None

    def decode(frame: bytes, now_ms: int) -> list[Sample]:  # noqa: ARG001 - the device tells the time
        message = _message(frame)
        if message.get("_type") == "lwt":
            return BY_THE_BROKER
        return [sample for sample in _samples(message, sos_field) if sample.metric in wanted]

    return decode


def _message(frame: bytes) -> dict[str, Any]:
    try:
        return _decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise FrameError("owntracks", 0, f"not a JSON object: {e}") from e


def _samples(message: dict[str, Any], sos_field: str | None) -> list[Sample]:
    kind = message.get("_type")
    if kind in {"location", "transition"}:
        return _placed(message, sos_field, required=kind == "location")
    if kind == "encrypted":
        raise FrameError(
            "owntracks", 0, "the payload is encrypted: clear the key in the app, and use TLS to the broker"
        )
    if kind in _SILENT:
        return []
    raise FrameError("owntracks", 0, f"_type {str(kind)[:40]!r} is not known")


def _placed(message: dict[str, Any], sos_field: str | None, *, required: bool) -> list[Sample]:
    tst = _number(message, "tst")
    if tst is None:
        raise FrameError("owntracks", 0, "tst is missing")
    at_ms = round(tst * 1000) if 0 < tst <= MAX_TST_S else None
    samples: list[Sample] = []
    lat, lon = _number(message, "lat"), _number(message, "lon")
    if lat is not None and lon is not None:
        if not (-90 <= lat <= 90 and -180 <= lon <= 180):
            raise FrameError("owntracks", 0, f"lat {lat:g}, lon {lon:g} is beyond the globe")
        acc = _number(message, "acc")
        samples.append(Sample("position", Position(lat, lon, acc if acc is None or acc >= 0 else None), at_ms))
    elif required:
        raise FrameError("owntracks", 0, "lat and lon are missing")
    for metric, key, factor, unit in (
        ("speed", "vel", KMH_M_S, "m/s"),
        ("course", "cog", 1.0, "deg"),
        ("altitude", "alt", 1.0, "m"),
        ("battery", "batt", 1.0, "%EL"),
    ):
        value = _number(message, key)
        if value is not None and not (key == "vel" and value < 0):
            samples.append(Sample(metric, value * factor, at_ms, unit=unit))
    if sos_field is not None and sos_field in message:
        samples.append(Sample("sos", _true(message[sos_field], sos_field), at_ms))
    return samples


def _number(message: dict[str, Any], key: str) -> float | None:
    value = message.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FrameError("owntracks", 0, f"{key} is not a number")
    number = float(value) if abs(value) < 1e300 else math.inf
    if not math.isfinite(number):
        raise FrameError("owntracks", 0, f"{key} is not finite")
    return number


def _true(value: object, key: str) -> bool:
    if isinstance(value, int) and value in {0, 1}:
        return bool(value)
    raise FrameError("owntracks", 0, f"{key} is neither true nor false")
