"""Items of a pack as SenML records: readings, alarm events and gap reports.

One record an item. Names are `<device>/<metric>`. What SenML lacks travels in labels of our own; those that end in `_`
must be understood (RFC 8428, 4.4):

    q     quality, left out when good          ck    clock, left out when synced
    rt    received_at, ms                      mt    monotonic_ms
    tms_  observed_at, ms, in place of `t` where seconds cannot say it (below 2^28 s a SenML time is relative)
    sq    sequence less `first`, in packs of which part was thinned
    alarm_, gap_   an alarm event or a gap report in place of a value

A position is `vs` with a geo URI (RFC 5870) and the unit `geo`: `geo:34.2649,108.7203;u=6`.

Pure. Whatever is encoded here can be decoded here: one odd value must not cost a pack. Raises PackError.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import isfinite
from typing import Annotated, Final

import msgspec

from firmware_specs.errors import PackError
from firmware_specs.readings import (
    METRIC_PATTERN,
    NAME_PATTERN,
    AlarmEvent,
    AlarmPhase,
    Clock,
    Evidence,
    GapReason,
    GapReport,
    Item,
    Lane,
    Position,
    Quality,
    Reading,
    Severity,
    Value,
)

MAX_PACK_ITEMS: Final = 5000
MAX_EVIDENCE: Final = 8
MAX_MS: Final = 2**53
MAX_TEXT: Final = 4096
MAX_UNIT: Final = 32
_RELATIVE_BELOW_MS: Final = 2**28 * 1000
_SECONDS_BELOW_MS: Final = 10**14
"""About the year 5100. From there on `tms_` says it."""
_NAME: Final = re.compile(NAME_PATTERN)
_METRIC: Final = re.compile(METRIC_PATTERN)
_GEO: Final = re.compile(
    r"geo:(-?\d{1,2}(?:\.\d{1,12})?),(-?\d{1,3}(?:\.\d{1,12})?)(?:;u=(\d{1,9}(?:\.\d{1,6})?))?", re.ASCII
)
_MUST_UNDERSTAND: Final = re.compile(rb'(?:_|\\u005[fF])"\s*:')
_UNDERSTOOD: Final = re.compile(rb'(?<!\\)"(?:tms_|alarm_|gap_)"\s*:')
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""One that does not end takes all that follows, so that no byte is looked at twice."""

_Ms = Annotated[int, msgspec.Meta(ge=-MAX_MS, le=MAX_MS)]
_Short = Annotated[str, msgspec.Meta(max_length=160)]
_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class _Alarm(msgspec.Struct, omit_defaults=True, gc=False):
    id: _Short
    kind: _Short
    sev: Severity
    phase: AlarmPhase
    rule: _Short
    ver: _Short
    ev: tuple[tuple[_Short, float | bool | _Text, _Ms], ...] = ()
    drill: bool = False


class _Gap(msgspec.Struct, omit_defaults=True, gc=False):
    lane: Lane
    epoch: _Short
    count: Annotated[int, msgspec.Meta(ge=0, le=MAX_MS)]
    reason: GapReason
    t0: _Ms = 0
    t1: _Ms = 0


class _Plain(msgspec.Struct, omit_defaults=True, gc=False):
    """A reading of an ordinary number at an ordinary time: nearly all of them, so written without detours."""

    n: str
    u: str
    v: float
    t: float
    rt: int
    mt: int
    q: Quality = Quality.GOOD
    ck: Clock = Clock.SYNCED
    sq: int | None = None


class _Record(msgspec.Struct, omit_defaults=True, gc=False):
    """One SenML record as JSON; `n` and a time are always there in ours, base fields never."""

    n: _Short = ""
    u: _Short = ""
    v: float | None = None
    vb: bool | None = None
    vs: _Text | None = None
    t: float | None = None
    tms_: _Ms | None = None
    rt: _Ms = 0
    mt: _Ms = 0
    q: Quality = Quality.GOOD
    ck: Clock = Clock.SYNCED
    sq: Annotated[int, msgspec.Meta(ge=0, le=MAX_MS)] | None = None
    alarm_: _Alarm | None = None
    gap_: _Gap | None = None
    bver: Annotated[int, msgspec.Meta(le=10)] = 10
    bn: None = None
    bt: None = None
    bu: None = None
    bv: None = None
    bs: None = None


_encode = msgspec.json.Encoder().encode
_decode_records = msgspec.json.Decoder(list[_Record]).decode


def geo(position: Position) -> str:
    """A position as a geo URI. Degrees keep 9 decimals: a tenth of a millimetre."""
    text = f"geo:{position.lat:.9f},{position.lon:.9f}"
    accuracy_m = position.accuracy_m
    return f"{text};u={accuracy_m:.2f}" if accuracy_m is not None and 0 <= accuracy_m < 1e9 - 1 else text


def parse_geo(text: str) -> Position:
    """A geo URI as a position. Raises PackError when it is none on this globe."""
    match = _GEO.fullmatch(text)
    if not match:
        raise PackError(f"not a geo URI: {text[:64]!r}")
    lat, lon = float(match[1]), float(match[2])
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        raise PackError(f"no such place: {text[:64]!r}")
    return Position(lat, lon, float(match[3]) if match[3] else None)


def _on_globe(position: Position) -> bool:
    return -90 <= position.lat <= 90 and -180 <= position.lon <= 180


def _put_time(record: _Record, ms: int) -> None:
    if _RELATIVE_BELOW_MS <= ms < _SECONDS_BELOW_MS:
        record.t = ms / 1000
    else:
        record.tms_ = max(-MAX_MS, min(ms, MAX_MS))


def _put_value(record: _Record, value: Value) -> None:
    if isinstance(value, bool):
        record.vb = value
    elif isinstance(value, Position):
        record.vs = geo(value) if _on_globe(value) else "nan"
        record.u = "geo" if _on_globe(value) else ""
    else:
        plain = _plain(value)
        if isinstance(plain, str):
            record.vs = plain
        else:
            record.v = plain


def _plain(value: Value) -> float | bool | str:
    """What JSON can carry: a position as text, a number that is not finite as its name."""
    if isinstance(value, Position):
        return geo(value) if _on_globe(value) else "nan"
    if isinstance(value, str):
        text = value[:MAX_TEXT]
        return text if text.isascii() else text.encode("utf-8", "replace").decode()  # a lone surrogate is no text
    return value if isfinite(value) else str(value)


def encode_item(item: Item, offset: int | None = None) -> bytes:
    """One item as one JSON record, without brackets or comma.

    offset: its sequence less the pack's `first`; given for every item of a pack of which part was thinned.
    """
    if isinstance(item, Reading):
        return _encode(_reading_record(item, offset))
    if isinstance(item, AlarmEvent):
        return _encode(_alarm_record(item, offset))
    gap = _Gap(item.lane, item.epoch, item.count, item.reason, item.from_ms, item.to_ms)
    return _encode(_Record(n="gap", sq=offset, gap_=gap))


def _reading_record(item: Reading, offset: int | None) -> _Plain | _Record:
    name, value, at, unit = f"{item.device}/{item.metric}", item.value, item.observed_at, item.unit[:MAX_UNIT]
    if type(value) is float and isfinite(value) and _RELATIVE_BELOW_MS <= at < _SECONDS_BELOW_MS:
        return _Plain(
            name, unit, value, at / 1000, item.received_at, item.monotonic_ms, item.quality, item.clock, offset
        )
    record = _Record(
        n=name, u=unit, rt=item.received_at, mt=item.monotonic_ms, q=item.quality, ck=item.clock, sq=offset
    )
    _put_value(record, value)
    _put_time(record, at)
    return record


def _alarm_record(item: AlarmEvent, offset: int | None) -> _Record:
    alarm = _Alarm(
        id=item.occurrence, kind=item.kind, sev=item.severity, phase=item.phase, rule=item.rule,
        ver=item.rule_version, drill=item.drill,
        ev=tuple((e.metric, _plain(e.value), e.observed_at) for e in item.evidence[-MAX_EVIDENCE:]),
    )  # fmt: skip
    record = _Record(n=item.device, rt=item.received_at, mt=item.monotonic_ms, ck=item.clock, sq=offset, alarm_=alarm)
    _put_time(record, item.observed_at)
    return record


def decode_items(payload: bytes, first: int, count: int) -> tuple[tuple[int, Item], ...]:
    """The (sequence, item) of a pack's JSON, ascending; `first` and `count` are its header's."""
    _check_labels(payload)
    allowed = min(count, MAX_PACK_ITEMS)
    if payload.count(b"{") > 3 * allowed and _STRING.sub(b"", payload).count(b"{") > 3 * allowed:
        raise PackError(f"more than the {count} records announced or the {MAX_PACK_ITEMS} allowed")
    try:
        records = _decode_records(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise PackError(f"not a SenML pack: {e}") from e
    if len(records) > allowed:
        raise PackError(f"{len(records)} records where {count} are announced and {MAX_PACK_ITEMS} allowed")
    whole = len(records) == count
    through = first + count - 1
    last = first - 1
    items: list[tuple[int, Item]] = []
    for index, record in enumerate(records):
        offset = index if whole and record.sq is None else record.sq
        if offset is None or not last < first + offset <= through:
            raise PackError(f"record {index}: sequence missing, out of order or outside the pack")
        last = first + offset
        try:
            items.append((last, _item(record)))
        except PackError as e:
            raise PackError(f"record {index}: {e.reason}") from e
    return tuple(items)


def _check_labels(payload: bytes) -> None:
    """Refuse must-understand labels that we do not know.

    A quote inside a string is escaped, so `_"` followed by a colon always ends a label.
    """
    if b'_"' not in payload and b"\\u005" not in payload:
        return
    understood = {match.end() for match in _UNDERSTOOD.finditer(payload)}
    for match in _MUST_UNDERSTAND.finditer(payload):
        if match.end() not in understood:
            label = payload[max(0, match.start() - 40) : match.start() + 1].rpartition(b'"')[2]
            raise PackError(f"label {label.decode('utf-8', 'replace')!r} must be understood and is not")


def _item(record: _Record) -> Item:
    if record.gap_ is not None:
        gap = record.gap_
        return GapReport(gap.lane, gap.epoch and _named(gap.epoch), gap.count, gap.reason, gap.t0, gap.t1)
    seconds = record.t
    if seconds is None or record.tms_ is not None:
        if record.tms_ is None:
            raise PackError("no time")
        observed = record.tms_
    else:
        observed = round(seconds * 1000)
        if not _RELATIVE_BELOW_MS <= observed < _SECONDS_BELOW_MS:
            raise PackError(f"time {seconds} s is relative or beyond the year 5100")
    if record.alarm_ is not None:
        return _alarm(record, record.alarm_, observed)
    unit = record.u
    value: Value
    if record.v is not None:
        value = record.v
    elif record.vb is not None:
        value = record.vb
    elif record.vs is not None:
        value = record.vs
        if unit == "geo":
            value, unit = parse_geo(value), ""
    else:
        raise PackError("no value")
    device, metric = _split(record.n)
    return Reading(device, metric, value, unit, observed, record.rt, record.mt, record.q, record.ck)


def _alarm(record: _Record, alarm: _Alarm, observed: int) -> AlarmEvent:
    evidence = tuple(Evidence(metric, _value_of(value), at) for metric, value, at in alarm.ev[-MAX_EVIDENCE:])
    return AlarmEvent(
        _named(alarm.id), _named(record.n), alarm.kind, alarm.sev, alarm.phase, alarm.rule, alarm.ver, observed,
        record.rt, record.mt, record.ck, evidence, alarm.drill,
    )  # fmt: skip


def _value_of(value: float | bool | str) -> Value:
    """Evidence carries no unit: what reads as a place is one, and any other text is itself."""
    if isinstance(value, str) and value.startswith("geo:"):
        try:
            return parse_geo(value)
        except PackError:
            return value
    return value


@lru_cache(maxsize=65536)
def _split(name: str) -> tuple[str, str]:
    """Device and metric. A fleet says the same names for ever, so each is checked once."""
    device, slash, metric = name.partition("/")
    if not slash or not _METRIC.fullmatch(metric):
        raise PackError(f"name {name[:80]!r} is not <device>/<metric>")
    return _named(device), metric


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise PackError(f"{name[:80]!r} is not a name")
    return name
