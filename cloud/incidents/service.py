"""What other folders may do with incidents: open, take, act, read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloud.incidents.store import clocks, incidents

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Principal


class OpenPlace(NamedTuple):
    """An open incident that has a place. title: in Chinese."""

    id: int
    title: str
    category: str
    severity: str
    lat: float
    lon: float
    drill: bool
    title_en: str = ""


def open_places(_tx: Connection, _principal: Principal) -> list[OpenPlace]:
    """Open incidents that have a place, within scope."""
    return []


TARGETS = {"on_scene": 300, "reinforcement": 600, "area": 1800}


def open_by_hand(
    tx: Connection, actor: Principal, *, node: str, category: str, title: str, now_ms: int, place: str = "",
    lat: float | None = None, lon: float | None = None, drill: int | None = None,
) -> int:  # fmt: skip
    """Open what somebody reports; its id. drill: makes it that drill's."""
    values = {
        "node": node, "category": category, "title": title, "place": place, "lat": lat,
        "lon": lon, "radius_m": 50.0, "source": "hand", "state": "open", "severity": "major", "level": 4,
        "checklist": "[]", "event_at": now_ms, "opened_at": now_ms, "opened_by": actor.label, "cause": "",
        "follow_up": "", "drill": drill,
    }  # fmt: skip
    made = int(tx.execute(incidents.insert().values(values).returning(incidents.c.id)).scalar_one())
    for name, target_s in TARGETS.items():
        due = {"target_s": target_s, "due_at": now_ms + target_s * 1000, "reason": ""}
        tx.execute(clocks.insert().values(incident=made, name=name, **due))
    return made


def close(tx: Connection, actor: Principal, incident: int, now_ms: int, *, cause: str, follow_up: str) -> None:
    """Close an incident."""
    closed = {"state": "closed", "closed_at": now_ms, "closed_by": actor.label, "cause": cause, "follow_up": follow_up}
    tx.execute(incidents.update().where(incidents.c.id == incident).values(closed))
