"""What other folders may do with hazard reports: file one, act on it, read.

Owns the rows. Whatever is done is a step of the report, an entry of the audit chain and an event of kind `hazard`.
An escalation tells the dispatchers and supervisors of the node above, or opens an incident.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud import stream
from cloud.alerts.notify import service as notify
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.incidents import service as incidents
from cloud.org import audit, tree
from cloud.org.rules import ROOT, Permission, Principal, Role, scope
from cloud.paging import MAX_LIMIT, Page, at, decode_cursor, encode_cursor
from cloud.reports.hazards import rules
from cloud.reports.hazards.models import HazardDetail, HazardFilter, HazardStep, HazardView, NewHazard, StepView
from cloud.reports.hazards.rules import HazardAction, HazardKind, HazardState
from cloud.reports.hazards.store import hazard_steps, hazards
from cloud.text import clean
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection, Row

TOLD: Final = (Role.DISPATCHER, Role.SUPERVISOR)
CATEGORY: Final = {HazardKind.GAS_SMELL: "fire", HazardKind.CROWDING: "crowd"}
"""The category of an incident that a hazard becomes; any other is one of the facility."""
_LIKELY: Final = 50


class HazardFact(NamedTuple):
    """What a review needs to know of a report. first_step_at: when somebody first did something about it."""

    node: str
    kind: str
    state: str
    reported_at: int
    first_step_at: int | None
    handled_at: int | None


# ---- reading


def list_hazards(
    tx: Connection, principal: Principal, query: HazardFilter, *, limit: int = 100, cursor: str | None = None
) -> Page[HazardView]:
    """Reports within scope, newest first; merged ones only when they are asked for. Raises Invalid on a bad cursor."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(hazards).where(scope(principal, hazards.c.node))
    if query.state:
        wanted = wanted.where(hazards.c.state.in_([state.value for state in query.state]))
    else:
        wanted = wanted.where(hazards.c.state != HazardState.MERGED.value)
    if query.kind is not None:
        wanted = wanted.where(hazards.c.kind == query.kind.value)
    if query.node is not None:
        wanted = wanted.where(hazards.c.node.startswith(query.node, autoescape=True))
    if cursor:
        reported_at, hazard = decode_cursor(cursor, int, int)
        wanted = wanted.where(sa.tuple_(hazards.c.reported_at, hazards.c.id) < sa.tuple_(reported_at, hazard))
    order = (hazards.c.reported_at.desc(), hazards.c.id.desc())
    rows = tx.execute(wanted.order_by(*order).limit(limit + 1)).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].reported_at, shown[-1].id) if len(rows) > limit else None
    return Page(items=_views(tx, shown), next_cursor=following)


def get_hazard(tx: Connection, principal: Principal, hazard: int) -> HazardDetail:
    """One report with its steps and those of the reports merged into it. Raises NotFound."""
    row = _row(tx, principal, hazard)
    merged = tx.execute(sa.select(hazards).where(hazards.c.merged_into == row.id).order_by(hazards.c.id)).all()
    ids = [row.id, *(each.id for each in merged)]
    steps = sa.select(hazard_steps).where(hazard_steps.c.hazard.in_(ids)).order_by(hazard_steps.c.at, hazard_steps.c.id)
    state = HazardState(row.state)
    may = principal.may(Permission.TRIAGE)
    return HazardDetail(
        **_views(tx, [row])[0].model_dump(),
        steps=[
            StepView(
                hazard=step.hazard, at=at(step.at), actor=step.actor, action=step.action, owner=step.owner,
                note=step.note,
            )
            for step in tx.execute(steps)
        ],
        allowed=rules.allowed(state) if may else [],
        likely_same=_likely_same(tx, row) if may and state is not HazardState.MERGED else [],
        reports=_views(tx, merged),
    )  # fmt: skip


def open_count(tx: Connection, principal: Principal) -> int:
    """Reports within scope that are neither handled nor merged."""
    over = (HazardState.HANDLED.value, HazardState.MERGED.value)
    wanted = sa.select(sa.func.count()).select_from(hazards)
    return int(tx.execute(wanted.where(scope(principal, hazards.c.node), hazards.c.state.not_in(over))).scalar_one())


def figures(tx: Connection, node: str, from_ms: int, to_ms: int) -> list[HazardFact]:
    """The reports of a node and what is below it that were filed in a period, merged ones left out."""
    mine = (
        hazards.c.node.startswith(node, autoescape=True), hazards.c.reported_at >= from_ms,
        hazards.c.reported_at < to_ms, hazards.c.state != HazardState.MERGED.value,
    )  # fmt: skip
    of = (hazards.c.node, hazards.c.kind, hazards.c.state, hazards.c.reported_at)
    done = sa.case((hazard_steps.c.action == "handled", hazard_steps.c.at))
    acted = sa.case((hazard_steps.c.action.not_in(("reported", "absorbed", "note")), hazard_steps.c.at))
    wanted = (
        sa.select(*of, sa.func.min(acted), sa.func.max(done))
        .join(hazard_steps, hazard_steps.c.hazard == hazards.c.id)
        .where(*mine)
        .group_by(hazards.c.id, *of)
        .order_by(hazards.c.id)
    )  # fmt: skip
    facts = [HazardFact(*row) for row in tx.execute(wanted)]
    return [fact if fact.state == HazardState.HANDLED else fact._replace(handled_at=None) for fact in facts]


def _row(tx: Connection, principal: Principal, hazard: int, *, lock: bool = False) -> Row[Any]:
    wanted = sa.select(hazards).where(hazards.c.id == hazard, scope(principal, hazards.c.node))
    row = tx.execute(wanted.with_for_update() if lock else wanted).first() if 0 < hazard < 2**63 else None
    if row is None:
        raise NotFound(f"hazard {hazard}: not found")
    return row


def _views(tx: Connection, rows: Sequence[Row[Any]]) -> list[HazardView]:
    names = tree.names(tx, {row.node for row in rows})
    counted = sa.select(hazards.c.merged_into, sa.func.count()).where(hazards.c.merged_into.in_([r.id for r in rows]))
    merged = {row[0]: row[1] for row in tx.execute(counted.group_by(hazards.c.merged_into))}
    return [
        HazardView(
            id=row.id, node=row.node, node_zh=names.get(row.node, (row.node, ""))[0],
            node_en=names.get(row.node, ("", row.node))[1], kind=HazardKind(row.kind), place=row.place, lat=row.lat,
            lon=row.lon, text=row.text, state=HazardState(row.state), owner=row.owner, reported_at=at(row.reported_at),
            reported_by=row.reported_by, updated_at=at(row.updated_at), merged_into=row.merged_into,
            merged=merged.get(row.id, 0), incident=row.incident, escalated_to=row.escalated_to,
        )
        for row in rows
    ]  # fmt: skip


def _report(row: Row[Any]) -> rules.Report:
    return rules.Report(row.id, row.node, row.kind, row.reported_at, HazardState(row.state))


def _likely_same(tx: Connection, row: Row[Any]) -> list[int]:
    near = hazards.c.reported_at.between(row.reported_at - rules.SAME_MS, row.reported_at + rules.SAME_MS)
    wanted = sa.select(hazards).where(hazards.c.node == row.node, hazards.c.kind == row.kind, near)
    return rules.likely_same(_report(row), map(_report, tx.execute(wanted.order_by(hazards.c.id).limit(_LIKELY))))


# ---- writing


def report(tx: Connection, actor: Principal, given: NewHazard, now_ms: int) -> HazardView:
    """File a report. Raises Forbidden, NotFound when the node is not within scope."""
    if not actor.may(Permission.REPORT):
        raise Forbidden(f"role {actor.role} may not {Permission.REPORT} hazards")
    node = tree.get_node(tx, actor, given.node).path
    row: dict[str, Any] = {
        "node": node, "kind": given.kind.value, "place": clean(given.place, 200), "lat": given.lat, "lon": given.lon,
        "text": clean(given.text, 500), "state": HazardState.NEW.value, "owner": None, "reported_at": now_ms,
        "reported_by": actor.label, "updated_at": now_ms,
    }  # fmt: skip
    made = int(tx.execute(hazards.insert().values(row).returning(hazards.c.id)).scalar_one())
    return _done(tx, actor, made, "reported", now_ms)


def act(tx: Connection, actor: Principal, hazard: int, step: HazardStep, now_ms: int) -> HazardView:
    """Take a step. Raises NotFound, Forbidden, Conflict when its state does not allow it, Invalid."""
    row = _row(tx, actor, hazard)
    if not actor.may(Permission.TRIAGE):
        raise Forbidden(f"role {actor.role} may not {Permission.TRIAGE} hazards")
    locked = _lock(
        tx, actor, sorted({row.id, *([step.into] if step.action is HazardAction.MERGE and step.into else [])})
    )
    row = locked[row.id]
    state = rules.after(HazardState(row.state), step.action)
    if state is None:
        raise Conflict(f"hazard {row.id}: cannot {step.action} while it is {row.state}")
    if step.action is HazardAction.HAND_OVER and not step.to:
        raise Invalid("to: say to whom it is handed over")
    values: dict[str, Any] = {"state": state.value, "updated_at": now_ms}
    values["owner"] = rules.owner_after(step.action, row.owner, actor.label, step.to and clean(step.to, 64))
    note = clean(step.note, 500)
    if step.action is HazardAction.MERGE:
        values["merged_into"] = _merge(tx, actor, row, locked.get(step.into or 0), now_ms)
    elif step.action is HazardAction.ESCALATE:
        values |= _escalate(tx, actor, row, now_ms, open_incident=step.open_incident)
    tx.execute(hazards.update().where(hazards.c.id == row.id).values(values))
    view = _done(tx, actor, row.id, rules.STEP_OF[step.action], now_ms, owner=values["owner"], note=note)
    if step.action is HazardAction.ESCALATE and view.incident is None:
        notify.enqueue(tx, told(view), now_ms)
    return view


def _lock(tx: Connection, actor: Principal, ids: Collection[int]) -> dict[int, Row[Any]]:
    """The rows, locked in the order of their ids, so that two merges never wait for each other."""
    return {hazard: _row(tx, actor, hazard, lock=True) for hazard in sorted(ids)}


def _merge(tx: Connection, actor: Principal, row: Row[Any], into: Row[Any] | None, now_ms: int) -> int:
    """Let another report stand for this one and for those merged into it; the histories stay where they are."""
    if into is None or into.id == row.id:
        raise Invalid("into: say which other report it is merged into")
    if into.state == HazardState.MERGED:
        raise Conflict(f"hazard {into.id}: is itself merged into hazard {into.merged_into}")
    tx.execute(hazards.update().where(hazards.c.merged_into == row.id).values(merged_into=into.id))
    tx.execute(hazards.update().where(hazards.c.id == into.id).values(updated_at=now_ms))
    _done(tx, actor, int(into.id), "absorbed", now_ms, owner=into.owner, note=f"#{row.id}")
    return int(into.id)


def _escalate(tx: Connection, actor: Principal, row: Row[Any], now_ms: int, *, open_incident: bool) -> dict[str, Any]:
    """What an escalation changes: the incident that it opens, or the node above that is told."""
    if not open_incident:
        if row.node == ROOT:
            raise Conflict(f"hazard {row.id}: nothing is above it; open an incident instead")
        above = row.escalated_to or row.node
        if above == ROOT:
            raise Conflict(f"hazard {row.id}: the top has been told already")
        return {"escalated_to": tree.parent_of(above)}
    if row.incident is not None:
        raise Conflict(f"hazard {row.id}: incident {row.incident} was opened already")
    kind = HazardKind(row.kind)
    names = tree.names(tx, [row.node]).get(row.node, (row.node, row.node))
    opened = incidents.open_by_hand(
        tx, actor, now_ms=now_ms, node=row.node, category=CATEGORY.get(kind, "facility"),
        title=clean(row.text or " / ".join(_WORDS[kind]), 200), place=clean(row.place or names[0], 200), lat=row.lat,
        lon=row.lon, event_at=row.reported_at,
    )  # fmt: skip
    return {"incident": opened}


def _done(
    tx: Connection, actor: Principal, hazard: int, action: str, now_ms: int, *, owner: str | None = None, note: str = ""
) -> HazardView:
    """Write what was done: the step, the audit chain, the stream."""
    step = {"hazard": hazard, "at": now_ms, "actor": actor.label, "action": action, "owner": owner, "note": note}
    tx.execute(hazard_steps.insert().values(step))
    audit.record(tx, actor, f"hazard.{action}", f"hazard/{hazard}", at=now_ms, detail=note)
    row = tx.execute(sa.select(hazards).where(hazards.c.id == hazard)).one()
    view = _views(tx, [row])[0]
    stream.append(tx, "hazard", view, at=now_ms, node=row.node)
    return view


def told(view: HazardView) -> notify.Message:
    """What those who answer for the node above are told; the same escalation is told once."""
    return notify.Message(
        node=view.escalated_to or ROOT, subject="hazard", subject_id=view.id, template="hazard.escalated",
        values={
            "what": view.kind.value, "what_zh": _WORDS[view.kind][0], "what_en": _WORDS[view.kind][1],
            "where": " · ".join(part for part in (view.node_zh, view.place) if part), "text": view.text,
            "at": view.reported_at.isoformat(timespec="minutes"),
        },
        severity=Severity.MAJOR, roles=TOLD, urgent=False, drill=False, key=f"hazard/{view.id}/{view.escalated_to}",
    )  # fmt: skip


_WORDS: Final = {
    HazardKind.EXIT_BLOCKED: ("通道堵塞", "Exit blocked"), HazardKind.GAS_SMELL: ("燃气异味", "Smell of gas"),
    HazardKind.LAMP_BROKEN: ("照明损坏", "Lamp broken"),
    HazardKind.DETECTOR_DAMAGED: ("探测器损坏", "Detector damaged"),
    HazardKind.CROWDING: ("人员聚集", "Crowding"), HazardKind.OTHER: ("其他隐患", "Other hazard"),
}  # fmt: skip
"""What a notification calls a kind; the console's own words are in its translations."""
