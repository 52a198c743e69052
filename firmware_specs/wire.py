"""The wire between gateway and cloud: topics, packs, acknowledgements, status.

A pack is a SenML JSON array (RFC 8428), one record an item in sequence order, as `wire_items` writes them; the gateway
is known from the broker's topic only, never from a payload. Whole packs of 4 KiB and more are compressed with zstd and
say so in the user property `encoding`.

Pure: bytes in, values out. Raises PackError on anything that is not a pack within its limits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec

from firmware_specs import zstd
from firmware_specs.errors import PackError
from firmware_specs.readings import NAME_PATTERN, Clock, Item, Lane
from firmware_specs.wire_items import MAX_MS, MAX_PACK_ITEMS, decode_items, encode_item, geo, parse_geo
from firmware_specs.wire_vitals import Vitals  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TOPIC_ROOT: Final = "patrolgrid/v1"
CONTENT_TYPE: Final = "application/senml+json"
COMPRESS_FROM_BYTES: Final = 4096
MAX_PACK_BYTES: Final = 8 * 1024 * 1024
"""Of a pack before decompression and after it."""
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Of a status or a report: ten thousand devices fit."""
MAX_DESIRED_BYTES: Final = 1024 * 1024
"""Of a desired document: what two thousand carried devices need for two days is a third of it."""
MAX_WINDOWS: Final = 64
"""Of one device in a desired document."""
_NAME: Final = re.compile(NAME_PATTERN)
_Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_MS)]
_Line = Annotated[str, msgspec.Meta(max_length=2048)]
_Span = Annotated[int, msgspec.Meta(ge=1, le=7 * 86400)]
_Windows = Annotated[tuple[tuple[_Number, _Number], ...], msgspec.Meta(max_length=MAX_WINDOWS)]


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
    if not name.startswith(prefix) or not slash or not rest or not _NAME.fullmatch(gateway):
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

    epoch: _Line
    lane: Lane
    through: _Number


class LaneStatus(msgspec.Struct, frozen=True):
    """What waits in one lane of an outbox. oldest_ms: received time of the oldest, 0 when empty."""

    waiting: _Number = 0
    bytes: _Number = 0
    oldest_ms: _Number = 0
    thinned: _Number = 0
    """Readings thinned since the epoch began."""


class Status(msgspec.Struct, frozen=True):
    """Gateway to cloud, topic `…/status`, retained; `online: false` is the will.

    degraded: empty, or one line such as `outbox: disk full` while a fault lasts.
    connectors: name to state (`up`, `connecting`, or the last error in one line).
    counters: totals since boot, such as `frames_refused` or `duplicates`.
    vitals: of the machine; a will has none.
    """

    online: bool
    agent_version: _Line
    boot: _Line
    config_hash: _Line
    at_ms: _Number
    clock: Clock = Clock.SYNCED
    degraded: _Line = ""
    lanes: dict[_Line, LaneStatus] = {}
    connectors: dict[_Line, _Line] = {}
    counters: dict[_Line, _Number] = {}
    vitals: Vitals | None = None


class ReportedDevice(msgspec.Struct, frozen=True):
    """A device as the gateway is configured to serve it."""

    id: str
    profile: _Line
    connector: _Line = ""
    address: _Line = ""
    location: _Line = ""


class Reported(msgspec.Struct, frozen=True):
    """Gateway to cloud, topic `…/reported`, retained: the configuration in force. version rises by one a change.

    desired_version: of the desired document in force, 0 when it never got one.
    """

    version: _Number
    config_hash: _Line
    devices: tuple[ReportedDevice, ...]
    desired_version: _Number = 0


class Desired(msgspec.Struct, frozen=True):
    """Cloud to gateway, topic `…/desired`, retained: what the gateway is to hold to. Keys it does not know are ignored.

    version: rises by one a change. hash: of everything else.
    carried: by device that a patrol member carries, when its positions may exist: [from, until) in ms. A device that is
    here without a window has no positions; one that is not here is carried by nobody.
    reporting_s: by device, or `*` for all others: the longest time between two readings of a metric that are kept.
    sos_s: how long an SOS lifts the limit of the device that it came from.
    """

    version: _Number
    hash: _Line
    carried: dict[_Line, _Windows] = {}
    reporting_s: dict[_Line, _Span] = {}
    sos_s: _Span = 1800


def encode_pack(header: PackHeader, records: Sequence[bytes]) -> tuple[bytes, list[tuple[str, str]]]:
    """The payload and the MQTT user properties of a pack of encoded items."""
    payload = b"[" + b",".join(records) + b"]"
    properties = [
        ("epoch", header.epoch), ("first", str(header.first)), ("count", str(header.count)),
        ("base", str(header.base)), ("boot", header.boot),
    ]  # fmt: skip
    if len(payload) >= COMPRESS_FROM_BYTES:
        payload = zstd.compress(payload)
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
        if not _NAME.fullmatch(given.get(name, "")):
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
    return Pack(header, decode_items(payload, header.first, header.count))


def _decompress(payload: bytes) -> bytes:
    try:
        return zstd.decompress(payload, MAX_PACK_BYTES)
    except ValueError as e:
        raise PackError(str(e)) from e


Message = Ack | Status | Reported | Desired
_encode_message = msgspec.json.Encoder().encode
_M = TypeVar("_M", Ack, Status, Reported, Desired)


def encode_message(message: Message) -> bytes:
    """An acknowledgement, status, report or desired document as JSON."""
    return _encode_message(message)


def decode_ack(payload: bytes) -> Ack:
    """Raises PackError when the payload is no acknowledgement."""
    return _decode_message(payload, Ack, "acknowledgement")


def decode_status(payload: bytes) -> Status:
    """Raises PackError when the payload is no status."""
    return _decode_message(payload, Status, "status")


def decode_reported(payload: bytes) -> Reported:
    """Raises PackError when the payload is no report or names a device that cannot be."""
    report = _decode_message(payload, Reported, "report")
    for device in report.devices:
        if not _NAME.fullmatch(device.id):
            raise PackError(f"not a report: {device.id[:80]!r} is not a name")
    return report


def decode_desired(payload: bytes) -> Desired:
    """Raises PackError when the payload is no desired document, or has a window that ends before it begins."""
    desired = _decode_message(payload, Desired, "desired document", MAX_DESIRED_BYTES)
    for device in (*desired.carried, *desired.reporting_s.keys() - {"*"}):
        if not _NAME.fullmatch(device):
            raise PackError(f"not a desired document: {device[:80]!r} is not a name")
    for device, windows in desired.carried.items():
        if any(begins > ends for begins, ends in windows):
            raise PackError(f"not a desired document: a window of {device} ends before it begins")
    return desired


def _decode_message(payload: bytes, kind: type[_M], what: str, most: int = MAX_MESSAGE_BYTES) -> _M:
    if len(payload) > most:
        raise PackError(f"{what} of {len(payload)} bytes, more than {most}")
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise PackError(f"not a {what}: {e}") from e


__all__ = [
    "COMPRESS_FROM_BYTES", "CONTENT_TYPE", "MAX_DESIRED_BYTES", "MAX_MESSAGE_BYTES", "MAX_PACK_BYTES", "MAX_PACK_ITEMS",
    "MAX_WINDOWS", "TOPIC_ROOT", "Ack", "Desired", "LaneStatus", "Message", "Pack", "PackHeader", "Reported",
    "ReportedDevice", "Status", "decode_ack", "decode_desired", "decode_header", "decode_pack", "decode_reported",
    "decode_status", "encode_item", "encode_message",
    "encode_pack", "geo", "parse_geo", "split_topic", "topic", "up_topic",
]  # fmt: skip
