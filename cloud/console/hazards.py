"""The pages of hazard reports: the form for the front line, the list, and one report with its steps."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field, ValidationError

from cloud.console import choose
from cloud.console.pages import PageRoute, back_to, render, viewer_ui
from cloud.console.ui import Ui
from cloud.errors import Forbidden, Invalid
from cloud.org import auth, tree
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.reports.hazards import service
from cloud.reports.hazards.models import HazardFilter, HazardStep, NewHazard
from cloud.reports.hazards.rules import HazardAction, HazardKind, HazardState
from cloud.state import now_ms

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

pages = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)
View = Annotated[Ui, Depends(viewer_ui)]
M = TypeVar("M", bound=BaseModel)
HazardId = Annotated[int, Path(ge=1, lt=2**63)]


class Filed(BaseModel):
    """The form of a report. There is no field for a person."""

    csrf: str = Field("", max_length=200)
    kind: str = Field("", max_length=32)
    node: str = Field("", max_length=255)
    place: str = Field("", max_length=1000)
    text: str = Field("", max_length=2000)
    point: str = Field("", max_length=100)


class Taken(BaseModel):
    """The forms below a report."""

    csrf: str = Field("", max_length=200)
    action: HazardAction
    note: str = Field("", max_length=2000)
    to: str = Field("", max_length=64)
    into: str = Field("", max_length=20)
    open_incident: bool = False


def _checked(model: type[M], ui: Ui, **values: Any) -> M:  # noqa: ANN401
    """A model of the API from a form's fields. Raises Invalid in words."""
    try:
        return model.model_validate(values)
    except ValidationError as e:
        first = e.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        raise Invalid(ui.t("hazards.text_needed") if not field else f"{field}: {first['msg']}") from e


def _point(ui: Ui, text: str) -> tuple[float | None, float | None]:
    """Latitude and longitude as a map on a phone copies them. Raises Invalid."""
    if not text.strip():
        return None, None
    try:
        lat, lon = (float(part) for part in text.replace("，", ",").split(","))
    except ValueError as e:
        raise Invalid(ui.t("hazards.point_wrong")) from e
    return lat, lon


def _kinds(ui: Ui) -> list[tuple[str, str]]:
    return [(kind.value, ui.t(f"hazards.kinds.{kind}")) for kind in HazardKind]


@pages.get("/hazards")
def hazard_list(ui: View, state: State) -> Response:
    """Reports, newest first; those that are over only when they are asked for."""
    ui.section = "hazards"
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
        name=choose.name,
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
    ui.section = "hazards"
    if not ui.may(Permission.REPORT):
        raise Forbidden(f"role {ui.role} may not {Permission.REPORT} hazards")
    with state.db.read() as tx:
        nodes = choose.nodes(tx, ui, choose.PLACES)
    return render(
        ui, "hazard_new.html", kinds=_kinds(ui), icons=ICONS, nodes=nodes, chosen=ui.query.get("node", "")
    )  # fmt: skip


@pages.post("/hazards/new")
def file(request: Request, ui: View, state: State, filed: Annotated[Filed, Form()]) -> Response:
    """File a report, and show it."""
    auth.check_csrf(request, filed.csrf)
    lat, lon = _point(ui, filed.point)
    given = _checked(
        NewHazard, ui, node=filed.node, kind=filed.kind, place=filed.place, text=filed.text, lat=lat, lon=lon
    )
    with state.db.begin() as tx:
        made = service.report(tx, ui.who, given, now_ms())
    return back_to(f"/hazards/{made.id}?sent=1")


@pages.get("/hazards/{hazard_id}")
def hazard_page(ui: View, state: State, hazard_id: HazardId) -> Response:
    """One report: what it is, what was done, what may be done."""
    ui.section = "hazards"
    with state.db.read() as tx:
        hazard = service.get_hazard(tx, ui.who, hazard_id)
        told = tree.names(tx, [hazard.escalated_to] if hazard.escalated_to else [])
    escalated_to = choose.name(ui, *told.get(hazard.escalated_to or "", (hazard.escalated_to or "", "")))
    return render(
        ui, "hazard.html", hazard=hazard, icons=ICONS, looks=LOOKS, name=choose.name, escalated_to=escalated_to,
        sent="sent" in ui.query,
    )  # fmt: skip


@pages.post("/hazards/{hazard_id}/steps")
def act(request: Request, ui: View, state: State, hazard_id: HazardId, taken: Annotated[Taken, Form()]) -> Response:
    """Take a step."""
    auth.check_csrf(request, taken.csrf)
    step = _checked(
        HazardStep, ui, action=taken.action, note=taken.note, to=taken.to.strip() or None,
        into=taken.into.strip().removeprefix("#") or None, open_incident=taken.open_incident,
    )  # fmt: skip
    with state.db.begin() as tx:
        service.act(tx, ui.who, hazard_id, step, now_ms())
    return back_to(f"/hazards/{hazard_id}")
