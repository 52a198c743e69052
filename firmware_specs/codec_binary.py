"""Binary frames of fixed layout by profile: a decoder compiled once per profile, and its inverse.

Owns the layout `kind = "binary"`: header, length, check sum, fixed-width fields.
"""

from __future__ import annotations

import binascii
import struct
from typing import TYPE_CHECKING, Any, Final

from firmware_specs.errors import FrameError
from firmware_specs.values import sample as to_sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_specs.layouts import BinaryCodec, BinaryField
    from firmware_specs.readings import Sample
    from firmware_specs.schema import Profile

_FLOATS: Final = {"f32": "f", "f64": "d"}


def _xor8(data: bytes) -> int:
    total = 0
    for byte in data:
        total ^= byte
    return total


def _crc16_modbus(data: bytes) -> int:
    """CRC-16/MODBUS: polynomial 8005 reflected, initially FFFF ("MODBUS over serial line" 1.02, 6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def checksum(codec: BinaryCodec, body: bytes) -> bytes:
    """The check sum of the bytes before it, as it stands on the line."""
    match codec.checksum:
        case "xor8":
            return bytes([_xor8(body)])
        case "sum8":
            return bytes([sum(body) & 0xFF])
        case "crc16-modbus":
            return _crc16_modbus(body).to_bytes(2, "little")
        case "crc16-ccitt":
            return binascii.crc_hqx(body, 0xFFFF).to_bytes(2, codec.byte_order)
    return b""


def binary_decoder(profile: Profile, codec: BinaryCodec) -> Callable[[bytes, int], list[Sample]]:
    """Compile a profile's layout."""
    name = profile.profile
    header = bytes.fromhex(codec.header)
    plan = [(field, profile.metrics[field.metric], _reader(name, codec, field)) for field in codec.fields]

    def decode(frame: bytes, now_ms: int) -> list[Sample]:  # noqa: ARG001 - every decoder takes it
        if len(frame) != codec.length:
            raise FrameError(name, min(len(frame), codec.length), f"{len(frame)} bytes, not {codec.length}")
        if not frame.startswith(header):
            raise FrameError(name, 0, f"begins with {frame[: len(header)].hex()}, not {header.hex()}")
        body = frame[: codec.body_length]
        if frame[codec.body_length :] != checksum(codec, body):
            raise FrameError(name, codec.body_length, f"check sum is not {checksum(codec, body).hex()}")
        return [to_sample(name, field.metric, spec, read(body), None) for field, spec, read in plan]

    return decode


def _reader(name: str, codec: BinaryCodec, field: BinaryField) -> Callable[[bytes], Any]:
    start, end = field.offset, field.offset + field.width
    scale, add = field.scale, field.add
    if field.type == "bit":
        mask = 1 << field.bit
        return lambda body: bool(body[start] & mask)
    if field.type == "bcd":
        return lambda body: _bcd(name, start, body[start:end])
    if field.type in _FLOATS:
        unpack = struct.Struct((">" if codec.byte_order == "big" else "<") + _FLOATS[field.type]).unpack_from
        return lambda body: unpack(body, start)[0] * scale + add
    signed = field.type[0] == "i"
    order = codec.byte_order
    return lambda body: int.from_bytes(body[start:end], order, signed=signed) * scale + add


def _bcd(name: str, offset: int, data: bytes) -> str:
    text = data.hex()
    if not text.isdigit():
        raise FrameError(name, offset, f"{text} is not BCD")
    return text


def encode_binary(codec: BinaryCodec, samples: Sequence[Sample]) -> bytes:
    """The frame that a device would send; what is not given is zero. Raises FrameError for what does not fit."""
    values = {sample.metric: sample.value for sample in samples}
    body = bytearray(codec.body_length)
    body[: len(codec.header) // 2] = bytes.fromhex(codec.header)
    for field in codec.fields:
        if field.metric in values:
            try:
                _write(body, codec, field, values[field.metric])
            except (OverflowError, ValueError, TypeError, struct.error) as e:
                raise FrameError(
                    field.metric, field.offset, f"{values[field.metric]!r} does not fit {field.type}"
                ) from e
    return bytes(body) + checksum(codec, bytes(body))


def _write(body: bytearray, codec: BinaryCodec, field: BinaryField, value: Any) -> None:  # noqa: ANN401
    start, end = field.offset, field.offset + field.width
    if field.type == "bit":
        body[start] |= (1 << field.bit) if value else 0
    elif field.type == "bcd":
        body[start:end] = bytes.fromhex(f"{value:0>{2 * field.width}}"[: 2 * field.width])
    elif field.type in _FLOATS:
        order = ">" if codec.byte_order == "big" else "<"
        struct.pack_into(order + _FLOATS[field.type], body, start, (float(value) - field.add) / field.scale)
    else:
        raw = round((float(value) - field.add) / field.scale)
        body[start:end] = raw.to_bytes(field.width, codec.byte_order, signed=field.type[0] == "i")
