"""Response plans: which one holds at a place, keeping them, and bringing them in from a file.

Owns the rows of `response_plans`. The plan of the nearest node upwards holds as a whole; where there is none, the
built-in one does. An incident copies what it needs when it opens, so that a plan changed later changes no clock.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.errors import Forbidden, Invalid, NotFound
from cloud.importing import IMPORTERS
from cloud.incidents.defaults import BUILT_IN, Plan, Step
from cloud.incidents.models import PlanGiven
from cloud.incidents.rules import CATEGORIES, Category, ClockName
from cloud.incidents.store import plans
from cloud.org import audit, tree
from cloud.org.rows import row_of
from cloud.org.rules import ROOT, Permission, Principal, Role, ancestors, scope
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

COLUMNS: Final = (
    "name_zh", "name_en", "checklist", "calls", "targets", "scene_m", "arrivals", "receive_s", "escalate_s", "kinds",
    "area_by",
)  # fmt: skip


def _plan(row: Row[Any]) -> Plan:
    return Plan(
        row.id, row.node, Category(row.category), row.name_zh, row.name_en,
        tuple(Step(each["zh"], each["en"]) for each in json.loads(row.checklist)),
        tuple(Role(role) for role in json.loads(row.calls)),
        {ClockName(name): seconds for name, seconds in json.loads(row.targets).items()},
        row.scene_m, row.arrivals, row.receive_s, row.escalate_s, tuple(json.loads(row.kinds)), row.area_by,
    )  # fmt: skip


def _above(tx: Connection, node: str) -> list[Plan]:
    """Stored plans that hold at a node, the nearest first."""
    wanted = sa.select(plans).where(plans.c.node.in_(ancestors(node)))
    return [_plan(row) for row in tx.execute(wanted.order_by(sa.func.length(plans.c.node).desc(), plans.c.id))]


def effective(tx: Connection, node: str, category: Category) -> Plan:
    """The plan of a category that holds at a node."""
    return next((plan for plan in _above(tx, node) if plan.category is category), BUILT_IN[category])


def category_of(tx: Connection, node: str, kind: str) -> Category | None:
    """What an alarm of a kind is at a node: the nearest plan that claims the kind says it, else the table."""
    claimed = next((plan.category for plan in _above(tx, node) if kind in plan.kinds), None)
    return claimed or CATEGORIES.get(kind)


def list_plans(tx: Connection, principal: Principal) -> list[Plan]:
    """Stored plans within scope, by node and category; and the built-in ones at the end."""
    wanted = sa.select(plans).where(scope(principal, plans.c.node)).order_by(plans.c.node, plans.c.category)
    return [_plan(row) for row in tx.execute(wanted)] + list(BUILT_IN.values())


def put_plan(tx: Connection, actor: Principal, node: str, given: PlanGiven, now_ms: int) -> Plan:
    """Keep a node's plan of a category, in place of the one it had. The same again changes nothing.

    Raises NotFound when the node is not within scope, Forbidden.
    """
    tree.get_node(tx, actor, node)
    if not actor.may(Permission.ADMINISTER):
        raise Forbidden(f"role {actor.role} may not {Permission.ADMINISTER} plans")
    values: dict[str, Any] = {
        "name_zh": clean(given.name_zh, 200), "name_en": clean(given.name_en, 200),
        "checklist": _json([{"zh": clean(s.zh, 300), "en": clean(s.en or s.zh, 300)} for s in given.checklist]),
        "calls": _json([role.value for role in given.calls]), "targets": _json(given.targets.model_dump()),
        "scene_m": given.scene_m, "arrivals": given.arrivals, "receive_s": given.receive_s,
        "escalate_s": given.escalate_s, "kinds": _json([clean(kind, 64) for kind in given.kinds]),
        "area_by": given.area_by.value,
    }  # fmt: skip
    mine = (plans.c.node == node, plans.c.category == given.category.value)
    row = tx.execute(sa.select(plans).where(*mine).with_for_update()).first()
    if row is None:
        values |= {"node": node, "category": given.category.value, "updated_at": now_ms}
        tx.execute(plans.insert().values(values))
    elif any(getattr(row, name) != values[name] for name in COLUMNS):
        tx.execute(plans.update().where(*mine).values(**values, updated_at=now_ms))
    else:
        return _plan(row)
    audit.record(tx, actor, "plan.put", f"plan{node}{given.category}", at=now_ms, detail=values["name_zh"])
    return _plan(tx.execute(sa.select(plans).where(*mine)).one())


def drop_plan(tx: Connection, actor: Principal, plan: int, now_ms: int) -> None:
    """Take a plan away: the next one upwards holds again. Raises NotFound, Forbidden."""
    row = row_of(tx, plans, actor, plan, "plan")
    if not actor.may(Permission.ADMINISTER):
        raise Forbidden(f"role {actor.role} may not {Permission.ADMINISTER} plans")
    tx.execute(plans.delete().where(plans.c.id == plan))
    audit.record(tx, actor, "plan.drop", f"plan{row.node}{row.category}", at=now_ms)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def bring_in(tx: Connection, actor: Principal, tables: list[dict[str, Any]], now_ms: int) -> int:
    """The `plans` section of a file; `node` is a node's code, without one the plan is the actor's own node's."""
    for number, table in enumerate(tables, 1):
        where = f"plans[{number}]"
        code = table.get("node")
        if code is not None and not isinstance(code, str):
            raise Invalid(f"{where}.node: not the code of a node")
        try:
            path = tree.find_code(tx, actor, code).path if code else actor.node or ROOT
        except NotFound as e:
            raise Invalid(f"{where}.node: {e}") from e
        put_plan(tx, actor, path, PlanGiven.read(where, {k: v for k, v in table.items() if k != "node"}), now_ms)
    return len(tables)


IMPORTERS["plans"] = bring_in
