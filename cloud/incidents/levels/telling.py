"""Who hears of a declaration: the event stream, those who decide, and the units below and above.

Owns what is told and to whom. A unit is a node with people of its own to tell: district, town, street, community.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cloud import stream
from cloud.alerts.notify import service as notify
from cloud.incidents.levels import levels
from cloud.incidents.levels.models import DeclarationState, LevelEvent
from cloud.incidents.levels.policies import approver_of
from cloud.org import tree
from cloud.org.rules import SYSTEM, Role
from cloud.org.zones import moment
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

UNITS: Final = frozenset({tree.Kind.DISTRICT, tree.Kind.TOWN, tree.Kind.STREET, tree.Kind.COMMUNITY})
HEARERS: Final = (Role.PROPERTY, Role.DISPATCHER, Role.SUPERVISOR, Role.ADMINISTRATOR)
TEMPLATES: Final = {
    "declared": "level-declared", "approved": "level-approved", "begun": "level-approved", "rejected": "level-rejected",
    "ended": "level-ended", "expired": "level-ended", "withdrawn": "level-withdrawn", "lapsed": "level-lapsed",
}  # fmt: skip
"""By what happened, what says it."""
WORDS: Final = {
    "rejected": ("响应等级 {level} 未获批准", "Response level {level} was not approved"),
    "withdrawn": ("响应等级 {level} 已撤回", "Response level {level} was withdrawn"),
    "lapsed": ("响应等级 {level} 逾期未批", "Response level {level} lapsed, nobody decided"),
}
"""What is said of what has no words of its own."""
SEVERITY: Final = {1: Severity.CRITICAL, 2: Severity.MAJOR, 3: Severity.MINOR, 4: Severity.WARNING}


def units_below(tx: Connection, node: str) -> list[str]:
    """A node and the units below it."""
    below = tree.list_nodes(tx, SYSTEM, node)
    return [node, *(each.path for each in below if each.kind in UNITS and each.path != node)]


def asked(tx: Connection, row: Row[Any], now_ms: int) -> None:
    """A declaration awaits approval: those who may give it hear of it, at its node and above."""
    _event(tx, row, [row.node], now_ms)
    _notify(tx, row, "declared", now_ms, roles=(approver_of(tx, row.node),), nodes=[row.node])


def decided(tx: Connection, row: Row[Any], happened: str, now_ms: int) -> None:
    """Nothing in force has changed, but somebody waits for it: a rejection, an approval for later, a withdrawal."""
    _event(tx, row, [row.node], now_ms)
    _notify(tx, row, happened, now_ms, roles=HEARERS, nodes=[row.node])


def changed(tx: Connection, row: Row[Any], happened: str, now_ms: int) -> None:
    """A level began or ended: the node, the units below it and those above it hear of it."""
    units = units_below(tx, row.node)
    _event(tx, row, units, now_ms)
    _notify(tx, row, happened, now_ms, roles=HEARERS, nodes=units)


def _event(tx: Connection, row: Row[Any], nodes: list[str], now_ms: int) -> None:
    state = DeclarationState(row.state)
    for node in nodes:
        level = levels.effective(tx, node, now_ms, row.drill)
        view = LevelEvent(node=node, level=level, declaration=row.id, state=state, drill=row.drill)
        stream.append(tx, "level", view, at=now_ms, node=node)


def _notify(
    tx: Connection, row: Row[Any], happened: str, now_ms: int, *, roles: tuple[Role, ...], nodes: list[str]
) -> None:
    """One message, put in at each node: a channel that hears of several takes it once, by its key."""
    zh, en = tree.names(tx, [row.node]).get(row.node, ("", ""))
    by = {"declared": row.declared_by, "ended": row.ended_by}.get(happened, row.decided_by)
    what_zh, what_en = WORDS.get(happened, ("", ""))
    times = {"starts_at": row.starts_at, "ends_at": row.ends_at, "at": now_ms}
    values = {
        "what_zh": what_zh.format(level=row.level), "what_en": what_en.format(level=row.level),
        "level": str(row.level), "where_zh": zh, "where_en": en, "reason": row.reason,
        "detail": row.decision_note or row.scope,
        **{name: moment(tx, row.node, ms) for name, ms in times.items()},
        "by": by or "", "now": str(levels.effective(tx, row.node, now_ms, row.drill)),
    }  # fmt: skip
    for node in nodes:
        notify.enqueue(
            tx,
            notify.Message(
                node=node, subject="level", subject_id=row.id, template=TEMPLATES[happened], values=values,
                severity=SEVERITY[row.level], roles=roles, urgent=row.level <= 2, drill=row.drill is not None,
                key=f"level/{row.id}/{happened}",
            ),
            now_ms,
        )  # fmt: skip
