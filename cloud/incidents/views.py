"""From rows to what the API says of incidents, and what the event stream is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloud import stream
from cloud.alerts.facts import facts
from cloud.incidents import chain
from cloud.incidents.models import (
    AlarmRef,
    CheckView,
    ClockView,
    IncidentDetail,
    IncidentView,
    PlaceView,
    PlanStep,
    PlanView,
    ResponderState,
    ResponderView,
    Targets,
    TimelineRow,
)
from cloud.incidents.rules import ClockName, How
from cloud.incidents.store import clocks, incident_alarms, incidents, responders
from cloud.paging import at, at_or_none
from cloud.presence.rosters import service as rosters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import Connection, Row

    from cloud.incidents.defaults import Plan

ORDER = {name.value: place for place, name in enumerate(ClockName)}


def clock_view(row: Row[Any], now_ms: int) -> ClockView:
    """A clock as it stands now."""
    return ClockView(
        name=ClockName(row.name), target_s=row.target_s, started_at=at(row.started_at), due_at=at(row.due_at),
        stopped_at=at_or_none(row.stopped_at), stopped_by=row.stopped_by, how=How(row.how) if row.how else None,
        reason=row.reason, breached_at=at_or_none(row.breached_at), escalated_to=row.escalated_to,
        remaining_s=None if row.how else (row.due_at - now_ms) / 1000,
    )  # fmt: skip


def clocks_of(tx: Connection, ids: Collection[int], now_ms: int) -> dict[int, list[ClockView]]:
    """The clocks of incidents, in their order."""
    found: dict[int, list[ClockView]] = {}
    rows = tx.execute(sa.select(clocks).where(clocks.c.incident.in_(ids))).all()
    for row in sorted(rows, key=lambda each: ORDER[each.name]):
        found.setdefault(row.incident, []).append(clock_view(row, now_ms))
    return found


def _fields(row: Row[Any], running: list[ClockView]) -> dict[str, Any]:
    names = (
        "id", "node", "category", "title_zh", "title_en", "place", "radius_m", "source", "state", "severity", "level",
        "opened_by", "owner", "closed_by", "cause", "follow_up", "drill",
    )  # fmt: skip
    return {
        **{name: getattr(row, name) for name in names},
        "position": PlaceView(lat=row.lat, lon=row.lon) if row.lat is not None else None,
        "event_at": at(row.event_at), "opened_at": at(row.opened_at), "owned_at": at_or_none(row.owned_at),
        "closed_at": at_or_none(row.closed_at), "clocks": running,
    }  # fmt: skip


def views_of(tx: Connection, rows: Iterable[Row[Any]], now_ms: int) -> list[IncidentView]:
    """Views of rows, in their order."""
    rows = list(rows)
    running = clocks_of(tx, [row.id for row in rows], now_ms)
    return [IncidentView(**_fields(row, running.get(row.id, []))) for row in rows]


def detail_of(tx: Connection, row: Row[Any], now_ms: int) -> IncidentDetail:
    """A row with everything that belongs to it."""
    running = clocks_of(tx, [row.id], now_ms).get(row.id, [])
    checks = [
        CheckView(zh=each["zh"], en=each["en"], done_at=at_or_none(each["done_at"]), done_by=each["done_by"])
        for each in json.loads(row.checklist)
    ]
    history = [
        TimelineRow(**{**each, "at": at(each["at"]), "recorded_at": at(each["recorded_at"])})
        for each in chain.rows(tx, row.id)
    ]
    return IncidentDetail(
        **_fields(row, running), plan=row.plan, arrivals=row.arrivals, area_by=row.area_by,
        alarms=alarms_of(tx, row.id), responders=responders_of(tx, row.id), checklist=checks, timeline=history,
    )  # fmt: skip


def alarms_of(tx: Connection, incident: int) -> list[AlarmRef]:
    """The alarms of an incident, oldest first."""
    mine = sa.select(incident_alarms.c.alarm).where(incident_alarms.c.incident == incident)
    known = facts(tx, tx.execute(mine).scalars().all())
    return [
        AlarmRef(
            id=each.id, kind=each.kind, title_zh=each.title[0], title_en=each.title[1], gateway=each.gateway,
            device=each.device, location=each.location, raised_at=at(each.raised_at),
            cleared_at=at_or_none(each.cleared_at),
        )
        for each in sorted(known.values(), key=lambda each: (each.raised_at, each.id))
    ]  # fmt: skip


def responders_of(tx: Connection, incident: int) -> list[ResponderView]:
    """Who was sent or came, in that order."""
    wanted = sa.select(responders).where(responders.c.incident == incident)
    rows = tx.execute(wanted.order_by(responders.c.dispatched_at, responders.c.member)).all()
    names = rosters.member_names(tx, [row.member for row in rows])
    return [
        ResponderView(
            member=row.member, call_sign=names.get(row.member, f"#{row.member}"), state=ResponderState(row.state),
            dispatched_at=at(row.dispatched_at), dispatched_by=row.dispatched_by,
            accepted_at=at_or_none(row.accepted_at), arrived_at=at_or_none(row.arrived_at),
            released_at=at_or_none(row.released_at),
        )
        for row in rows
    ]  # fmt: skip


def plan_view(plan: Plan) -> PlanView:
    """A plan as the API gives it."""
    return PlanView(
        id=plan.id, node=plan.node, category=plan.category, name_zh=plan.name_zh, name_en=plan.name_en,
        checklist=[PlanStep(zh=step.zh, en=step.en) for step in plan.checklist], calls=list(plan.calls),
        targets=Targets(**{name.value: seconds for name, seconds in plan.targets.items()}), scene_m=plan.scene_m,
        arrivals=plan.arrivals, receive_s=plan.receive_s, escalate_s=plan.escalate_s, kinds=list(plan.kinds),
        area_by=plan.area_by,
    )  # fmt: skip


def announce(tx: Connection, incident: int, now_ms: int) -> IncidentView:
    """Tell the event stream how an incident stands now; its view."""
    row = tx.execute(sa.select(incidents).where(incidents.c.id == incident)).one()
    view = views_of(tx, [row], now_ms)[0]
    stream.append(tx, "incident", view, at=now_ms, node=row.node)
    return view
