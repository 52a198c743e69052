"""What a drill does to incidents: opens one by the production rules, and closes what it opened.

Owns the calls of the incidents' service that a drill makes, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloud.incidents import service as incidents
from cloud.org.rules import SYSTEM

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.org.rules import Principal


def open_incident(tx: Connection, actor: Principal, drill: Row[Any], now_ms: int) -> int:
    """Open the incident of a drill; its id."""
    return incidents.open_by_hand(
        tx, actor, node=drill.node, category=drill.category, title=drill.name, place=drill.place, lat=drill.lat,
        lon=drill.lon, now_ms=now_ms, drill=drill.id,
    )  # fmt: skip


def close_incident(tx: Connection, incident: int, drill: int, now_ms: int) -> None:
    """Close an incident of a drill that has ended."""
    incidents.close(tx, SYSTEM, incident, now_ms, cause=f"drill {drill} has ended", follow_up="")
