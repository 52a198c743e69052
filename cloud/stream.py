"""The event stream: persisted rows that a client can resume, and live values that it cannot.

`append` within a write transaction; ids follow the order of commits. Kinds: `alarm` (data: AlarmView), `gateway` (data:
GatewayView without its ledger); `device` (data: DeviceView) is live only: coalesced to one a second for each device,
never stored, without an id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.db import BigId, finishers, metadata, work_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.db import Database, Work
    from cloud.paging import View

CHANNEL: Final = "patrol_events"
"""Where PostgreSQL notifies other processes."""

events: Final = sa.Table(
    "events",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("node", sa.String(255), nullable=False),
    sa.Column("gateway", sa.String(64), nullable=False),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)


def append(tx: Connection, kind: str, data: View, *, at: int, node: str, gateway: str = "", device: str = "") -> None:
    """Add an event; it is written at the end of the transaction and sent after its commit."""
    row: dict[str, Any] = {
        "at": at, "kind": kind, "node": node, "gateway": gateway, "device": device, "data": data.model_dump_json(),
    }  # fmt: skip
    work_of(tx).buffers.setdefault("events", []).append(row)


def _write(tx: Connection, work: Work) -> None:
    rows = work.buffers.get("events")
    if rows:
        tx.execute(events.insert(), rows)
        if tx.dialect.name == "postgresql":
            tx.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))


def after(db: Database, event_id: int, limit: int) -> list[tuple[int, str, str, str]]:
    """Events behind an id, oldest first: id, kind, node, data."""
    wanted = sa.select(events.c.id, events.c.kind, events.c.node, events.c.data).where(events.c.id > event_id)
    with db.read() as tx:
        return [(row.id, row.kind, row.node, row.data) for row in tx.execute(wanted.order_by(events.c.id).limit(limit))]


def bounds(db: Database) -> tuple[int, int]:
    """The oldest id that can still be resumed from, and the newest; (1, 0) when there never was any."""
    with db.read() as tx:
        first, newest = tx.execute(sa.select(sa.func.min(events.c.id), sa.func.max(events.c.id))).one()
    return (int(first), int(newest)) if first is not None else (1, 0)


def forget(tx: Connection, before_ms: int) -> None:
    """Delete events older than a time; the newest stays, so that ids go on from it."""
    newest = sa.select(sa.func.max(events.c.id)).scalar_subquery()
    tx.execute(events.delete().where(events.c.at < before_ms, events.c.id < newest))


finishers.append(_write)
