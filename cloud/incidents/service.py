"""What other folders may do with incidents: open, take, act, read.

Loading it puts the hooks, timers and importers in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloud.errors import Invalid
from cloud.incidents import deadlines, opening, scene, views  # noqa: F401 - their timers and hooks
from cloud.incidents.chain import export
from cloud.incidents.figures import OpenPlace, missed, open_places
from cloud.incidents.handling import (
    close,
    comment,
    hand_over,
    receivers,
    reopen,
    row_of,
    stop_clock,
    take,
    tick,
)
from cloud.incidents.plans import drop_plan, list_plans, put_plan
from cloud.incidents.plans import effective as effective_plan
from cloud.incidents.responders import accept, dispatch, nearest, release
from cloud.incidents.rules import Category, State
from cloud.incidents.store import incidents
from cloud.org import audit
from cloud.org.rules import Principal, scope
from cloud.paging import MAX_LIMIT, Page, decode_cursor, encode_cursor
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.incidents.models import IncidentDetail, IncidentFilter, IncidentView

__all__ = [
    "OpenPlace", "accept", "close", "comment", "dispatch", "drop_plan", "effective_plan",
    "export_timeline", "get_incident", "hand_over", "list_incidents", "list_plans", "missed", "nearest",
    "open_by_hand", "open_count", "open_places", "put_plan", "receivers", "release", "reopen", "stop_clock",
    "take", "tick",
]  # fmt: skip


def open_by_hand(
    tx: Connection, actor: Principal, *, node: str, category: str, title: str, now_ms: int, place: str = "",
    lat: float | None = None, lon: float | None = None, severity: Severity = Severity.MAJOR,
    event_at: int | None = None, drill: int | None = None,
) -> int:  # fmt: skip
    """Open what somebody reports; its id. event_at: now when left out. drill: makes it that drill's.

    Raises NotFound when the node is not within scope, Forbidden, Invalid.
    """
    if (lat is None) != (lon is None):
        raise Invalid("lat, lon: both or neither")
    point = (lat, lon) if lat is not None and lon is not None else None
    report = opening.Report(node, Category(category), title, place, severity, point, event_at, drill)
    row = opening.by_hand(tx, actor, report, now_ms)
    audit.record(tx, actor, "incident.opened", f"incident/{row.id}", at=now_ms, detail=row.title_zh)
    return views.announce(tx, row.id, now_ms).id


def list_incidents(
    tx: Connection, principal: Principal, query: IncidentFilter, now_ms: int, *, limit: int = 100,
    cursor: str | None = None,
) -> Page[IncidentView]:  # fmt: skip
    """Incidents within scope, the last opened first. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(incidents).where(scope(principal, incidents.c.node))
    if query.state:
        wanted = wanted.where(incidents.c.state.in_([state.value for state in query.state]))
    if query.category:
        wanted = wanted.where(incidents.c.category.in_([category.value for category in query.category]))
    if query.drill is not None:
        wanted = wanted.where(incidents.c.drill.is_not(None) if query.drill else incidents.c.drill.is_(None))
    if query.node is not None:
        wanted = wanted.where(incidents.c.node.startswith(query.node, autoescape=True))
    if cursor:
        opened_at, incident = decode_cursor(cursor, int, int)
        wanted = wanted.where(sa.tuple_(incidents.c.opened_at, incidents.c.id) < sa.tuple_(opened_at, incident))
    wanted = wanted.order_by(incidents.c.opened_at.desc(), incidents.c.id.desc()).limit(limit + 1)
    rows = tx.execute(wanted).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].opened_at, shown[-1].id) if len(rows) > limit else None
    return Page(items=views.views_of(tx, shown, now_ms), next_cursor=following)


def get_incident(tx: Connection, principal: Principal, incident: int, now_ms: int) -> IncidentDetail:
    """One incident with everything that belongs to it. Raises NotFound when absent or out of scope."""
    return views.detail_of(tx, row_of(tx, principal, incident), now_ms)


def open_count(tx: Connection, principal: Principal) -> int:
    """How many real incidents within scope are open."""
    mine = (
        scope(principal, incidents.c.node), incidents.c.state != State.CLOSED.value, incidents.c.drill.is_(None),
    )  # fmt: skip
    return tx.execute(sa.select(sa.func.count()).select_from(incidents).where(*mine)).scalar_one()


def export_timeline(tx: Connection, principal: Principal, incident: int) -> str:
    """The timeline as JSON lines that `verify_timeline.py` checks. Raises NotFound."""
    return export(tx, row_of(tx, principal, incident).id)
