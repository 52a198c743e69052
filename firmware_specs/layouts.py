"""How a device type's frames are laid out: the `[codec]` of a profile.

Owns these models; `codec*.py` read and write frames by them. A protocol that they cannot describe is a named one, a
module of `edge/codecs/`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from firmware_specs.readings import METRIC_PATTERN
from firmware_specs.tomlfile import Model

Metric = Annotated[str, StringConstraints(pattern=METRIC_PATTERN)]


class JsonField(Model):
    """Where a metric stands in a JSON object."""

    path: str
    """Keys joined by dots: `state.temp`."""
    scale: float = 1.0
    """What the raw number is multiplied by."""
    offset: float = 0.0
    """What is then added."""


class JsonPosition(Model):
    """Where the parts of a position stand in a JSON object."""

    lat: str
    """Path of the degrees north."""
    lon: str
    """Path of the degrees east."""
    accuracy_m: str | None = None
    """Path of the accuracy radius in metres."""


class JsonCodec(Model):
    """A JSON object with fixed places."""

    kind: Literal["json"]
    time: str | None = None
    """Path of the device's time."""
    time_unit: Literal["s", "ms"] = "ms"
    """Since 1970, UTC."""
    fields: dict[Metric, JsonField | JsonPosition]
    """Where each metric stands."""


class SenmlCodec(Model):
    """SenML JSON or CBOR (RFC 8428), told apart by content; the last part of a resolved name is the metric."""

    kind: Literal["senml"]
    encoding: Literal["json", "cbor"] = "json"
    """What the device sends, for those who speak by the profile; both are understood."""
    names: dict[str, Metric] = Field(default_factory=dict)
    """Name in the pack, whole or its last part, to metric, where they differ."""


class NodesCodec(Model):
    """OPC UA variables below the device's folder, by browse name."""

    kind: Literal["nodes"]
    nodes: dict[Metric, str]
    """Metric to browse name."""
    sampling_ms: int = Field(default=500, ge=0)
    """How often the server looks for a change."""


class BinaryField(Model):
    """A fixed-width field of a binary frame."""

    metric: Metric
    """What the field is."""
    offset: int = Field(ge=0)
    """Bytes from the start of the frame."""
    type: Literal["u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "f32", "f64", "bit", "bcd"]
    """Unsigned, signed, floating; `bit` gives a boolean, `bcd` its digits as text."""
    length: int = Field(default=1, ge=1, le=10)
    """Bytes of a `bcd` field."""
    bit: int = Field(default=0, ge=0, le=7)
    """The bit of a `bit` field, 0 the lowest."""
    scale: float = 1.0
    """What the raw number is multiplied by."""
    add: float = 0.0
    """What is then added."""

    @property
    def width(self) -> int:
        """Bytes that the field takes."""
        return self.length if self.type == "bcd" else 1 if self.type == "bit" else int(self.type[1:]) // 8


class BinaryCodec(Model):
    """A frame of fixed layout with an optional check sum over all bytes before it."""

    kind: Literal["binary"]
    byte_order: Literal["big", "little"] = "big"
    """Of numbers wider than a byte."""
    length: int = Field(ge=1, le=4096)
    """Bytes of the whole frame, check sum included."""
    header: str = ""
    """Hex bytes that the frame begins with."""
    checksum: Literal["none", "xor8", "sum8", "crc16-modbus", "crc16-ccitt"] = "none"
    """The last byte, or the last two (Modbus: low byte first; CCITT, initially FFFF: in `byte_order`)."""
    fields: tuple[BinaryField, ...]
    """What the frame holds."""

    @property
    def body_length(self) -> int:
        """Bytes before the check sum."""
        return self.length - {"none": 0, "xor8": 1, "sum8": 1}.get(self.checksum, 2)

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        try:
            header = bytes.fromhex(self.header)
        except ValueError as e:
            raise ValueError(f"header: {self.header!r} is not hex") from e
        if len(header) > self.body_length:
            raise ValueError(f"header: {len(header)} bytes where {self.body_length} precede the check sum")
        for field in self.fields:
            if field.offset + field.width > self.body_length:
                raise ValueError(f"fields: {field.metric!r} ends after the {self.body_length} bytes that carry data")
        return self


class NamedCodec(Model):
    """A protocol that data cannot describe: a module of `edge/codecs/`."""

    kind: Literal["named"]
    name: Literal["nmea", "fleetsync", "nexedge", "owntracks"]
    """The protocol."""
    emergency_statuses: tuple[str, ...] = ()
    """Radio status codes that mean an emergency; what a status means is radio programming."""
    sos_field: str | None = None
    """OwnTracks: the JSON field that is true when the wearer asks for help."""


Codec = Annotated[JsonCodec | SenmlCodec | NodesCodec | BinaryCodec | NamedCodec, Field(discriminator="kind")]
