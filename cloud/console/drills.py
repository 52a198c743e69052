"""The pages of drills: planned, running and ended ones, the form, and the score sheet of each."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.console.forms import Button, Id, Sent, checked
from cloud.console.levels import given_ms, local_time, units
from cloud.console.pages import View, back_to, page_router, render
from cloud.incidents.drills import service
from cloud.incidents.drills.models import DrillKind, DrillState, Plan
from cloud.incidents.rules import Category
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.paging import MAX_LIMIT, at
from cloud.state import now_ms

if TYPE_CHECKING:
    from cloud.console.ui import Ui

ENDED: Final = 20
MAX_ID: Final = 2**63 - 1

pages = page_router()


def exact(seconds: float) -> str:
    """How long something took, to the second: `6:30`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@pages.get("/drills")
def drill_list(ui: View, state: State) -> Response:
    """Which drills there are."""
    with state.db.read() as tx:
        alive = service.list_drills(tx, ui.who, states=(DrillState.PLANNED, DrillState.RUNNING), limit=MAX_LIMIT).items
        ended = service.list_drills(
            tx, ui.who, states=(DrillState.ENDED,), limit=ENDED, cursor=ui.query.get("cursor") or None
        )
        listed = units(tx, ui.who) if ui.may("drill") else []
    return render(
        ui, "drills.html", running=[each for each in alive if each.state is DrillState.RUNNING],
        planned=sorted((each for each in alive if each.state is DrillState.PLANNED), key=lambda each: each.starts_at),
        ended=ended, ends=local_time(ui, ui.now + timedelta(hours=1)),
        node_options=[(each.node, "\u3000" * each.depth + ui.called(each.name_zh, each.name_en)) for each in listed],
        kind_options=[(kind.value, ui.t(f"drill_kind.{kind}")) for kind in DrillKind],
        category_options=[(each.value, ui.t(f"drill_category.{each}")) for each in Category],
        first=ui.link(cursor=None), next=ui.link(cursor=ended.next_cursor),
    )  # fmt: skip


@pages.get("/drills/{drill}")
def drill_page(ui: View, state: State, drill: Id) -> Response:
    """One drill and its score sheet."""
    with state.db.read() as tx:
        found = service.get_drill(tx, ui.who, drill, now_ms())
    return render(ui, "drill.html", drill=found, exact=exact)


class Planned(Sent):
    """The form that plans a drill."""

    node: str = Field("", max_length=255)
    name: str = Field("", max_length=800)
    kind: str = Field("", max_length=16)
    category: str = Field("fire", max_length=16)
    place: str = Field("", max_length=800)
    starts: str = Field("", max_length=40)
    ends: str = Field("", max_length=40)


def _plan(ui: Ui, act: Planned) -> Plan:
    """What the form says. Raises Invalid naming what is wrong."""
    starts = given_ms(ui, ui.t("drills.starts"), act.starts)
    ends = given_ms(ui, ui.t("drills.ends"), act.ends)
    return checked(
        Plan, node=act.node, name=act.name, kind=act.kind, category=act.category, place=act.place,
        starts_at=None if starts is None else at(starts), ends_at=None if ends is None else at(ends),
    )  # fmt: skip


@pages.post("/drills")
def plan(ui: View, state: State, act: Annotated[Planned, Form()]) -> Response:
    """Plan a drill, or start one at once."""
    given = _plan(ui, act)
    with state.db.begin() as tx:
        made = service.plan(tx, ui.who, given, now_ms())
    return back_to(f"/drills/{made.id}")


@pages.post("/drills/{drill}/start")
def start(ui: View, state: State, drill: Id, act: Button) -> Response:
    """Start it before its time."""
    with state.db.begin() as tx:
        service.start(tx, ui.who, drill, now_ms())
    return back_to(act.back or f"/drills/{drill}")


@pages.post("/drills/{drill}/end")
def end(ui: View, state: State, drill: Id, act: Button) -> Response:
    """End and score it, or call it off."""
    with state.db.begin() as tx:
        service.end(tx, ui.who, drill, now_ms())
    return back_to(act.back or f"/drills/{drill}")
