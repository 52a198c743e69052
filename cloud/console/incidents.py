"""The incident desk: open incidents with counting clocks, one incident with all that belongs to it, and its forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.console import choose, incident_plans, incident_show
from cloud.console.forms import Id, Sent
from cloud.console.pages import View, back_to, page_router, render
from cloud.errors import Invalid
from cloud.incidents import service
from cloud.incidents.models import IncidentFilter
from cloud.incidents.rules import REOPEN_MS, Category, ClockName
from cloud.incidents.rules import State as Stands
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission, Role
from cloud.state import now_ms
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.console.ui import Ui
    from cloud.incidents.models import IncidentDetail

PAGE: Final = 50
MAX_ID: Final = 2**63 - 1
MISSED_DAYS: Final = 30
RUNNING: Final = (Stands.OPEN, Stands.ON_SCENE)

pages = page_router()
pages.include_router(incident_plans.pages)


class Act(Sent):
    """The forms of an incident."""

    text: str = Field("", max_length=8000)
    follow_up: str = Field("", max_length=8000)
    user: str = Field("", max_length=64)
    clock: ClockName = ClockName.ON_SCENE
    line: int = Field(0, ge=0, le=999)
    done: bool = True
    member: int = Field(1, ge=1, le=MAX_ID)
    members: list[int] = Field(default_factory=list, max_length=50)
    node: str = Field("/", max_length=255)
    category: Category = Category.FIRE
    place: str = Field("", max_length=200)
    severity: Severity = Severity.MAJOR

    def said(self, ui: Ui, what: str) -> str:
        """What was written. Raises Invalid, by its name, when nothing was."""
        text = self.text.strip()[:2000]
        if not text:
            raise Invalid(ui.t(f"incidents.{what}"))
        return text


Given = Annotated[Act, Form()]


@pages.get("/incidents")
def desk(ui: View, state: State) -> Response:
    """Incidents, the open ones unless something else is asked for."""
    chosen = {name: ui.query.get(name, "") for name in ("state", "category", "drill", "cursor")}
    stands = {"closed": (Stands.CLOSED,), "all": ()}.get(chosen["state"], RUNNING)
    query = IncidentFilter(
        state=stands,
        category=(Category(chosen["category"]),) if chosen["category"] in set(Category) else (),
        drill={"drill": True, "real": False}.get(chosen["drill"]),
    )
    with state.db.read() as tx:
        page = service.list_incidents(tx, ui.who, query, now_ms(), limit=PAGE, cursor=chosen["cursor"] or None)
        nodes = choose.nodes(tx, ui) if ui.may(Permission.RESPOND) else []
    t = ui.t
    return render(
        ui, "incidents.html", page=page, chosen={**chosen, "any": bool(ui.query)}, show=incident_show,
        state_options=[
            ("", t("incidents.filter_running")), ("closed", t("incidents.state.closed")),
            ("all", t("incidents.filter_all")),
        ],
        category_options=[("", t("incidents.filter_all")), *incident_show.categories(ui)],
        categories=incident_show.categories(ui),
        drill_options=[
            ("", t("incidents.filter_all")), ("real", t("incidents.filter_real")), ("drill", t("incidents.drill")),
        ],
        node_options=nodes,
        severities=[(severity.value, t(f"severity.{severity}")) for severity in Severity],
        next=ui.link(cursor=page.next_cursor), first=ui.link(cursor=None),
    )  # fmt: skip


@pages.post("/incidents")
def open_incident(ui: View, state: State, act: Given) -> Response:
    """Open one by hand."""
    title = act.said(ui, "what")
    with state.db.begin() as tx:
        made = service.open_by_hand(
            tx, ui.who, node=act.node, category=act.category, title=title[:200], place=act.place.strip(),
            severity=act.severity, now_ms=now_ms(),
        )  # fmt: skip
    return back_to(f"/incidents/{made}")


@pages.get("/incidents/missed")
def missed(ui: View, state: State) -> Response:
    """What was missed in the last month: for the review of missed reports."""
    now = now_ms()
    with state.db.read() as tx:
        found = service.missed(tx, ui.who, now - MISSED_DAYS * 86_400_000, now, now)
        names = choose.names(tx, ui, {each.node for each in found})
    return render(ui, "incident_missed.html", found=found, names=names, days=MISSED_DAYS)


@pages.get("/incidents/{incident_id}")
def incident_page(ui: View, state: State, incident_id: Id) -> Response:
    """One incident."""
    now = now_ms()
    with state.db.read() as tx:
        incident = service.get_incident(tx, ui.who, incident_id, now)
        people = service.receivers(tx, incident.node) if ui.may(Permission.RESPOND) else []
        nodes = _node_names(tx, ui, incident)
    closed = incident.state is Stands.CLOSED
    mine = incident.owner == ui.who.label
    over = ui.who.role in {Role.SUPERVISOR, Role.ADMINISTRATOR}
    return render(
        ui, "incident.html", incident=incident, show=incident_show, nodes=nodes, closed=closed, mine=mine, over=over,
        responds=ui.may(Permission.RESPOND), leads=mine or over,
        reopens=incident.closed_at is not None and now - ui.ms(incident.closed_at) <= REOPEN_MS,
        people=[(name, name) for name in people if name != incident.owner],
        running=[
            (clock.name.value, ui.t(f"incidents.clock.{clock.name}")) for clock in incident.clocks if clock.how is None
        ],
    )  # fmt: skip


def _node_names(tx: Connection, ui: Ui, incident: IncidentDetail) -> dict[str, str]:
    """What the nodes that the page speaks of are called."""
    wanted = {incident.node} | {str(row.detail["to"]) for row in incident.timeline if row.detail.get("to")}
    return choose.names(tx, ui, wanted)


@pages.get("/incidents/{incident_id}/nearest")
def nearest(ui: View, state: State, incident_id: Id) -> Response:
    """Whom to send, the nearest first. Each look at a position is recorded."""
    now = now_ms()
    with state.db.begin() as tx:
        incident = service.get_incident(tx, ui.who, incident_id, now)
        found = service.nearest(tx, ui.who, incident_id, now)
    return render(ui, "incident_nearest.html", incident=incident, found=found, show=incident_show)


def _back(act: Act, incident_id: int) -> Response:
    return back_to(act.back or f"/incidents/{incident_id}")


@pages.post("/incidents/{incident_id}/take")
def take(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """Become its owner; with a reason, take it over."""
    with state.db.begin() as tx:
        service.take(tx, ui.who, incident_id, now_ms(), act.text.strip()[:2000] or None)
    return _back(act, incident_id)


@pages.post("/incidents/{incident_id}/handover")
def hand_over(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """Give it to somebody."""
    with state.db.begin() as tx:
        service.hand_over(tx, ui.who, incident_id, now_ms(), act.user)
    return _back(act, incident_id)


@pages.post("/incidents/{incident_id}/dispatch")
def dispatch(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """Send those who were ticked."""
    if not act.members:
        raise Invalid(ui.t("incidents.nobody_ticked"))
    with state.db.begin() as tx:
        service.dispatch(tx, ui.who, incident_id, now_ms(), act.members)
    return back_to(f"/incidents/{incident_id}")


@pages.post("/incidents/{incident_id}/accept")
def accept(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """A responder said that they are on the way."""
    with state.db.begin() as tx:
        service.accept(tx, ui.who, incident_id, now_ms(), act.member)
    return _back(act, incident_id)


@pages.post("/incidents/{incident_id}/release")
def release(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """A responder is no longer needed."""
    with state.db.begin() as tx:
        service.release(tx, ui.who, incident_id, now_ms(), act.member)
    return _back(act, incident_id)


@pages.post("/incidents/{incident_id}/stop")
def stop_clock(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """Stop a clock by hand."""
    reason = act.said(ui, "reason")
    with state.db.begin() as tx:
        service.stop_clock(tx, ui.who, incident_id, now_ms(), name=act.clock, reason=reason)
    return _back(act, incident_id)


@pages.post("/incidents/{incident_id}/tick")
def tick(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """Tick a line of the checklist, or take the tick back."""
    with state.db.begin() as tx:
        service.tick(tx, ui.who, incident_id, now_ms(), act.line, is_done=act.done)
    return _back(act, incident_id)


@pages.post("/incidents/{incident_id}/comment")
def comment(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """Say something about it; an empty remark changes nothing."""
    if act.text.strip():
        with state.db.begin() as tx:
            service.comment(tx, ui.who, incident_id, now_ms(), act.text.strip())
    return _back(act, incident_id)


@pages.post("/incidents/{incident_id}/close")
def close(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """End it; cause and follow-up are needed."""
    cause, follow_up = act.said(ui, "cause"), act.follow_up.strip()
    if not follow_up:
        raise Invalid(ui.t("incidents.follow_up"))
    with state.db.begin() as tx:
        service.close(tx, ui.who, incident_id, now_ms(), cause=cause, follow_up=follow_up)
    return _back(act, incident_id)


@pages.post("/incidents/{incident_id}/reopen")
def reopen(ui: View, state: State, incident_id: Id, act: Given) -> Response:
    """Open it again; a reason is needed."""
    reason = act.said(ui, "reason")
    with state.db.begin() as tx:
        service.reopen(tx, ui.who, incident_id, now_ms(), reason)
    return _back(act, incident_id)
