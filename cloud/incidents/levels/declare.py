"""The life of a declaration: declared, approved or rejected, begun, ended or expired.

Owns the writing of declarations and their two timers, which only tell: what is in force is judged by time. A decision
is made on the locked row, so of two at once exactly one is taken and the other hears what was decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.errors import Conflict, Forbidden, Invalid
from cloud.incidents.levels import hooks, levels, rules, telling
from cloud.incidents.levels.models import DeclarationState, DeclarationView, Outlook
from cloud.incidents.levels.policies import approver_of
from cloud.incidents.levels.store import declarations
from cloud.org import audit, tree
from cloud.org import service as org
from cloud.org.rules import ROOT, SYSTEM, Permission, Principal
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

BEGIN: Final = "level-begin"
END: Final = "level-end"


def _may_declare(actor: Principal) -> None:
    if not actor.may(Permission.DECLARE):
        raise Forbidden(f"role {actor.role} may not declare levels")


def _above(tx: Connection, node: tree.Node, level: int, at_ms: int, drill: int | None) -> None:
    """Raises Conflict when a stricter level is in force above a node."""
    if node.path == ROOT:
        return
    higher = rules.laxer_than(level, levels.path_of(tx, tree.parent_of(node.path), at_ms, drill), at_ms)
    if higher:
        zh, en = tree.names(tx, [higher.node]).get(higher.node, ("", ""))
        raise Conflict(
            f"node {node.path}: level {level} is laxer than level {higher.level} in force above it, "
            f"at {higher.node} ({zh}, {en})"
        )


def outlook(tx: Connection, principal: Principal, node: str, level: int, now_ms: int) -> Outlook:
    """What would become of declaring a level from now on. Raises NotFound."""
    path = tree.get_node(tx, principal, node).path
    above = [] if path == ROOT else levels.path_of(tx, tree.parent_of(path), now_ms)
    higher = rules.laxer_than(level, above, now_ms)
    zh, en = tree.names(tx, [higher.node]).get(higher.node, ("", "")) if higher else ("", "")
    return Outlook(
        approver=approver_of(tx, path) if rules.needs_approval(level) else None,
        blocked_level=higher.level if higher else None, blocked_zh=zh, blocked_en=en,
    )  # fmt: skip


def declare(
    tx: Connection, actor: Principal, node: str, level: int, reason: str, *, now_ms: int, scope: str = "",
    starts_at: int | None = None, ends_at: int | None = None, drill: int | None = None,
) -> DeclarationView:  # fmt: skip
    """Declare a level for a node. 3 to 1 then await approval; 4 ends the node's own stricter ones at once.

    drill: within that drill only. Raises NotFound, Forbidden, Invalid, and Conflict when a stricter one is in force
    above the node, which it names.
    """
    _may_declare(actor)
    where = tree.get_node(tx, actor, node)
    begins = now_ms if starts_at is None else starts_at
    _above(tx, where, level, max(begins, now_ms), drill)
    if not rules.needs_approval(level):
        if starts_at is not None or ends_at is not None:
            raise Invalid("level: 4 takes effect at once and has no times")
        return _routine(tx, actor, now_ms, node=where.path, reason=reason, scope=scope, drill=drill)
    if ends_at is None:
        raise Invalid("ends_at: is missing")
    wrong = rules.wrong_times(begins, ends_at, now_ms)
    if wrong:
        raise Invalid(wrong)
    row = _insert(
        tx, actor, now_ms, node=where.path, level=level, reason=reason, scope=scope, starts_at=begins, ends_at=ends_at,
        drill=drill, state=DeclarationState.PENDING.value,
    )  # fmt: skip
    timers.set_timer(tx, END, str(row.id), ends_at)
    telling.asked(tx, row, now_ms)
    return levels.views_of(tx, [row], now_ms)[0]


def _insert(
    tx: Connection, actor: Principal, now_ms: int, *, node: str, level: int, reason: str, scope: str, **more: object
) -> Row[Any]:  # fmt: skip
    values = {
        "node": node, "level": level, "reason": clean(reason, 2000), "scope": clean(scope, 2000),
        "declared_at": now_ms, "declared_by": actor.label, "decision_note": "", **more,
    }  # fmt: skip
    made = int(tx.execute(declarations.insert().values(values).returning(declarations.c.id)).scalar_one())
    audit.record(tx, actor, "level.declare", f"level/{made}", at=now_ms, detail=f"{node} {level} {values['reason']}")
    return levels.row_of(tx, SYSTEM, made)


def _routine(
    tx: Connection, actor: Principal, now_ms: int, *, node: str, reason: str, scope: str, drill: int | None
) -> DeclarationView:
    """Back to routine: end what the node itself has in force or waiting to begin. Raises Conflict when that is none."""
    mine = declarations.c.drill.is_(None) if drill is None else declarations.c.drill == drill
    own = sa.select(declarations).where(
        declarations.c.node == node, declarations.c.state == DeclarationState.APPROVED.value,
        declarations.c.ends_at > now_ms, mine,
    )  # fmt: skip
    rows = tx.execute(own.order_by(declarations.c.id).with_for_update()).all()
    if not rows:
        raise Conflict(f"node {node}: level 4 holds already; nothing stricter was declared for it")
    row = _insert(
        tx, actor, now_ms, node=node, level=rules.ROUTINE, reason=reason, scope=scope, starts_at=now_ms, ends_at=now_ms,
        drill=drill, state=DeclarationState.ENDED.value, ended_at=now_ms, ended_by=actor.label,
    )  # fmt: skip
    for each in rows:
        _end(tx, actor, each, reason, now_ms)
    return levels.views_of(tx, [row], now_ms)[0]


def _decide(tx: Connection, actor: Principal, declaration: int) -> Row[Any]:
    """The locked row of a declaration that the actor may decide on. Raises NotFound, Forbidden, Conflict."""
    row = levels.row_of(tx, actor, declaration, lock=True)
    wanted = approver_of(tx, row.node)
    if actor.role != wanted:
        raise Forbidden(f"role {actor.role} may not decide on levels at {row.node}: it takes a {wanted}")
    if org.same_account(tx, actor, row.declared_by):
        raise Forbidden(f"level declaration {row.id}: whoever declared it may not decide on it")
    if row.state != DeclarationState.PENDING:
        by = f" by {row.decided_by or row.ended_by}" if row.decided_by or row.ended_by else ""
        raise Conflict(f"level declaration {row.id}: is {row.state} already{by}")
    return row


def _set(tx: Connection, row: Row[Any], **values: object) -> Row[Any]:
    tx.execute(declarations.update().where(declarations.c.id == row.id).values(**values))
    return levels.row_of(tx, SYSTEM, row.id)


def approve(tx: Connection, actor: Principal, declaration: int, now_ms: int, note: str = "") -> DeclarationView:
    """Let it come into force, now or at its start. Raises NotFound, Forbidden, Conflict."""
    row = _decide(tx, actor, declaration)
    if row.ends_at <= now_ms:
        raise Conflict(f"level declaration {row.id}: its time is over")
    row = _set(
        tx, row, state=DeclarationState.APPROVED.value, decided_at=now_ms, decided_by=actor.label,
        decision_note=clean(note, 2000),
    )  # fmt: skip
    audit.record(tx, actor, "level.approve", f"level/{row.id}", at=now_ms, detail=row.decision_note)
    if row.starts_at > now_ms:
        timers.set_timer(tx, BEGIN, str(row.id), row.starts_at)
        telling.decided(tx, row, "approved", now_ms)
    else:
        _changed(tx, row, "approved", now_ms)
    return levels.views_of(tx, [row], now_ms)[0]


def reject(tx: Connection, actor: Principal, declaration: int, now_ms: int, note: str) -> DeclarationView:
    """Refuse it, with the reason. Raises NotFound, Forbidden, Conflict."""
    row = _decide(tx, actor, declaration)
    row = _set(
        tx, row, state=DeclarationState.REJECTED.value, decided_at=now_ms, decided_by=actor.label,
        decision_note=clean(note, 2000),
    )  # fmt: skip
    timers.drop_timer(tx, END, str(row.id))
    audit.record(tx, actor, "level.reject", f"level/{row.id}", at=now_ms, detail=row.decision_note)
    telling.decided(tx, row, "rejected", now_ms)
    return levels.views_of(tx, [row], now_ms)[0]


def end(tx: Connection, actor: Principal, declaration: int, now_ms: int, note: str = "") -> DeclarationView:
    """End it early, or withdraw it while it awaits approval. Raises NotFound, Forbidden, Conflict."""
    _may_declare(actor)
    row = levels.row_of(tx, actor, declaration, lock=True)
    if row.state not in {DeclarationState.PENDING, DeclarationState.APPROVED} or row.ends_at <= now_ms:
        raise Conflict(f"level declaration {row.id}: is over already")
    return levels.views_of(tx, [_end(tx, actor, row, note, now_ms)], now_ms)[0]


def _end(tx: Connection, actor: Principal, row: Row[Any], note: str, now_ms: int) -> Row[Any]:
    held = row.state == DeclarationState.APPROVED and rules.in_force(levels.declared(row), now_ms)
    note = clean(note, 2000) or row.decision_note
    row = _set(tx, row, state=DeclarationState.ENDED.value, ended_at=now_ms, ended_by=actor.label, decision_note=note)
    for kind in (BEGIN, END):
        timers.drop_timer(tx, kind, str(row.id))
    audit.record(tx, actor, "level.end", f"level/{row.id}", at=now_ms, detail=note)
    if held:
        _changed(tx, row, "ended", now_ms)
    else:
        telling.decided(tx, row, "withdrawn", now_ms)
    return row


def end_drill(tx: Connection, actor: Principal, drill: int, now_ms: int) -> int:
    """End every declaration of a drill; how many there were."""
    alive = declarations.c.state.in_([DeclarationState.PENDING.value, DeclarationState.APPROVED.value])
    wanted = sa.select(declarations).where(declarations.c.drill == drill, alive)
    rows = tx.execute(wanted.order_by(declarations.c.id).with_for_update()).all()
    for row in rows:
        _end(tx, actor, row, f"drill {drill}", now_ms)
    return len(rows)


def renew(
    tx: Connection, actor: Principal, declaration: int, *, ends_at: int, reason: str, now_ms: int
) -> DeclarationView:
    """Declare the same for the time after it; decided anew. Raises NotFound, Forbidden, Invalid, Conflict."""
    row = levels.row_of(tx, actor, declaration)
    if row.state not in {DeclarationState.APPROVED, DeclarationState.EXPIRED} or row.level == rules.ROUTINE:
        raise Conflict(f"level declaration {row.id}: is {row.state} and cannot be renewed; declare it anew")
    return declare(
        tx, actor, row.node, row.level, reason, now_ms=now_ms, scope=row.scope,
        starts_at=max(row.ends_at, now_ms), ends_at=ends_at, drill=row.drill,
    )  # fmt: skip


def _changed(tx: Connection, row: Row[Any], happened: str, now_ms: int) -> None:
    """A declaration begins or ends to count: tell whoever's level may be another now."""
    telling.changed(tx, row, happened, now_ms)
    others = [each for each in levels.path_of(tx, row.node, now_ms) if each.id != row.id]
    if row.drill is None and rules.changes(levels.declared(row), others, now_ms):
        hooks.tell(tx, row.node, now_ms)


def _begun(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    row = tx.execute(sa.select(declarations).where(declarations.c.id == int(timer.key)).with_for_update()).first()
    if row is None or row.state != DeclarationState.APPROVED:
        return
    audit.record(tx, SYSTEM, "level.begin", f"level/{row.id}", at=now_ms)
    if row.ends_at > now_ms:  # else it began and ended while nobody looked: its end is told, this is on record
        _changed(tx, row, "begun", now_ms)


def _over(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    row = tx.execute(sa.select(declarations).where(declarations.c.id == int(timer.key)).with_for_update()).first()
    if row is None or row.state not in {DeclarationState.PENDING, DeclarationState.APPROVED}:
        return
    counted = row.state == DeclarationState.APPROVED
    row = _set(tx, row, state=DeclarationState.EXPIRED.value)
    audit.record(tx, SYSTEM, "level.expire", f"level/{row.id}", at=now_ms)
    if counted:
        _changed(tx, row, "expired", now_ms)
    else:
        telling.decided(tx, row, "lapsed", now_ms)


timers.HANDLERS[BEGIN] = _begun
timers.HANDLERS[END] = _over
