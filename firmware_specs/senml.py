"""Sensor Measurement Lists (RFC 8428): packs of records as JSON or CBOR, resolved to name, value, unit and time.

Owns the format alone; what a name means is the profile's matter (`codec.py`). Rules, by section:

    4.1  base fields (bn bt bu bv bs) hold from their record on, until replaced
    4.4  a bver above 10, or an unknown label that ends in `_`, refuses the whole pack
    4.5.1  a name is bn + n: letters, digits and `- : . / _`, beginning with a letter or digit
    4.5.3  a time is bt + t; below 2^28 s it is relative to now; none, or 0, means "about now"
    4.5.4  a value is bv + v, a sum bs + s; where one of the two is missing it counts as 0
    6    CBOR labels are the small integers of table 4

Pure: bytes in, values out. Limits hold before anything is built. Raises FrameError with the byte where decoding
stopped, or with byte 0 and the number of the record where the bytes were fine and their meaning was not.
"""

from __future__ import annotations

import base64
import io
import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

import cbor2
import msgspec

from firmware_specs.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_BYTES: Final = 64 * 1024
MAX_RECORDS: Final = 1000
MAX_DEPTH: Final = 4
"""A pack is an array of maps of plain values, two deep; a tagged number is one more."""
VERSION: Final = 10
RELATIVE_BELOW_S: Final = 2**28
_LATEST_S: Final = 1e11
_SOURCE: Final = "SenML"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]{0,255}")
_MUST_UNDERSTAND: Final = re.compile(rb'(?:_|\\u005[fF])"\s*:')
"""The end of a label: a quote inside a string is escaped. Looks at each byte once, whatever stands before."""
_BYTE: Final = re.compile(r"\(byte (\d+)\)")


class Record(msgspec.Struct, omit_defaults=True):
    """One record as it stands in a pack; the names are the labels of RFC 8428, table 1. vd is base64url."""

    bn: str | None = None
    bt: float | None = None
    bu: str | None = None
    bv: float | None = None
    bs: float | None = None
    bver: int | None = None
    n: str | None = None
    u: str | None = None
    v: float | None = None
    vs: str | None = None
    vb: bool | None = None
    vd: str | None = None
    s: float | None = None
    t: float | None = None
    ut: float | None = None


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """One record with its base fields applied.

    value: a number (not always finite: CBOR can say NaN), text, boolean, data, or None where only a sum is given.
    at_ms: None when the sensor knows no time, which means about now.
    """

    name: str
    value: float | bool | str | bytes | None
    unit: str = ""
    at_ms: int | None = None
    sum: float | None = None
    update_s: float | None = None


_LABELS: Final[dict[int, str]] = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
"""CBOR label to name: RFC 8428, table 4."""
_NUMBERS: Final = {name: label for label, name in _LABELS.items()}
_TEXTS: Final = frozenset({"bn", "bu", "n", "u", "vs"})

_decode_records = msgspec.json.Decoder(list[Record]).decode
_encode_records = msgspec.json.Encoder().encode


def resolve(pack: Sequence[Record], now_ms: int) -> list[Resolved]:
    """Apply the base fields, in record order.

    now_ms: what relative times count from. Records that hold only base fields give nothing.
    Raises FrameError naming the record.
    """
    if len(pack) > MAX_RECORDS:
        _refuse(0, f"{len(pack)} records, more than {MAX_RECORDS}")
    resolved: list[Resolved] = []
    name = unit = ""
    time_s = 0.0
    base_value: float | None = None
    base_sum: float | None = None
    for index, record in enumerate(pack):
        if record.bver is not None and not 1 <= record.bver <= VERSION:
            _refuse(0, f"record {index}: version {record.bver} is not 1 to {VERSION}")
        name = name if record.bn is None else record.bn
        unit = unit if record.bu is None else record.bu
        time_s = time_s if record.bt is None else record.bt
        base_value = base_value if record.bv is None else record.bv
        base_sum = base_sum if record.bs is None else record.bs
        given = [v for v in (record.v, record.vs, record.vb, record.vd) if v is not None]
        if not given and record.n is None and record.s is None:
            continue
        if len(given) > 1:
            _refuse(0, f"record {index}: more than one value")
        value = _value(index, record, base_value) if given else base_value
        total = None if record.s is None and base_sum is None else (record.s or 0.0) + (base_sum or 0.0)
        if value is None and total is None:
            _refuse(0, f"record {index}: neither value nor sum")
        resolved.append(
            Resolved(
                _named(index, name + (record.n or "")),
                value,
                unit if record.u is None else record.u,
                _at_ms(index, time_s + (record.t or 0.0), now_ms),
                total,
                record.ut,
            )
        )
    return resolved


def _value(index: int, record: Record, base: float | None) -> float | bool | str | bytes | None:
    if record.v is not None:
        return record.v if base is None else record.v + base
    if record.vd is not None:
        return _data(index, record.vd)
    return record.vb if record.vs is None else record.vs


def _data(index: int, text: str) -> bytes:
    """The bytes of a `vd` (RFC 4648, 5; without padding)."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return _refuse(0, f"record {index}: vd is not base64url")


def _named(index: int, name: str) -> str:
    if not _is_name(name):
        _refuse(0, f"record {index}: name {name[:80]!r} is not letters, digits and - : . / _")
    return name


@lru_cache(maxsize=16384)
def _is_name(name: str) -> bool:
    """Sensors say the same names for ever, so each is checked once."""
    return _NAME.fullmatch(name) is not None


def _at_ms(index: int, time_s: float, now_ms: int) -> int | None:
    if time_s == 0:
        return None
    if not -RELATIVE_BELOW_S < time_s < _LATEST_S:  # also when it is not a number
        _refuse(0, f"record {index}: time {time_s} s is out of range")
    return round(time_s * 1000) + (now_ms if time_s < RELATIVE_BELOW_S else 0)


def decode_json(frame: bytes, now_ms: int) -> list[Resolved]:
    """Read and resolve `application/senml+json`. Raises FrameError."""
    _check_size(frame)
    if b'_"' in frame or b"\\u005" in frame:
        end = _MUST_UNDERSTAND.search(frame)
        if end:
            start = frame.rfind(b'"', 0, end.start()) + 1
            label = frame[start : end.end()].rpartition(b'"')[0].decode("utf-8", "replace")
            _refuse(start - 1, f"label {label[-80:]!r} must be understood and is not")
    try:
        pack = _decode_records(frame)
    except msgspec.DecodeError as e:
        _refuse(_offset(e, frame), f"not a SenML pack: {e}")
    except (UnicodeDecodeError, RecursionError) as e:
        _refuse(0, f"not a SenML pack: {e}")
    return resolve(pack, now_ms)


def _offset(error: msgspec.DecodeError, frame: bytes) -> int:
    """The byte that msgspec names, the end for a truncated frame, or 0 when only the place in the value is known."""
    named = _BYTE.search(str(error))
    if named:
        return int(named[1])
    return len(frame) if "truncated" in str(error) else 0


def decode_cbor(frame: bytes, now_ms: int) -> list[Resolved]:
    """Read and resolve `application/senml+cbor`. Raises FrameError."""
    _check_size(frame)
    stream = io.BytesIO(frame)
    try:
        pack = cbor2.CBORDecoder(
            stream,
            tag_hook=_refuse_tag,
            semantic_decoders=_TAGS,
            max_depth=MAX_DEPTH,
            allow_duplicate_keys=False,
            strict_hashable_types=False,
        ).decode()
    except cbor2.CBORDecodeError as e:
        cause = f"{e}: {e.__cause__}" if e.__cause__ else str(e)
        _refuse(stream.tell(), f"not a SenML pack: {cause}")
    if stream.tell() != len(frame):
        _refuse(stream.tell(), f"{len(frame) - stream.tell()} bytes after the pack")
    if not isinstance(pack, list) or len(pack) > MAX_RECORDS:
        _refuse(0, f"not an array of at most {MAX_RECORDS} records")
    return resolve([_cbor_record(index, entry) for index, entry in enumerate(pack)], now_ms)


def _cbor_record(index: int, entry: object) -> Record:
    if not isinstance(entry, dict):
        _refuse(0, f"record {index}: not a map")
    fields: dict[str, Any] = {}
    for key, value in entry.items():
        label = _LABELS.get(key) if type(key) is int else key if key in _NUMBERS else None
        if label is not None:
            fields[label] = _cbor_field(index, label, value)
        elif isinstance(key, str) and key.endswith("_"):
            _refuse(0, f"record {index}: label {key[-80:]!r} must be understood and is not")
    return Record(**fields)


def _cbor_field(index: int, label: str, value: object) -> object:
    if label in _TEXTS:
        if isinstance(value, str):
            return value
    elif label == "vb":
        if isinstance(value, bool):
            return value
    elif label == "vd":
        if isinstance(value, bytes):
            return _encode_data(value)
    elif label == "bver":
        if type(value) is int:
            return value
    elif type(value) in {int, float}:
        return float(value)  # type: ignore[arg-type]  # narrowed by the line above, which mypy does not follow
    return _refuse(0, f"record {index}: {label} is of the wrong type ({type(value).__name__})")


def _decimal_fraction(content: object, _immutable: object = None) -> float:
    """Tag 4, [exponent, mantissa] (RFC 8949, 3.4.4), which RFC 8428 allows for numbers."""
    match content:
        case [int(exponent), int(mantissa)] if abs(exponent) <= 400 and abs(mantissa) < 2**64:
            return float(Decimal(mantissa).scaleb(exponent))
    raise ValueError("not a decimal fraction of a plain size")


def _refuse_tag(_content: object, _more: object = None) -> NoReturn:
    """No other tag has a meaning in a pack, and some are dangerous: 35 compiles a regular expression."""
    raise ValueError("tag not allowed in SenML")


_BUILT_IN_TAGS: Final = (
    0, 1, 2, 3, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip
_TAGS: Final[dict[int, Callable[..., Any]]] = {
    **dict.fromkeys(_BUILT_IN_TAGS, _refuse_tag),
    4: _decimal_fraction,
}


def encode_json(pack: Sequence[Record]) -> bytes:
    """A pack as `application/senml+json`."""
    return _encode_records(list(pack))


def encode_cbor(pack: Sequence[Record]) -> bytes:
    """A pack as `application/senml+cbor`, numbers in their shortest exact form."""
    return cbor2.dumps([_cbor_map(record) for record in pack], canonical=True)


def _cbor_map(record: Record) -> dict[int, object]:
    fields: dict[int, object] = {}
    for label, value in msgspec.structs.asdict(record).items():
        if value is None:
            continue
        if label == "vd":
            value = _data(0, value)  # noqa: PLW2901 - the same value, as CBOR carries it
        elif isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)  # noqa: PLW2901
        fields[_NUMBERS[label]] = value
    return fields


def _encode_data(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _check_size(frame: bytes) -> None:
    if len(frame) > MAX_BYTES:
        _refuse(MAX_BYTES, f"{len(frame)} bytes, more than {MAX_BYTES}")


def _refuse(offset: int, reason: str) -> NoReturn:
    raise FrameError(_SOURCE, offset, " ".join(reason.split())) from None
