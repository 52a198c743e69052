"""JSON objects by profile: a decoder compiled once per profile, and its inverse.

Owns the layout `kind = "json"`. The profile's paths become msgspec structs, so unknown keys are skipped and wrong
types refused while the bytes are read; nothing but the wanted values is built.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from firmware_specs.errors import FrameError, ProfileError
from firmware_specs.layouts import JsonCodec, JsonPosition
from firmware_specs.readings import Position, Sample
from firmware_specs.values import MAX_FRAME_BYTES, MAX_TEXT, device_time, position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from firmware_specs.readings import Value
    from firmware_specs.schema import Profile

_TYPES: Final[dict[str, Any]] = {
    "number": float,
    "bool": bool,
    "text": Annotated[str, msgspec.Meta(max_length=MAX_TEXT)],
}
_BYTE: Final = re.compile(r"\(byte (\d+)\)")


class _Layout:
    """The wanted paths of a profile, numbered, and the struct that holds them."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile.profile
        self._paths: dict[str, int] = {}
        self._tree: dict[str, Any] = {}
        self._types: list[Any] = []

    def slot(self, path: str, type_: Any) -> int:  # noqa: ANN401 - a type, or an annotation of one
        """The number of a path's value. Raises ProfileError when it is also asked for as something else."""
        if path in self._paths:
            if self._types[self._paths[path]] is not type_:
                raise ProfileError(self._profile, f"codec.fields: {path}", "is asked for as two types")
            return self._paths[path]
        number = self._paths[path] = len(self._types)
        self._types.append(type_)
        table = self._tree
        *parents, last = path.split(".")
        for key in parents:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise ProfileError(self._profile, f"codec.fields: {path}", f"{key!r} is a value and an object")
        if last in table:
            raise ProfileError(self._profile, f"codec.fields: {path}", f"{last!r} is a value and an object")
        table[last] = number
        return number

    def reader(self) -> Callable[[bytes], tuple[Any, ...]]:
        """Bytes to the values by slot number, None where absent. Raises msgspec.DecodeError."""
        decode = msgspec.json.Decoder(self._struct("Frame", self._tree)).decode
        if all(not isinstance(below, dict) for below in self._tree.values()):
            values_of = msgspec.structs.astuple
            return lambda frame: values_of(decode(frame))
        places = [tuple(_attribute(key) for key in path.split(".")) for path in self._paths]

        def nested(frame: bytes) -> tuple[Any, ...]:
            table = decode(frame)
            return tuple(_walk(table, place) for place in places)

        return nested

    def _struct(self, name: str, tree: Mapping[str, Any]) -> type[msgspec.Struct]:
        fields: list[tuple[str, Any, Any]] = []
        rename = {}
        for key, below in tree.items():
            attribute = _attribute(key)
            rename[attribute] = key
            kind = self._struct(attribute, below) if isinstance(below, dict) else self._types[below]
            fields.append((attribute, kind | None, None))
        return msgspec.defstruct(name, fields, rename=rename, frozen=True, gc=False)


def _attribute(key: str) -> str:
    """An identifier for a key, which may be any text."""
    return "k" + key.encode().hex()


def _walk(table: Any, place: tuple[str, ...]) -> Any:  # noqa: ANN401 - structs made at run time
    for attribute in place:
        if table is None:
            return None
        table = getattr(table, attribute)
    return table


def json_decoder(profile: Profile, codec: JsonCodec) -> Callable[[bytes, int], list[Sample]]:
    """Compile a profile's layout. Raises ProfileError when its paths contradict each other."""
    name = profile.profile
    layout = _Layout(profile)
    time_slot = None if codec.time is None else layout.slot(codec.time, int | float)
    unit_ms = 1000 if codec.time_unit == "s" else 1
    values: list[tuple[int, str, float, float, bool]] = []
    positions: list[tuple[int, int, int | None, str]] = []
    for metric, place in codec.fields.items():
        if isinstance(place, JsonPosition):
            accuracy = None if place.accuracy_m is None else layout.slot(place.accuracy_m, float)
            positions.append((layout.slot(place.lat, float), layout.slot(place.lon, float), accuracy, metric))
        else:
            slot = layout.slot(place.path, _TYPES[profile.metrics[metric].type])
            plain = place.scale == 1 and place.offset == 0
            values.append((slot, metric, place.scale, place.offset, plain))
    read = layout.reader()

    def decode(frame: bytes, now_ms: int) -> list[Sample]:  # noqa: ARG001 - every decoder takes it
        if len(frame) > MAX_FRAME_BYTES:
            raise FrameError(name, MAX_FRAME_BYTES, f"{len(frame)} bytes, more than {MAX_FRAME_BYTES}")
        try:
            got = read(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise refused(name, e, frame) from e
        at_ms = None if time_slot is None else device_time(got[time_slot], unit_ms)
        samples = []
        for slot, metric, scale, offset, plain in values:
            value = got[slot]
            if value is not None:
                samples.append(Sample(metric, value if plain else value * scale + offset, at_ms))
        for lat, lon, accuracy, metric in positions:
            place = position(name, got[lat], got[lon], None if accuracy is None else got[accuracy])
            if place is not None:
                samples.append(Sample(metric, place, at_ms))
        return samples

    return decode


def refused(source: str, error: Exception, frame: bytes) -> FrameError:
    """A decoding error of msgspec's in our words, with the byte when it names one."""
    reason = " ".join(str(error).split())
    named = _BYTE.search(reason)
    offset = int(named[1]) if named else len(frame) if "truncated" in reason else 0
    return FrameError(source, offset, f"not JSON as the profile has it: {reason}")


def encode_json_object(codec: JsonCodec, samples: Sequence[Sample], at_ms: int | None) -> bytes:
    """The frame that a device would send. What JSON cannot say, such as "nan", is left out."""
    frame: dict[str, Any] = {}
    for sample in samples:
        place = codec.fields.get(sample.metric)
        value = sample.value
        if isinstance(place, JsonPosition) and isinstance(value, Position):
            _put(frame, place.lat, value.lat)
            _put(frame, place.lon, value.lon)
            if place.accuracy_m is not None and value.accuracy_m is not None:
                _put(frame, place.accuracy_m, value.accuracy_m)
        elif place is not None and not isinstance(place, JsonPosition):
            _put(frame, place.path, _unscaled(value, place.scale, place.offset))
    if codec.time is not None and at_ms is not None:
        _put(frame, codec.time, at_ms if codec.time_unit == "ms" else plain_number(at_ms / 1000))
    return msgspec.json.encode(frame)


def _put(frame: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        frame = frame.setdefault(key, {})
    frame[last] = value


def _unscaled(value: Value, scale: float, offset: float) -> object:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return plain_number(value if scale == 1 and offset == 0 else (value - offset) / scale)
    return value


def plain_number(value: float) -> float:
    """A whole number as devices write it: 40, not 40.0."""
    return int(value) if value == int(value) and abs(value) < 2**53 else value
