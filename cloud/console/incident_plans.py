"""The page of response plans: which there are, and the form that keeps one."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.console import choose, incident_show
from cloud.console.forms import Id, Sent
from cloud.console.pages import View, back_to, page_router, render
from cloud.incidents import service
from cloud.incidents.models import AreaBy, PlanGiven
from cloud.incidents.rules import Category, ClockName
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission, Role, visible
from cloud.state import now_ms

CALLS: Final = (Role.PROPERTY, Role.DISPATCHER, Role.SUPERVISOR, Role.TECHNICIAN)

pages = page_router()


class PlanForm(Sent):
    """The form of a plan. checklist: a step a line, `中文 | English`. kinds: apart by commas."""

    node: str = Field("/", max_length=255)
    category: str = Field("", max_length=16)
    name_zh: str = Field("", max_length=200)
    name_en: str = Field("", max_length=200)
    checklist: str = Field("", max_length=20_000)
    calls: list[str] = Field(default_factory=list, max_length=6)
    on_scene: int = 300
    reinforcement: int = 600
    area: int = 1800
    scene_m: float = 80.0
    arrivals: int = 2
    receive_s: int = 60
    escalate_s: int = 300
    kinds: str = Field("", max_length=3000)
    area_by: str = Field("hand", max_length=16)

    def given(self) -> PlanGiven:
        """The plan that was written. Raises Invalid naming the field."""
        steps = [line.partition("|") for line in self.checklist.splitlines() if line.strip()]
        table: dict[str, Any] = {
            "category": self.category, "name_zh": self.name_zh, "name_en": self.name_en or self.name_zh,
            "checklist": [{"zh": zh.strip(), "en": en.strip()} for zh, _, en in steps], "calls": self.calls,
            "targets": {name.value: getattr(self, name.value) for name in ClockName}, "scene_m": self.scene_m,
            "arrivals": self.arrivals, "receive_s": self.receive_s, "escalate_s": self.escalate_s,
            "kinds": [kind.strip() for kind in self.kinds.split(",") if kind.strip()], "area_by": self.area_by,
        }  # fmt: skip
        return PlanGiven.read("plan", table)


@pages.get("/incidents/plans")
def plans(ui: View, state: State) -> Response:
    """The plans within scope, and the form filled in with what holds where it is asked about."""
    node = ui.query.get("node", ui.who.node)
    chosen = ui.query.get("category", "")
    category = Category(chosen) if chosen in set(Category) else Category.FIRE
    with state.db.read() as tx:
        node = node if visible(ui.who, node) else ui.who.node
        listed = service.list_plans(tx, ui.who)
        plan = service.effective_plan(tx, node, category)
        nodes = choose.nodes(tx, ui)
        names = choose.names(tx, ui, {plan.node for plan in listed})
    return render(
        ui, "incident_plans.html", plans=listed, plan=plan, node=node, names=names, node_options=nodes,
        category_options=incident_show.categories(ui), administers=ui.may(Permission.ADMINISTER),
        calls=[(role.value, ui.t.name("role", role), role in plan.calls) for role in CALLS],
        area_options=[(each.value, ui.t(f"incidents.area_by.{each}")) for each in AreaBy],
        checklist="\n".join(f"{step.zh} | {step.en}" for step in plan.checklist), clocks=list(ClockName),
    )  # fmt: skip


@pages.post("/incidents/plans")
def put_plan(ui: View, state: State, form: Annotated[PlanForm, Form()]) -> Response:
    """Keep a plan."""
    with state.db.begin() as tx:
        service.put_plan(tx, ui.who, form.node, form.given(), now_ms())
    return back_to("/incidents/plans")


@pages.post("/incidents/plans/{plan_id}/drop")
def drop_plan(
    ui: View, state: State, plan_id: Id,
) -> Response:  # fmt: skip
    """Take a plan away."""
    with state.db.begin() as tx:
        service.drop_plan(tx, ui.who, plan_id, now_ms())
    return back_to("/incidents/plans")
