"""Packs for tests of ingest, and a cloud to commit them into."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from cloud.alerts.store import alarms
from cloud.db import SQLITE_FILE, open_database
from cloud.devices import service as devices
from cloud.devices.store import latest
from cloud.ingest.commit import Committer, GatewayAck, Incoming
from cloud.ingest.metrics import IngestMetrics
from cloud.ingest.service import ledger
from cloud.ingest.store import Tally, marks
from cloud.org.rules import SYSTEM
from cloud.telemetry.store import Series, open_store
from firmware_specs.readings import AlarmEvent, AlarmPhase, Item, Lane, Reading, Severity
from firmware_specs.wire import Ack, PackHeader, encode_item, encode_pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cloud.db import Database
    from cloud.telemetry.store import TelemetryStore
    from firmware_specs.readings import Value

GATEWAYS = ("gw-1", "gw-2", "gw-3")
NOW = 1_795_000_000_000


def reading(
    value: Value = 20.0, at: int = NOW, *, device: str = "dev-1", metric: str = "temperature", unit: str = "Cel"
) -> Reading:
    """A reading that was received when it was observed."""
    return Reading(device, metric, value, unit, at, at)


def alarm(
    occurrence: str, phase: AlarmPhase = AlarmPhase.RAISED, at: int = NOW, *, device: str = "dev-1", kind: str = "fire"
) -> AlarmEvent:
    """An alarm event of a rule of its kind."""
    return AlarmEvent(occurrence, device, kind, Severity.CRITICAL, phase, f"p/{kind}", "1", at, at)


def pack(
    items: Sequence[Item], first: int = 1, *, gateway: str = "gw-1", lane: Lane = Lane.TELEMETRY, base: int = 1,
    epoch: str = "e1", count: int | None = None, offsets: Sequence[int] | None = None,
) -> Incoming:  # fmt: skip
    """A pack as it comes from the broker. offsets: of the items that are left when part was thinned."""
    number = len(items) if count is None else count
    header = PackHeader(epoch, lane, first, number, base, "boot-1")
    records = [encode_item(item, offsets[i] if offsets else None) for i, item in enumerate(items)]
    payload, properties = encode_pack(header, records)
    return Incoming(gateway, f"up/{lane.value}", tuple(properties), payload)


def prepare(database: Database) -> None:
    """Make GATEWAYS known."""
    with database.begin() as tx:
        for gateway in GATEWAYS:
            devices.add_gateway(tx, SYSTEM, gateway, 1)


class Cloud:
    """A committer and what it commits into."""

    def __init__(self, database: Database, telemetry: TelemetryStore) -> None:
        self.database = database
        self.telemetry = telemetry
        self.registry = CollectorRegistry()
        self.committer = Committer(database, telemetry, IngestMetrics(self.registry))

    def fresh_metrics(self) -> IngestMetrics:
        """Metrics for one more service; `counter` reads these from now on."""
        self.registry = CollectorRegistry()
        return IngestMetrics(self.registry)

    def commit(self, *messages: Incoming, now_ms: int = NOW) -> list[Ack]:
        """Commit messages as one batch; the acknowledgements."""
        return [ack.ack for ack in self.commit_all(messages, now_ms)]

    def commit_all(self, messages: Sequence[Incoming], now_ms: int = NOW) -> list[GatewayAck]:
        return self.committer.commit(messages, now_ms)

    def counter(self, name: str, **labels: str) -> float:
        """A counter's value, 0 when it never rose."""
        return self.registry.get_sample_value(name, labels or None) or 0.0

    def ledger(self, gateway: str = "gw-1") -> Tally:
        with self.database.read() as tx:
            return ledger(tx, gateway)

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.database.read() as tx:
            return [dict(row._mapping) for row in tx.execute(sa.select(table).order_by(*table.primary_key.columns))]

    def values(self, device: str = "dev-1", metric: str = "temperature", gateway: str = "gw-1") -> list[Value]:
        """What the telemetry store has of a series."""
        found = self.telemetry.history(Series(gateway, device, metric), 0, 2 * NOW)
        return [point.value for point in found.points]

    def state(self) -> dict[str, object]:
        """Everything that must not depend on the order and number of packs; database ids and such left out."""
        with self.database.read() as tx:
            told = [
                tuple(row)
                for row in tx.execute(
                    sa.select(
                        alarms.c.gateway, alarms.c.device, alarms.c.kind, alarms.c.occurrence, alarms.c.open_key,
                        alarms.c.raised_at, alarms.c.cleared_at, alarms.c.clear_reason,
                    ).order_by(alarms.c.gateway, alarms.c.occurrence)
                )
            ]  # fmt: skip
            newest = [
                tuple(row)
                for row in tx.execute(
                    sa.select(latest.c.gateway, latest.c.device, latest.c.metric, latest.c.value, latest.c.observed_at)
                    .order_by(latest.c.gateway, latest.c.device, latest.c.metric)
                )
            ]  # fmt: skip
            seen = [
                tuple(row)
                for row in tx.execute(
                    sa.select(marks.c.gateway, marks.c.epoch, marks.c.lane, marks.c.through, marks.c.seen)
                    .order_by(marks.c.gateway, marks.c.epoch, marks.c.lane)
                )
            ]  # fmt: skip
            totals = {gateway: ledger(tx, gateway) for gateway in GATEWAYS}
        return {"alarms": told, "latest": newest, "marks": seen, "ledger": totals}


@contextlib.contextmanager
def on_sqlite(template: Path, folder: Path) -> Iterator[Cloud]:
    """A cloud of its own in a folder, from a migrated database."""
    shutil.copy(template, folder / SQLITE_FILE)
    database, telemetry = open_database("sqlite", folder), open_store("sqlite", folder)
    prepare(database)
    yield Cloud(database, telemetry)
    telemetry.close()
    database.close()
