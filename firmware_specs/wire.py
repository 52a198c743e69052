"""The wire between gateway and cloud: topics, packs, acknowledgements, status.

A pack is a SenML JSON array (RFC 8428); one record an item, in sequence order. Names are `<device>/<metric>`;
the gateway is known from the broker's topic only, never from a payload. What SenML lacks travels in labels of
our own; those that end in `_` must be understood (RFC 8428, 4.4):

    q     quality, left out when good          ck    clock, left out when synced
    rt    received_at, ms                      mt    monotonic_ms
    tms_  observed_at, ms, in place of `t` where seconds cannot say it (below 2^28 s a SenML time is relative)
    sq    sequence less `first`, in packs of which part was thinned
    alarm_, gap_   an alarm event or a gap report in place of a value

A position is `vs` with a geo URI (RFC 5870): `geo:34.2649,108.7203;u=6`. Whole packs of 4 KiB and more are
compressed with zstd and say so in the user property `encoding`.

Pure: bytes in, values out. Raises PackError on anything that is not a pack within its limits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import zstandard

from firmware_specs.errors import PackError
from firmware_specs.readings import (
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TOPIC_ROOT: Final = "patrolgrid/v1"
CONTENT_TYPE: Final = "application/senml+json"
COMPRESS_FROM_BYTES: Final = 4096
MAX_PACK_BYTES: Final = 8 * 1024 * 1024
"""Of a pack before decompression and after it."""
MAX_PACK_ITEMS: Final = 5000
_RELATIVE_BELOW_S: Final = 2**28
_MUST_UNDERSTAND: Final = frozenset({b"tms_", b"alarm_", b"gap_"})
_UNDERSCORED: Final = re.compile(rb'"([^"\\]{0,64}_)"\s*:')
_NAME: Final = re.compile(NAME_PATTERN)
_GEO: Final = re.compile(r"geo:(-?\d{1,2}(?:\.\d{1,12})?),(-?\d{1,3}(?:\.\d{1,12})?)(?:;u=(\d{1,9}(?:\.\d{1,6})?))?")


def topic(gateway: str, *parts: str) -> str:
    """`patrolgrid/v1/<gateway>/<parts…>`."""
    return "/".join((TOPIC_ROOT, gateway, *parts))


def up_topic(gateway: str, lane: Lane) -> str:
    """Where a gateway publishes the packs of a lane."""
    return topic(gateway, "up", lane.value)


def split_topic(name: str) -> tuple[str, str]:
    """The gateway and the rest of a topic: `patrolgrid/v1/gw-1/up/alarms` gives `("gw-1", "up/alarms")`.

    Raises PackError when it is none of ours.
    """
    prefix = TOPIC_ROOT + "/"
    gateway, slash, rest = name[len(prefix) :].partition("/")
    if not name.startswith(prefix) or not slash or not rest or not _NAME.match(gateway):
        raise PackError(f"topic {name[:120]!r} is not {prefix}<gateway>/…")
    return gateway, rest


class PackHeader(msgspec.Struct, frozen=True):
    """What the MQTT user properties of a pack say.

    epoch: the random id of the outbox file. boot: the gateway's boot id; a pack never mixes two.
    first: sequence of the first item, from 1. count: how many sequence numbers the pack covers; items that
    were thinned are covered and absent.
    base: no sequence below it will be sent again; what the cloud misses below it is lost.
    An empty pack (count 0) is the canary of an idle gateway: it is acknowledged like any other.
    """

    epoch: str
    lane: Lane
    first: int
    count: int
    base: int
    boot: str

    @property
    def through(self) -> int:
        """The last sequence that the pack covers; `first - 1` for a canary."""
        return self.first + self.count - 1


class Pack(msgspec.Struct, frozen=True):
    """A decoded pack: its header and (sequence, item), ascending."""

    header: PackHeader
    items: tuple[tuple[int, Item], ...]


class Ack(msgspec.Struct, frozen=True):
    """Cloud to gateway, topic `…/ack`: everything of the lane up to `through` is committed to storage."""

    epoch: str
    lane: Lane
    through: int


class LaneStatus(msgspec.Struct, frozen=True):
    """What waits in one lane of an outbox. oldest_ms: received time of the oldest, 0 when empty."""

    waiting: int = 0
    bytes: int = 0
    oldest_ms: int = 0
    thinned: int = 0
    """Readings thinned since the epoch began."""


class Status(msgspec.Struct, frozen=True):
    """Gateway to cloud, topic `…/status`, retained; `online: false` is the will.

    degraded: empty, or one line such as `outbox: disk full` while a fault lasts.
    connectors: name to state (`up`, `connecting`, or the last error in one line).
    counters: totals since boot, such as `frames_refused` or `duplicates`.
    """

    online: bool
    agent_version: str
    boot: str
    config_hash: str
    at_ms: int
    clock: Clock = Clock.SYNCED
    degraded: str = ""
    lanes: dict[str, LaneStatus] = {}
    connectors: dict[str, str] = {}
    counters: dict[str, int] = {}


class ReportedDevice(msgspec.Struct, frozen=True):
    """A device as the gateway is configured to serve it."""

    id: str
    profile: str
    connector: str = ""
    address: str = ""
    location: str = ""


class Reported(msgspec.Struct, frozen=True):
    """Gateway to cloud, topic `…/reported`, retained: the configuration in force. version rises by one a change."""

    version: int
    config_hash: str
    devices: tuple[ReportedDevice, ...]


class _Alarm(msgspec.Struct, omit_defaults=True):
    id: str
    kind: str
    sev: Severity
    phase: AlarmPhase
    rule: str
    ver: str
    ev: tuple[tuple[str, float | bool | str, int], ...] = ()
    drill: bool = False


class _Gap(msgspec.Struct, omit_defaults=True):
    lane: Lane
    epoch: str
    count: int
    reason: GapReason
    t0: int = 0
    t1: int = 0


class _Record(msgspec.Struct, omit_defaults=True):
    """One SenML record as JSON; `n` and a time are always there in ours."""

    n: str = ""
    u: str = ""
    v: float | None = None
    vb: bool | None = None
    vs: str | None = None
    t: float | None = None
    tms_: int | None = None
    rt: int = 0
    mt: int = 0
    q: Quality = Quality.GOOD
    ck: Clock = Clock.SYNCED
    sq: int | None = None
    alarm_: _Alarm | None = None
    gap_: _Gap | None = None
    bver: int = 10


_encoder = msgspec.json.Encoder()
_decode_records = msgspec.json.Decoder(list[_Record]).decode


def geo(position: Position) -> str:
    """A position as a geo URI. Degrees keep 9 decimals: a tenth of a millimetre."""
    text = f"geo:{position.lat:.9f},{position.lon:.9f}"
    return text if position.accuracy_m is None else f"{text};u={position.accuracy_m:.2f}"


def parse_geo(text: str) -> Position:
    """A geo URI as a position. Raises PackError when it is none on this globe."""
    match = _GEO.fullmatch(text)
    if not match:
        raise PackError(f"not a geo URI: {text[:64]!r}")
    lat, lon = float(match[1]), float(match[2])
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        raise PackError(f"no such place: {text[:64]!r}")
    return Position(lat, lon, float(match[3]) if match[3] else None)


def _put_time(record: _Record, ms: int) -> None:
    if ms >= _RELATIVE_BELOW_S * 1000:
        record.t = ms / 1000
    else:
        record.tms_ = ms


def _put_value(record: _Record, value: Value) -> None:
    if isinstance(value, bool):
        record.vb = value
    elif isinstance(value, str):
        record.vs = value
    elif isinstance(value, Position):
        record.vs = geo(value)
        record.u = "geo"
    else:
        record.v = value


def encode_item(item: Item, offset: int | None = None) -> bytes:
    """One item as one JSON record, without brackets or comma.

    offset: its sequence less the pack's `first`; given for every item of a pack of which part was thinned.
    """
    if isinstance(item, Reading):
        record = _Record(
            n=f"{item.device}/{item.metric}", u=item.unit, rt=item.received_at, mt=item.monotonic_ms,
            q=item.quality, ck=item.clock, sq=offset,
        )  # fmt: skip
        _put_value(record, item.value)
        _put_time(record, item.observed_at)
    elif isinstance(item, AlarmEvent):
        alarm = _Alarm(
            id=item.occurrence, kind=item.kind, sev=item.severity, phase=item.phase, rule=item.rule,
            ver=item.rule_version, drill=item.drill,
            ev=tuple((e.metric, _plain(e.value), e.observed_at) for e in item.evidence[-8:]),
        )  # fmt: skip
        record = _Record(
            n=item.device, rt=item.received_at, mt=item.monotonic_ms, ck=item.clock, sq=offset, alarm_=alarm
        )
        _put_time(record, item.observed_at)
    else:
        gap = _Gap(item.lane, item.epoch, item.count, item.reason, item.from_ms, item.to_ms)
        record = _Record(n="gap", sq=offset, gap_=gap)
    return _encoder.encode(record)


def _plain(value: Value) -> float | bool | str:
    return geo(value) if isinstance(value, Position) else value


def encode_pack(header: PackHeader, records: Sequence[bytes]) -> tuple[bytes, list[tuple[str, str]]]:
    """The payload and the MQTT user properties of a pack of encoded items."""
    payload = b"[" + b",".join(records) + b"]"
    properties = [
        ("epoch", header.epoch), ("first", str(header.first)), ("count", str(header.count)),
        ("base", str(header.base)), ("boot", header.boot),
    ]  # fmt: skip
    if len(payload) >= COMPRESS_FROM_BYTES:
        payload = zstandard.ZstdCompressor(level=1).compress(payload)
        properties.append(("encoding", "zstd"))
    return payload, properties


def decode_header(lane: str, properties: Iterable[tuple[str, str]]) -> tuple[PackHeader, str]:
    """The header and the encoding ("" or "zstd"). Raises PackError naming the property that is wrong."""
    given = dict(properties)
    try:
        which = Lane(lane)
    except ValueError as e:
        raise PackError(f"no such lane: {lane[:32]!r}") from e
    for name in ("epoch", "boot"):
        if not _NAME.match(given.get(name, "")):
            raise PackError(f"property {name} is missing or not a name")
    first, count, base = (_number(given, name) for name in ("first", "count", "base"))
    encoding = given.get("encoding", "")
    if encoding not in {"", "zstd"}:
        raise PackError(f"property encoding: {encoding[:32]!r} is not zstd")
    if first < 1 or base < 1 or base > first:
        raise PackError(f"property base or first: 1 <= base <= first does not hold for {base}, {first}")
    return PackHeader(given["epoch"], which, first, count, base, given["boot"]), encoding


def _number(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise PackError(f"property {name} is missing or not a number")
    return int(text)


def decode_pack(lane: str, properties: Iterable[tuple[str, str]], payload: bytes) -> Pack:
    """Read a pack as it came from the broker.

    lane: the topic's last part. properties: the user properties.
    Raises PackError: too large, too deep, not SenML, a label that must be understood and is not, a count that
    does not fit, sequence out of order.
    """
    header, encoding = decode_header(lane, properties)
    if len(payload) > MAX_PACK_BYTES:
        raise PackError(f"{len(payload)} bytes, more than {MAX_PACK_BYTES}")
    if encoding:
        payload = _decompress(payload)
    _check_labels(payload)
    try:
        records = _decode_records(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise PackError(f"not a SenML pack: {e}") from e
    if len(records) > min(header.count, MAX_PACK_ITEMS):
        raise PackError(f"{len(records)} records where {header.count} are announced and {MAX_PACK_ITEMS} allowed")
    whole = len(records) == header.count
    items: list[tuple[int, Item]] = []
    last = header.first - 1
    for index, record in enumerate(records):
        offset = index if whole and record.sq is None else record.sq
        if offset is None or not last < header.first + offset <= header.through:
            raise PackError(f"record {index}: sequence missing, out of order or outside the pack")
        last = header.first + offset
        items.append((last, _item(index, record)))
    return Pack(header, tuple(items))


def _decompress(payload: bytes) -> bytes:
    try:
        stream = zstandard.ZstdDecompressor(max_window_size=MAX_PACK_BYTES).stream_reader(payload)
        data = stream.read(MAX_PACK_BYTES + 1)
    except zstandard.ZstdError as e:
        raise PackError(f"not zstd: {e}") from e
    if len(data) > MAX_PACK_BYTES:
        raise PackError(f"more than {MAX_PACK_BYTES} bytes after decompression")
    return data


def _check_labels(payload: bytes) -> None:
    """Refuse must-understand labels that we do not know. A quote inside a string is escaped, so none is mistaken."""
    for label in _UNDERSCORED.finditer(payload):
        if label[1] not in _MUST_UNDERSTAND:
            raise PackError(f"label {label[1].decode('utf-8', 'replace')!r} must be understood and is not")


def _item(index: int, record: _Record) -> Item:
    if record.gap_ is not None:
        gap = record.gap_
        return GapReport(gap.lane, gap.epoch, gap.count, gap.reason, gap.t0, gap.t1)
    observed = record.tms_ if record.tms_ is not None else _ms(index, record.t)
    if record.alarm_ is not None:
        alarm = record.alarm_
        evidence = tuple(Evidence(m, _value_of(v), at) for m, v, at in alarm.ev[-8:])
        return AlarmEvent(
            _named(index, alarm.id), _named(index, record.n), alarm.kind, alarm.sev, alarm.phase, alarm.rule,
            alarm.ver, observed, record.rt, record.mt, record.ck, evidence, alarm.drill,
        )  # fmt: skip
    device, slash, metric = record.n.partition("/")
    if not slash or not metric or "/" in metric:
        raise PackError(f"record {index}: name {record.n[:80]!r} is not <device>/<metric>")
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
        raise PackError(f"record {index}: no value")
    return Reading(_named(index, device), metric, value, unit, observed, record.rt, record.mt, record.q, record.ck)


def _value_of(value: float | bool | str) -> Value:
    return parse_geo(value) if isinstance(value, str) and value.startswith("geo:") else value


def _named(index: int, name: str) -> str:
    if not _NAME.match(name):
        raise PackError(f"record {index}: {name[:80]!r} is not a name")
    return name


def _ms(index: int, seconds: float | None) -> int:
    if seconds is None:
        raise PackError(f"record {index}: no time")
    if not _RELATIVE_BELOW_S <= seconds < 1e11:
        raise PackError(f"record {index}: time {seconds} is relative or beyond the year 5000")
    return round(seconds * 1000)


Message = Ack | Status | Reported
_M = TypeVar("_M", Ack, Status, Reported)


def encode_message(message: Message) -> bytes:
    """An acknowledgement, status or report as JSON."""
    return _encoder.encode(message)


def decode_ack(payload: bytes) -> Ack:
    """Raises PackError when the payload is no acknowledgement."""
    return _decode_message(payload, Ack, "acknowledgement")


def decode_status(payload: bytes) -> Status:
    """Raises PackError when the payload is no status."""
    return _decode_message(payload, Status, "status")


def decode_reported(payload: bytes) -> Reported:
    """Raises PackError when the payload is no report or names a device that cannot be."""
    report = _decode_message(payload, Reported, "report")
    for index, device in enumerate(report.devices):
        _named(index, device.id)
    return report


def _decode_message(payload: bytes, kind: type[_M], what: str) -> _M:
    if len(payload) > MAX_PACK_BYTES:
        raise PackError(f"{what} of {len(payload)} bytes")
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise PackError(f"not a {what}: {e}") from e
