"""The pages of rosters: duty of a day, its shifts, strength. Members and equipment are in `roster_people`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.console import choose, roster_people
from cloud.console.forms import Button, Id, Sent, numbered
from cloud.console.pages import View, back_to, page_router, render
from cloud.errors import Invalid
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.paging import MAX_LIMIT
from cloud.presence.rosters import service
from cloud.presence.rosters.models import Kind, ShiftState
from cloud.state import now_ms

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.console.ui import Ui

DAY_MS: Final = 86_400_000

pages = page_router()


class Noted(Sent):
    """A button with a remark."""

    note: str = Field("", max_length=2000)


class HandOverForm(Noted):
    """To which shift."""

    to: int = Field(ge=1, lt=2**63)


class ShiftForm(Noted):
    """A shift. where: `post:7`, `route:3` or empty. starts, ends: local times of the site."""

    member: int = Field(ge=1, lt=2**63)
    where: str = Field("", max_length=30)
    armband: str = Field("", max_length=20)
    radio: str = Field("", max_length=20)
    starts: str = Field(max_length=30)
    ends: str = Field(max_length=30)


def _day(ui: Ui) -> date:
    try:
        return date.fromisoformat(ui.query.get("day", ""))
    except ValueError:
        return ui.now.astimezone(ui.zone_info).date()


@pages.get("/rosters")
def duty(ui: View, state: State) -> Response:
    """Who is on duty on a day, by unit, and whether that is enough."""
    day, now = _day(ui), now_ms()
    begins = round(datetime.combine(day, time(), ui.zone_info).timestamp() * 1000)
    with state.db.read() as tx:
        nodes = choose.nodes(tx, ui)
        node = ui.query.get("node", "")
        node = node if node in dict(nodes) else ui.who.node
        listed = service.list_shifts(
            tx, ui.who, now, below=node, from_ms=begins, to_ms=begins + DAY_MS, limit=MAX_LIMIT
        ).items
        context: dict[str, Any] = {
            "groups": _groups(tx, ui, listed), "strengths": service.strengths(tx, ui.who, node, now),
            "lifts": service.list_lifts(tx, ui.who, now), **_choices(tx, ui),
        }  # fmt: skip
    running = sum(shift.state is ShiftState.RUNNING for shift in listed)
    local = datetime.combine(day, time(8))
    return render(
        ui, "rosters.html", day=day.isoformat(), node=node, nodes=nodes, running=running,
        previous=ui.link(day=(day - timedelta(days=1)).isoformat()), following=ui.link(
            day=(day + timedelta(days=1)).isoformat()
        ),
        starts=f"{local:%Y-%m-%dT%H:%M}", ends=f"{local + timedelta(hours=12):%Y-%m-%dT%H:%M}", **context,
    )  # fmt: skip


def _groups(tx: Connection, ui: Ui, listed: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - views of shifts
    """The shifts by unit, with the names of what they refer to."""
    names = choose.names(tx, ui, {shift.node for shift in listed})
    places = {
        what: service.place_names(tx, what, {getattr(shift, what) for shift in listed} - {None})
        for what in ("post", "route")
    }
    things = {thing.id: thing.device for thing in service.list_equipment(tx, ui.who, now_ms(), limit=MAX_LIMIT).items}
    signs = {shift.id: shift.call_sign for shift in listed}
    groups: dict[str, list[dict[str, Any]]] = {}
    for shift in listed:
        place = places["post"].get(shift.post) or places["route"].get(shift.route)
        carried = [things.get(thing, f"#{thing}") for thing in (shift.armband, shift.radio) if thing]
        later = [
            (str(other.id), f"{other.call_sign} · {ui.moment(other.starts_at)}")
            for other in listed
            if other.id != shift.id and other.member != shift.member and other.state is not ShiftState.ENDED
        ]
        row = {
            "shift": shift, "place": ui.called(*place) if place else "", "carried": carried, "later": later,
            "handed_to": signs.get(shift.handed_to, f"#{shift.handed_to}") if shift.handed_to else "",
        }  # fmt: skip
        groups.setdefault(shift.node, []).append(row)
    return [{"name": names[node], "rows": rows} for node, rows in sorted(groups.items())]


def _choices(tx: Connection, ui: Ui) -> dict[str, list[tuple[str, str]]]:
    """What the form for a shift offers, to whom it is shown."""
    if not ui.may(Permission.PATROL):
        return {"members": [], "places": [], "armbands": [], "radios": []}
    none = [("", ui.t("rosters.nothing"))]
    members = [(str(m.id), m.call_sign) for m in service.list_members(tx, ui.who, now_ms(), limit=MAX_LIMIT).items]
    things = {
        kind: [
            (str(thing.id), thing.device)
            for thing in service.list_equipment(tx, ui.who, now_ms(), kind=kind, limit=MAX_LIMIT).items
        ]
        for kind in (Kind.ARMBAND, Kind.RADIO)
    }
    places = [
        (f"{what}:{thing}", ui.called(zh, en))
        for what in ("post", "route")
        for thing, zh, en in service.place_choices(tx, ui.who, what)
    ]
    return {
        "members": members, "places": [("", ui.t("rosters.where_none")), *places],
        "armbands": none + things[Kind.ARMBAND], "radios": none + things[Kind.RADIO],
    }  # fmt: skip


def _moment(ui: Ui, text: str) -> int:
    """A local time of a form as milliseconds UTC. Raises Invalid."""
    try:
        local = datetime.fromisoformat(text)
    except ValueError as e:
        raise Invalid(ui.t("rosters.time_wrong")) from e
    return round(local.replace(tzinfo=ui.zone_info).astimezone(UTC).timestamp() * 1000)


@pages.post("/rosters/shifts")
def plan(ui: View, state: State, act: Annotated[ShiftForm, Form()]) -> Response:
    """Plan a shift."""
    ui.need(Permission.PATROL)
    what, _, place = act.where.partition(":")
    wanted = service.Plan(
        act.member, _moment(ui, act.starts), _moment(ui, act.ends),
        post=numbered(place, "post") if what == "post" else None,
        route=numbered(place, "route") if what == "route" else None,
        armband=numbered(act.armband, "armband"), radio=numbered(act.radio, "radio"), note=act.note,
    )  # fmt: skip
    with state.db.begin() as tx:
        service.plan(tx, ui.who, wanted, now_ms())
    return back_to(act.back or "/rosters")


@pages.post("/rosters/shifts/{shift}/begin")
def begin(ui: View, state: State, shift: Id, act: Button) -> Response:
    """The member has taken it up."""
    ui.need(Permission.RESPOND)
    with state.db.begin() as tx:
        service.begin(tx, ui.who, shift, now_ms())
    return back_to(act.back or "/rosters")


@pages.post("/rosters/shifts/{shift}/end")
def end(ui: View, state: State, shift: Id, act: Annotated[Noted, Form()]) -> Response:
    """End it before its time."""
    ui.need(Permission.RESPOND)
    with state.db.begin() as tx:
        service.end(tx, ui.who, shift, now_ms(), act.note)
    return back_to(act.back or "/rosters")


@pages.post("/rosters/shifts/{shift}/handover")
def hand_over(ui: View, state: State, shift: Id, act: Annotated[HandOverForm, Form()]) -> Response:
    """End it and begin the one that takes over."""
    ui.need(Permission.RESPOND)
    with state.db.begin() as tx:
        service.hand_over(tx, ui.who, shift, act.to, now_ms(), note=act.note)
    return back_to(act.back or "/rosters")


@pages.post("/rosters/shifts/{shift}/delete")
def remove(ui: View, state: State, shift: Id, act: Button) -> Response:
    """Forget a shift that has not begun."""
    ui.need(Permission.PATROL)
    with state.db.begin() as tx:
        service.remove(tx, ui.who, shift, now_ms())
    return back_to(act.back or "/rosters")


pages.include_router(roster_people.pages)
