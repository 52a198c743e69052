"""What other folders may do with incidents: open, take, act, read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.incidents.store import incidents
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Principal


def open_by_hand(
    tx: Connection, actor: Principal, *, node: str, category: str, title: str, now_ms: int, place: str = "",
    lat: float | None = None, lon: float | None = None, severity: Severity = Severity.MAJOR,
    event_at: int | None = None, drill: int | None = None,
) -> int:  # fmt: skip
    """Open what somebody reports; its id. event_at: now when left out. drill: makes it that drill's."""
    row = {
        "node": node, "category": category, "title": title, "place": place, "lat": lat, "lon": lon, "radius_m": 80.0,
        "source": "hand", "state": "open", "severity": severity.value, "level": 4, "checklist": "[]",
        "event_at": now_ms if event_at is None else event_at, "opened_at": now_ms, "opened_by": actor.label,
        "cause": "", "follow_up": "", "drill": drill,
    }  # fmt: skip
    return int(tx.execute(incidents.insert().values(row).returning(incidents.c.id)).scalar_one())
