"""Which drill an alarm belongs to: what the drills' folder may do with alarms.

Owns `alarms.drill_id`. Only an alarm that its gateway marked as drill is ever tied to one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.alerts import service, views
from cloud.alerts.store import alarms
from cloud.org.rules import SYSTEM

if TYPE_CHECKING:
    from sqlalchemy import Connection


class DrilledAlarm(NamedTuple):
    """An alarm as its drill sees it. drill: its drill, None when none was running."""

    id: int
    node: str
    received_at: int
    acknowledged_at: int | None
    acknowledged_by: str | None
    drill: int | None


def tie(tx: Connection, alarm: int, drill: int, now_ms: int) -> None:
    """Let a marked alarm belong to a drill; nothing happens to a real one."""
    tied = alarms.update().where(alarms.c.id == alarm, alarms.c.drill.is_(True)).values(drill_id=drill)
    tx.execute(tied)
    views.announce(tx, [alarm], now_ms)


def of_drill(tx: Connection, drill: int) -> list[DrilledAlarm]:
    """The alarms of a drill, oldest first."""
    rows = tx.execute(sa.select(alarms).where(alarms.c.drill_id == drill).order_by(alarms.c.id))
    return [
        DrilledAlarm(row.id, row.node, row.received_at, row.acknowledged_at, row.acknowledged_by, row.drill_id)
        for row in rows
    ]


def clear_all(tx: Connection, drill: int, now_ms: int) -> int:
    """Clear what is still open of a drill; how many there were."""
    wanted = sa.select(alarms.c.id).where(alarms.c.drill_id == drill, alarms.c.cleared_at.is_(None))
    ids = tx.execute(wanted.order_by(alarms.c.gateway, alarms.c.id)).scalars().all()
    for alarm in ids:
        service.clear(tx, SYSTEM, alarm, now_ms, f"drill {drill} has ended")
    return len(ids)
