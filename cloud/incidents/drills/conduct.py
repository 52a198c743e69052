"""The life of a drill: planned, started, ended, scored.

Owns the writing of drills and their two timers. Everything a drill opens goes through the production rules with the
drill's id on it; at its end it is scored as it stands then, and all of that is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.alerts import drilled
from cloud.alerts.notify import service as notify
from cloud.errors import Conflict, Forbidden, Invalid
from cloud.incidents import service as incidents
from cloud.incidents.drills import gather, rules, views
from cloud.incidents.drills.models import DrillKind, DrillState, DrillView, Plan
from cloud.incidents.drills.store import drills
from cloud.incidents.levels import service as levels
from cloud.org import audit, tree
from cloud.org.rules import SYSTEM, Permission, Principal, Role, ancestors
from cloud.paging import to_ms
from cloud.text import clean
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.alerts.facts import Facts

START: Final = "drill-start"
END: Final = "drill-end"
HEARERS: Final = (Role.PROPERTY, Role.DISPATCHER, Role.SUPERVISOR)


def may_drill(actor: Principal) -> None:
    """Raises Forbidden when a role may not."""
    if not actor.may(Permission.DRILL):
        raise Forbidden(f"role {actor.role} may not run drills")


def plan(tx: Connection, actor: Principal, given: Plan, now_ms: int) -> DrillView:
    """Plan a drill; without a start it starts at once. Raises NotFound, Forbidden, Invalid, Conflict."""
    may_drill(actor)
    node = tree.get_node(tx, actor, given.node).path
    starts_at = now_ms if given.starts_at is None else max(to_ms(given.starts_at), now_ms)
    ends_at = to_ms(given.ends_at)
    wrong = rules.wrong_times(starts_at, ends_at, now_ms)
    if wrong:
        raise Invalid(wrong)
    if (given.lat is None) != (given.lon is None):
        raise Invalid("lat, lon: one without the other")
    if given.kind is DrillKind.SCRIPT:
        _alone(tx, node, starts_at, ends_at)
    values = {
        "node": node, "name": clean(given.name, 200), "kind": given.kind.value, "category": given.category.value,
        "place": clean(given.place, 200), "lat": given.lat, "lon": given.lon, "state": DrillState.PLANNED.value,
        "starts_at": starts_at, "ends_at": ends_at, "planned_at": now_ms, "planned_by": actor.label, "started_by": "",
        "ended_by": "", "score": "",
    }  # fmt: skip
    drill = int(tx.execute(drills.insert().values(values).returning(drills.c.id)).scalar_one())
    audit.record(tx, actor, "drill.plan", f"drill/{drill}", at=now_ms, detail=f"{node} {values['name']}")
    timers.set_timer(tx, START, str(drill), starts_at)
    timers.set_timer(tx, END, str(drill), ends_at)
    if starts_at <= now_ms:
        return _begin(tx, actor, views.row_of(tx, SYSTEM, drill), now_ms)
    return views.announce(tx, drill, now_ms)


def _alone(tx: Connection, node: str, starts_at: int, ends_at: int, but: int = 0) -> None:
    """Raises Conflict when another script covers a part of the same nodes at the same time: whose would an alarm be?"""
    near = sa.or_(drills.c.node.in_(ancestors(node)), drills.c.node.startswith(node, autoescape=True))
    wanted = sa.select(drills).where(
        near, drills.c.kind == DrillKind.SCRIPT.value, drills.c.state != DrillState.ENDED.value, drills.c.id != but,
        drills.c.starts_at < ends_at, drills.c.ends_at > starts_at,
    )  # fmt: skip
    other = tx.execute(wanted.order_by(drills.c.id).limit(1)).first()
    if other:
        raise Conflict(f"drill {other.id}: covers {other.node} at that time; an alarm can belong to one script only")


def start(tx: Connection, actor: Principal, drill: int, now_ms: int) -> DrillView:
    """Start a planned drill before its time. Raises NotFound, Forbidden, Conflict."""
    may_drill(actor)
    row = views.row_of(tx, actor, drill, lock=True)
    if row.state != DrillState.PLANNED or row.ends_at <= now_ms:
        raise Conflict(f"drill {drill}: is {row.state if row.ends_at > now_ms else 'over'} already")
    if row.kind == DrillKind.SCRIPT:
        _alone(tx, row.node, now_ms, row.ends_at, but=drill)
    return _begin(tx, actor, row, now_ms)


def _begin(tx: Connection, actor: Principal, row: Row[Any], now_ms: int) -> DrillView:
    begun = {"state": DrillState.RUNNING.value, "began_at": now_ms, "started_by": actor.label}
    begun["starts_at"] = min(row.starts_at, now_ms)
    tx.execute(drills.update().where(drills.c.id == row.id).values(begun))
    timers.drop_timer(tx, START, str(row.id))
    audit.record(tx, actor, "drill.start", f"drill/{row.id}", at=now_ms)
    if row.kind == DrillKind.INCIDENT:
        incidents.open_by_hand(
            tx, actor, node=row.node, category=row.category, title=row.name, place=row.place, lat=row.lat, lon=row.lon,
            now_ms=now_ms, drill=row.id,
        )  # fmt: skip
    _notify(tx, row, "drill-started", ("演练开始", "Drill started"), now_ms)
    return views.announce(tx, row.id, now_ms)


def end(tx: Connection, actor: Principal, drill: int, now_ms: int) -> DrillView:
    """End a drill, or call a planned one off. Raises NotFound, Forbidden, Conflict."""
    may_drill(actor)
    row = views.row_of(tx, actor, drill, lock=True)
    if row.state == DrillState.ENDED:
        raise Conflict(f"drill {drill}: is ended already")
    return _finish(tx, actor, row, min(now_ms, row.ends_at), now_ms)


def _finish(tx: Connection, actor: Principal, row: Row[Any], ended_at: int, now_ms: int) -> DrillView:
    """Score it as it stood when it ended, then close all that it opened."""
    values: dict[str, Any] = {"state": DrillState.ENDED.value, "ended_at": ended_at, "ended_by": actor.label}
    if row.began_at is not None:
        values["score"] = gather.score_of(tx, row.id, row.began_at, ended_at, now_ms).model_dump_json()
    tx.execute(drills.update().where(drills.c.id == row.id).values(values))
    for kind in (START, END):
        timers.drop_timer(tx, kind, str(row.id))
    for incident in gather.incidents_of(tx, row.id, open_only=True):
        incidents.close(tx, SYSTEM, incident, now_ms, cause=f"drill {row.id} has ended", follow_up="")
    drilled.clear_all(tx, row.id, now_ms)
    levels.end_drill(tx, SYSTEM, row.id, now_ms)
    audit.record(tx, actor, "drill.end", f"drill/{row.id}", at=now_ms)
    _notify(tx, row, "drill-ended", ("演练结束", "Drill ended"), now_ms)
    return views.announce(tx, row.id, now_ms)


def _notify(tx: Connection, row: Row[Any], template: str, words: tuple[str, str], now_ms: int) -> None:
    """Told in the sandbox only."""
    zh, en = tree.names(tx, [row.node]).get(row.node, ("", ""))
    notify.enqueue(
        tx,
        notify.Message(
            node=row.node, subject="drill", subject_id=row.id, template=template,
            values={
                "what_zh": f"{words[0]}：{row.name}", "what_en": f"{words[1]}: {row.name}", "where_zh": zh,
                "where_en": en, "detail": row.place,
            },
            severity=Severity.WARNING, roles=HEARERS, urgent=False, drill=True, key=f"drill/{row.id}/{template}",
        ),
        now_ms,
    )  # fmt: skip


def mark(tx: Connection, alarm: Facts, now_ms: int) -> None:
    """Tie an alarm that its gateway marked as drill to the script that covers it, if one does; a real one never."""
    if not alarm.drill or alarm.drill_id is not None:
        return
    drill = views.running(tx, alarm.node, now_ms)
    if drill is not None:
        drilled.tie(tx, alarm.id, drill, now_ms)


def _due(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    row = tx.execute(sa.select(drills).where(drills.c.id == int(timer.key)).with_for_update()).first()
    if row and row.state == DrillState.PLANNED and row.ends_at > now_ms:
        _begin(tx, SYSTEM, row, now_ms)


def _over(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    row = tx.execute(sa.select(drills).where(drills.c.id == int(timer.key)).with_for_update()).first()
    if row and row.state != DrillState.ENDED:
        _finish(tx, SYSTEM, row, row.ends_at, now_ms)


timers.HANDLERS[START] = _due
timers.HANDLERS[END] = _over
