"""Alarms of what is put at another node: the open ones move along, those that are over stay where they happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.alerts import views
from cloud.alerts.store import alarms

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


def move(tx: Connection, gateway: str, devices: Collection[str], node: str, now_ms: int) -> None:
    """Let the alarms of devices that are not cleared belong to a node. devices: of the gateway, "" for itself."""
    wanted = set(devices)
    mine = (alarms.c.gateway == gateway, alarms.c.cleared_at.is_(None), alarms.c.node != node)
    rows = tx.execute(alarms.select().where(*mine).with_only_columns(alarms.c.id, alarms.c.device)).all()
    moved = [row.id for row in rows if row.device in wanted]
    if moved:
        tx.execute(alarms.update().where(alarms.c.id.in_(moved)).values(node=node))
        views.announce(tx, moved, now_ms)
