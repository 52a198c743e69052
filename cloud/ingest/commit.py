"""The one commit path: telemetry first, then everything else in one transaction, then acknowledgements.

Owns what happens to a batch of messages, and nothing of how they came. Telemetry is idempotent, so a death between the
two leaves nothing to undo: the packs were not acknowledged and come again. Where a patrol member was outside a shift
passes neither of the two: it is counted and forgotten. A store that cannot serve raises StoreError
and nothing is acknowledged. A pack that can never be taken in is found by halving the batch, kept whole among the dead
letters and acknowledged, or it would hold up its lane for ever; its readings count as lost, since no store has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog
from sqlalchemy.exc import DataError, IntegrityError, StatementError

from cloud.alerts import service as alerts
from cloud.devices import service as devices
from cloud.ingest import hooks
from cloud.ingest.rules import Mark, checked_header, take
from cloud.ingest.screen import gate_for
from cloud.ingest.store import (
    DeadLetter,
    LaneKey,
    Tally,
    add_dead_letter,
    add_gaps,
    add_to_ledger,
    claim_marks,
    count_dead_letters,
    load_marks,
    save_marks,
)
from cloud.presence import service as presence
from cloud.presence.rosters import service as rosters
from cloud.telemetry.store import DAY_MS, Point
from cloud.text import clean
from firmware_specs.errors import PackError, PatrolError, StoreError
from firmware_specs.readings import AlarmEvent, GapReason, GapReport, Item, Lane, Reading
from firmware_specs.wire import Ack, PackHeader, decode_header, decode_pack, decode_reported, decode_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from cloud.db import Database
    from cloud.ingest.metrics import IngestMetrics
    from cloud.telemetry.store import TelemetryStore
    from firmware_specs.wire import Reported, Status

_log: Final = structlog.get_logger("ingest")
MAX_DEAD_LETTERS: Final = 1000
"""Different ones kept of one gateway; beyond it its poison packs are not acknowledged."""
SAMPLE_BYTES: Final = 4096
"""Kept of a pack whose header cannot be read: it cannot be acknowledged, so the gateway still has it."""
_REJECTED: Final = (
    PatrolError, DataError, IntegrityError, StatementError, ArithmeticError, LookupError, TypeError, ValueError,
)  # fmt: skip
"""What a store or a rule says of a message that it will never take, whenever it comes."""


class Incoming(NamedTuple):
    """A message of a gateway.

    kind: the topic's rest: `up/alarms`, `up/telemetry`, `status`, `reported`, or what one of
    `cloud.ingest.hooks.DOCUMENTS` takes.
    """

    gateway: str
    kind: str
    properties: tuple[tuple[str, str], ...]
    payload: bytes
    retained: bool = False


class GatewayAck(NamedTuple):
    """An acknowledgement and whose it is."""

    gateway: str
    ack: Ack


class _Pack(NamedTuple):
    source: Incoming
    header: PackHeader
    items: tuple[tuple[int, Item], ...]
    poison: str = ""
    off_shift: frozenset[int] = frozenset()
    """Sequence numbers of positions that may not be kept."""


class _Sorted:
    """A batch, decoded and sorted by what is to be done with it."""

    def __init__(self) -> None:
        self.packs: list[_Pack] = []
        self.unreadable: list[tuple[Incoming, str]] = []
        self.status: list[tuple[Incoming, Status]] = []
        self.reported: list[tuple[Incoming, Reported]] = []
        self.others: list[Incoming] = []
        self.back: set[str] = set()
        """Gateways of which a pack came after their will."""


class Committer:
    """Commits batches into a database and a telemetry store. One thread at a time."""

    def __init__(
        self, database: Database, telemetry: TelemetryStore, metrics: IngestMetrics, late_ms: int = 900_000,
        sos_ms: int = 1_800_000,
    ) -> None:  # fmt: skip
        """sos_ms: how long an SOS lifts the shift limit of the device that it came from."""
        self._database = database
        self._telemetry = telemetry
        self._metrics = metrics
        self._late_ms = late_ms
        self._sos_ms = sos_ms

    def commit(self, batch: Sequence[Incoming], now_ms: int) -> list[GatewayAck]:
        """Commit messages in their order; what may be acknowledged.

        Raises StoreError when a store cannot serve now: nothing may be acknowledged, commit the batch again later.
        """
        try:
            return self._commit(batch, now_ms)
        except StoreError:
            raise
        except _REJECTED as e:
            if len(batch) > 1:
                half = len(batch) // 2
                return self.commit(batch[:half], now_ms) + self.commit(batch[half:], now_ms)
            return self._set_aside(batch[0], f"{type(e).__name__}: {e}", now_ms)

    def _commit(self, batch: Sequence[Incoming], now_ms: int) -> list[GatewayAck]:
        work, marks = self._sort(batch)
        self._keep_private(work, marks, now_ms)
        points = [
            Point(pack.source.gateway, item)
            for pack in work.packs
            for sequence, item in _unseen(pack, marks.get(_key(pack), Mark()))
            if isinstance(item, Reading) and sequence not in pack.off_shift
        ]
        if points:
            self._telemetry.write(points)
        if not (work.packs or work.unreadable or work.status or work.reported or work.others):
            return []
        with self._database.begin() as tx:
            return _Transaction(tx, now_ms, self._late_ms, self._metrics).apply(work)

    def _keep_private(self, work: _Sorted, marks: dict[LaneKey, Mark], now_ms: int) -> None:
        """Mark what may not be kept, before anything of it is written."""
        new: dict[str, list[Item]] = {}
        for pack in work.packs:
            items = _unseen(pack, marks.get(_key(pack), Mark()))
            new.setdefault(pack.source.gateway, []).extend(item for _, item in items)
        gate = gate_for(self._database, new, now_ms, self._sos_ms)
        if gate.guards:
            work.packs = [_screened(pack, gate) for pack in work.packs]

    def _sort(self, batch: Sequence[Incoming]) -> tuple[_Sorted, dict[LaneKey, Mark]]:
        """Decode what is new; what the marks have already is not decoded again."""
        headers: list[tuple[Incoming, PackHeader]] = []
        work = _Sorted()
        gone: set[str] = set()
        with self._database.read() as tx:
            known = devices.known_gateways(tx)
            for message in batch:
                if message.gateway not in known:
                    self.refuse(message.gateway, "unknown-gateway", "not known here; add it first")
                elif message.kind.startswith("up/"):
                    try:
                        header, _ = decode_header(message.kind[3:], message.properties)
                        headers.append((message, checked_header(header)))
                        work.back |= gone & {message.gateway}
                    except PackError as e:
                        work.unreadable.append((message, e.reason))
                else:
                    self._sort_document(message, work)
                    if message.kind == "status" and work.status and work.status[-1][0] is message:
                        online = work.status[-1][1].online
                        (gone.discard if online else gone.add)(message.gateway)
                        work.back.discard(message.gateway)
            marks = load_marks(tx, {_key_of(message, header) for message, header in headers})
        for message, header in headers:
            mark = marks.get(_key_of(message, header), Mark())
            if header.count and mark.has(header.first, header.through):
                work.packs.append(_Pack(message, header, ()))
                continue
            try:
                items = decode_pack(message.kind[3:], message.properties, message.payload).items
                work.packs.append(_Pack(message, header, items))
            except PackError as e:
                work.packs.append(_Pack(message, header, (), e.reason))
        return work, marks

    def _sort_document(self, message: Incoming, work: _Sorted) -> None:
        try:
            if message.kind == "status":
                work.status.append((message, decode_status(message.payload)))
            elif message.kind != "reported":
                if message.payload:  # an empty one only clears what was retained
                    work.others.append(message)
            else:
                work.reported.append((message, decode_reported(message.payload)))
        except PackError as e:
            self.refuse(message.gateway, message.kind, e.reason)

    def refuse(self, gateway: str, reason: str, cause: str) -> None:
        """Count and tell of a message that is not taken in."""
        self._metrics.refused.labels(reason).inc()
        _log.warning("message refused", gateway=gateway, reason=reason, cause=cause[:300])

    def _set_aside(self, message: Incoming, reason: str, now_ms: int) -> list[GatewayAck]:
        """Dead-letter the one message that a store or a rule rejected."""
        reason = reason.splitlines()[0]
        if not message.kind.startswith("up/"):
            self.refuse(message.gateway, message.kind.partition("/")[0], reason)
            return []
        work = _Sorted()
        header, _ = decode_header(message.kind[3:], message.properties)
        work.packs.append(_Pack(message, checked_header(header), (), reason))
        with self._database.begin() as tx:
            return _Transaction(tx, now_ms, self._late_ms, self._metrics).apply(work)


def _key_of(message: Incoming, header: PackHeader) -> LaneKey:
    return LaneKey(message.gateway, header.epoch, header.lane.value)


def _key(pack: _Pack) -> LaneKey:
    return _key_of(pack.source, pack.header)


def _unseen(pack: _Pack, mark: Mark) -> Sequence[tuple[int, Item]]:
    """The items whose sequence numbers the mark has not seen."""
    missing = mark.missing(pack.header.first, pack.header.through)
    if missing == [(pack.header.first, pack.header.through)]:
        return pack.items
    return [entry for entry in pack.items if any(low <= entry[0] <= high for low, high in missing)]


def _screened(pack: _Pack, gate: rosters.Gate) -> _Pack:
    gateway = pack.source.gateway
    refused = (n for n, item in pack.items if isinstance(item, Reading) and not gate.admits(gateway, item))
    items = ((n, gate.stripped(gateway, item) if isinstance(item, AlarmEvent) else item) for n, item in pack.items)
    return pack._replace(off_shift=frozenset(refused), items=tuple(items))


class _Transaction:
    """What one write transaction does with a sorted batch."""

    def __init__(self, tx: Connection, now_ms: int, late_ms: int, metrics: IngestMetrics) -> None:
        self._tx = tx
        self._now_ms = now_ms
        self._late_before = now_ms - late_ms
        self._metrics = metrics
        self._gained: dict[str, Tally] = {}
        self._readings: dict[tuple[str, str], list[tuple[int, Reading]]] = {}
        self._events: dict[tuple[str, str], list[tuple[int, AlarmEvent]]] = {}
        self._gaps: dict[LaneKey, list[tuple[int, GapReport]]] = {}

    def apply(self, work: _Sorted) -> list[GatewayAck]:
        """Everything; gateways in one order, so that two workers never wait for each other."""
        tx, now_ms = self._tx, self._now_ms
        for gateway in sorted({pack.source.gateway for pack in work.packs}):
            devices.heard(tx, gateway, now_ms)
        self._documents(work)
        marks = claim_marks(tx, (_key(pack) for pack in work.packs), now_ms)
        before = dict(marks)
        acknowledged: dict[LaneKey, None] = {}
        for pack in work.packs:
            key = _key(pack)
            if pack.poison and not self._bury(pack, marks[key]):
                continue
            marks[key] = self._take(pack, marks[key])
            acknowledged[key] = None
        for message, reason in work.unreadable:
            self._bury_unreadable(message, reason)
        for (gateway, epoch), readings in sorted(self._readings.items()):
            devices.apply_readings(tx, gateway, epoch, readings, now_ms)
            presence.take(tx, gateway, [reading for _, reading in readings], now_ms)
        for (gateway, epoch), events in sorted(self._events.items()):
            alerts.apply_events(tx, gateway, epoch, events, now_ms)
        for key, reports in self._gaps.items():
            add_gaps(tx, key, reports, now_ms)
        add_to_ledger(tx, now_ms // DAY_MS, self._gained)
        save_marks(tx, {key: mark for key, mark in marks.items() if mark != before[key]}, now_ms)
        return [GatewayAck(key.gateway, Ack(key.epoch, Lane(key.lane), marks[key].through)) for key in acknowledged]

    def _documents(self, work: _Sorted) -> None:
        tx, now_ms = self._tx, self._now_ms
        for message, reported in work.reported:
            devices.apply_reported(tx, message.gateway, reported, now_ms)
            rosters.reported(tx, message.gateway, reported.desired_version)
            for told in hooks.REPORTED:
                told(tx, message.gateway, reported, now_ms)
        for message, status in work.status:
            devices.apply_status(tx, message.gateway, status, now_ms, retained=message.retained)
            if status.online:
                for listener in hooks.STATUS:
                    listener(tx, message.gateway, status, now_ms)
        for message in work.others:
            self._other(message)
        for gateway in sorted(work.back):
            devices.heard(tx, gateway, now_ms)

    def _other(self, message: Incoming) -> None:
        found = hooks.taker(message.kind)
        reason = "nothing here takes it" if found is None else ""
        if found:
            take_it, rest = found
            try:
                take_it(self._tx, message.gateway, rest, message.payload, self._now_ms)
            except PackError as e:
                reason = e.reason
        if reason:
            self._metrics.refused.labels("document").inc()
            _log.warning("message refused", gateway=message.gateway, topic=message.kind[:160], cause=reason[:300])

    def _take(self, pack: _Pack, mark: Mark) -> Mark:
        header = pack.header
        covered = sum(high - low + 1 for low, high in mark.missing(header.first, header.through))
        items = _unseen(pack, mark)
        after = take(mark, header)
        lost = after.lost - mark.lost
        late = 0
        where = (pack.source.gateway, header.epoch)
        readings = self._readings.setdefault(where, [])
        for sequence, item in items:
            if sequence in pack.off_shift:
                continue
            if isinstance(item, Reading):
                readings.append((sequence, item))
            elif isinstance(item, GapReport):
                self._gaps.setdefault(_key(pack), []).append((sequence, item))
                lost += item.count if item.reason is GapReason.QUARANTINED else 0
                continue
            else:
                self._events.setdefault(where, []).append((sequence, item))
            late += item.observed_at < self._late_before
        thinned = 0 if pack.poison else covered - len(items)
        lost += covered if pack.poison else 0
        off_shift = len(pack.off_shift.intersection(sequence for sequence, _ in items)) if pack.off_shift else 0
        tally = Tally(len(items) - off_shift, late, thinned, lost, off_shift)
        self._gained[where[0]] = self._gained.get(where[0], Tally()).plus(tally)
        self._metrics.off_shift.inc(off_shift)
        self._count(pack, len(items) - off_shift, late, covered)
        return after

    def _count(self, pack: _Pack, items: int, late: int, covered: int) -> None:
        lane = pack.header.lane.value
        self._metrics.packs.labels(lane).inc()
        self._metrics.readings.labels(lane).inc(items)
        self._metrics.late.inc(late)
        if pack.header.count and not covered:
            self._metrics.repeats.inc()

    def _bury(self, pack: _Pack, mark: Mark) -> bool:
        """Keep a poison pack whole; false when there is no room for more, and it must not be acknowledged."""
        header, source = pack.header, pack.source
        if header.count and mark.has(header.first, header.through):
            return True
        if count_dead_letters(self._tx, source.gateway) >= MAX_DEAD_LETTERS:
            self._metrics.refused.labels("dead-letters-full").inc()
            return False
        self._keep(source, source.payload, pack.poison)
        return True

    def _bury_unreadable(self, message: Incoming, reason: str) -> None:
        self._metrics.refused.labels("header").inc()
        if count_dead_letters(self._tx, message.gateway) < MAX_DEAD_LETTERS:
            self._keep(message, message.payload[:SAMPLE_BYTES], reason)

    def _keep(self, message: Incoming, payload: bytes, reason: str) -> None:
        properties = msgspec.json.encode(message.properties).decode()
        letter = DeadLetter(
            message.gateway, message.kind, properties, payload, len(message.payload), clean(reason, 1000)
        )
        add_dead_letter(self._tx, letter, self._now_ms)
        self._metrics.dead_letters.inc()
        _log.warning("pack set aside", gateway=message.gateway, lane=message.kind, reason=reason[:300])


__all__ = ["Committer", "GatewayAck", "Incoming", "StoreError"]
