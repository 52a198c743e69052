"""The pages of hazard reports: the form for the front line, the list, and one report with its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import BaseModel, Field

from cloud.console import choose
from cloud.console.forms import Id, checked, point
from cloud.console.pages import View, back_to, page_router, render
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.reports.hazards import service
from cloud.reports.hazards.models import HazardFilter, HazardStep, NewHazard
from cloud.reports.hazards.rules import HazardAction, HazardKind, HazardState
from cloud.state import now_ms

if TYPE_CHECKING:
    from cloud.console.ui import Ui

PAGE: Final = 50
OVER: Final = (HazardState.HANDLED, HazardState.MERGED)
ICONS: Final = {
    HazardKind.EXIT_BLOCKED: "door", HazardKind.GAS_SMELL: "alert", HazardKind.LAMP_BROKEN: "sun",
    HazardKind.DETECTOR_DAMAGED: "smoke", HazardKind.CROWDING: "armband", HazardKind.OTHER: "question",
}  # fmt: skip
LOOKS: Final = {
    HazardState.NEW: "open", HazardState.TRIAGED: "acknowledged", HazardState.HANDLED: "cleared",
    HazardState.HANDED_OVER: "warning", HazardState.ESCALATED: "major", HazardState.MERGED: "offline",
}  # fmt: skip
"""How a state's pill is coloured."""

pages = page_router()


class Filed(BaseModel):
    """The form of a report. There is no field for a person."""

    kind: str = Field("", max_length=32)
    node: str = Field("", max_length=255)
    place: str = Field("", max_length=1000)
    text: str = Field("", max_length=2000)
    point: str = Field("", max_length=100)


class Taken(BaseModel):
    """The forms below a report."""

    action: HazardAction
    note: str = Field("", max_length=2000)
    to: str = Field("", max_length=64)
    into: str = Field("", max_length=20)
    open_incident: bool = False


def _kinds(ui: Ui) -> list[tuple[str, str]]:
    return [(kind.value, ui.t(f"hazards.kinds.{kind}")) for kind in HazardKind]


@pages.get("/hazards")
def hazard_list(ui: View, state: State) -> Response:
    """Reports, newest first; those that are over only when they are asked for."""
    chosen = {name: ui.query.get(name, "") for name in ("state", "kind", "cursor")}
    states: tuple[HazardState, ...] = tuple(each for each in HazardState if each not in OVER)
    if chosen["state"] == "all":
        states = ()
    elif chosen["state"] in set(HazardState):
        states = (HazardState(chosen["state"]),)
    kind = HazardKind(chosen["kind"]) if chosen["kind"] in set(HazardKind) else None
    with state.db.read() as tx:
        page = service.list_hazards(
            tx, ui.who, HazardFilter(state=states, kind=kind), limit=PAGE, cursor=chosen["cursor"] or None
        )
    t = ui.t
    return render(
        ui, "hazards.html", page=page, chosen={**chosen, "any": bool(ui.query)}, icons=ICONS, looks=LOOKS,

        state_options=[
            ("", t("hazards.filter_active")), *((s.value, t(f"hazards.states.{s}")) for s in HazardState),
            ("all", t("hazards.filter_all")),
        ],
        kind_options=[("", t("hazards.filter_all")), *_kinds(ui)],
        next=ui.link(cursor=page.next_cursor), first=ui.link(cursor=None),
    )  # fmt: skip


@pages.get("/hazards/new")
def new(ui: View, state: State) -> Response:
    """The form: what, where, send. Raises Forbidden."""
    ui.need(Permission.REPORT)
    with state.db.read() as tx:
        nodes = choose.nodes(tx, ui, choose.PLACES)
    return render(
        ui, "hazard_new.html", kinds=_kinds(ui), icons=ICONS, nodes=nodes, chosen=ui.query.get("node", "")
    )  # fmt: skip


@pages.post("/hazards/new")
def file(ui: View, state: State, filed: Annotated[Filed, Form()]) -> Response:
    """File a report, and show it."""
    lat, lon = point(filed.point, ui.t("hazards.point_wrong"))
    given = checked(
        NewHazard, ui.t("hazards.text_needed"), node=filed.node, kind=filed.kind, place=filed.place, text=filed.text,
        lat=lat, lon=lon,
    )  # fmt: skip
    with state.db.begin() as tx:
        made = service.report(tx, ui.who, given, now_ms())
    return back_to(f"/hazards/{made.id}?sent=1")


@pages.get("/hazards/{hazard_id}")
def hazard_page(ui: View, state: State, hazard_id: Id) -> Response:
    """One report: what it is, what was done, what may be done."""
    with state.db.read() as tx:
        hazard = service.get_hazard(tx, ui.who, hazard_id)
        told = choose.names(tx, ui, [hazard.escalated_to])
    return render(
        ui, "hazard.html", hazard=hazard, icons=ICONS, looks=LOOKS, sent="sent" in ui.query,
        escalated_to=told.get(hazard.escalated_to or "", ""),
    )  # fmt: skip


@pages.post("/hazards/{hazard_id}/steps")
def act(ui: View, state: State, hazard_id: Id, taken: Annotated[Taken, Form()]) -> Response:
    """Take a step."""
    step = checked(
        HazardStep, ui.t("hazards.text_needed"), action=taken.action, note=taken.note, to=taken.to.strip(),
        into=taken.into.strip().removeprefix("#"), open_incident=taken.open_incident,
    )  # fmt: skip
    with state.db.begin() as tx:
        service.act(tx, ui.who, hazard_id, step, now_ms())
    return back_to(f"/hazards/{hazard_id}")
