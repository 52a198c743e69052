"""What others ask of many incidents: open places for maps, and what was missed. `review` has a period's figures.

Drills are never counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.alerts.facts import raised_between
from cloud.incidents.models import MissedView, MissedWhy
from cloud.incidents.rules import ACKNOWLEDGE_S, CATEGORIES, Category, State, event_time
from cloud.incidents.store import incident_alarms, incidents
from cloud.org.rules import scope
from cloud.paging import at
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Principal

MOST = 1000


class OpenPlace(NamedTuple):
    """An open incident that has a place. title: in Chinese."""

    id: int
    title: str
    category: Category
    severity: Severity
    lat: float
    lon: float
    drill: bool
    title_en: str = ""


def open_places(tx: Connection, principal: Principal) -> list[OpenPlace]:
    """Open incidents within scope that have a place, drills among them and marked."""
    wanted = sa.select(incidents).where(
        scope(principal, incidents.c.node), incidents.c.state != State.CLOSED.value, incidents.c.lat.is_not(None)
    )
    return [
        OpenPlace(
            row.id, row.title_zh, Category(row.category), Severity(row.severity), row.lat, row.lon,
            row.drill is not None, row.title_en,
        )
        for row in tx.execute(wanted.order_by(incidents.c.id))
    ]  # fmt: skip


def missed(tx: Connection, principal: Principal, from_ms: int, to_ms: int, now_ms: int) -> list[MissedView]:
    """What was missed in a period, newest first, at most 1000 of each sort.

    Alarms of kinds that open incidents which are in none (what keeps them quiet excuses them) or were acknowledged
    late or never, and incidents that were taken late or never. What still has time is not missed.
    """
    found = _missed_alarms(tx, principal, from_ms, to_ms, now_ms)
    wanted = sa.select(incidents).where(
        scope(principal, incidents.c.node), incidents.c.opened_at >= from_ms, incidents.c.opened_at < to_ms,
        incidents.c.drill.is_(None),
    )  # fmt: skip
    late = (sa.func.coalesce(incidents.c.owned_at, now_ms) - incidents.c.opened_at) > incidents.c.receive_s * 1000
    for row in tx.execute(wanted.where(late).order_by(incidents.c.opened_at.desc(), incidents.c.id.desc()).limit(MOST)):
        late_s = None if row.owned_at is None else (row.owned_at - row.opened_at) / 1000 - row.receive_s
        found.append(
            MissedView(
                why=MissedWhy.LATE_RECEIPT, alarm=None, incident=row.id, node=row.node, kind=row.category,
                at=at(row.opened_at), late_s=late_s,
            )
        )  # fmt: skip
    return sorted(found, key=lambda each: each.at, reverse=True)


def _missed_alarms(tx: Connection, principal: Principal, from_ms: int, to_ms: int, now_ms: int) -> list[MissedView]:
    alarms = raised_between(tx, principal, from_ms, to_ms, list(CATEGORIES))
    ids = [alarm.id for alarm in alarms]
    mine = sa.select(incident_alarms.c.alarm, incident_alarms.c.incident).where(incident_alarms.c.alarm.in_(ids))
    of: dict[int, int] = {int(alarm): int(incident) for alarm, incident in tx.execute(mine)}
    found: list[MissedView] = []
    for alarm in alarms:
        about = {
            "alarm": alarm.id, "incident": of.get(alarm.id), "node": alarm.node, "kind": alarm.kind,
            "at": at(event_time(alarm.raised_at, alarm.received_at)),
        }  # fmt: skip
        if alarm.id not in of and not alarm.quiet:
            found.append(MissedView(why=MissedWhy.NO_INCIDENT, late_s=None, **about))
        waited_s = ((alarm.acknowledged_at or now_ms) - alarm.received_at) / 1000
        if waited_s > ACKNOWLEDGE_S and not alarm.quiet:
            late_s = None if alarm.acknowledged_at is None else waited_s - ACKNOWLEDGE_S
            found.append(MissedView(why=MissedWhy.LATE_ACKNOWLEDGEMENT, late_s=late_s, **about))
    return found
