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
from cloud.paging import at
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

UNITS: Final = frozenset({tree.Kind.DISTRICT, tree.Kind.TOWN, tree.Kind.STREET, tree.Kind.COMMUNITY})
HEARERS: Final = (Role.PROPERTY, Role.DISPATCHER, Role.SUPERVISOR, Role.ADMINISTRATOR)
SEVERITY: Final = {1: Severity.CRITICAL, 2: Severity.MAJOR, 3: Severity.MINOR, 4: Severity.WARNING}


def units_below(tx: Connection, node: str) -> list[str]:
    """A node and the units below it."""
    below = tree.list_nodes(tx, SYSTEM, node)
    return [node, *(each.path for each in below if each.kind in UNITS and each.path != node)]


def asked(tx: Connection, row: Row[Any], now_ms: int) -> None:
    """A declaration awaits approval: those who may give it hear of it, at its node and above."""
    _event(tx, row, [row.node], now_ms)
    _notify(tx, row, "level-declared", (approver_of(tx, row.node),), [row.node])


def decided(tx: Connection, row: Row[Any], template: str, now_ms: int) -> None:
    """Nothing in force has changed, but somebody waits for it: a rejection, an approval for later, a withdrawal."""
    _event(tx, row, [row.node], now_ms)
    _notify(tx, row, template, HEARERS, [row.node])


def changed(tx: Connection, row: Row[Any], template: str, now_ms: int) -> None:
    """A level began or ended: the node, the units below it and those above it hear of it."""
    units = units_below(tx, row.node)
    _event(tx, row, units, now_ms)
    _notify(tx, row, template, HEARERS, units)


def _event(tx: Connection, row: Row[Any], nodes: list[str], now_ms: int) -> None:
    state = DeclarationState(row.state)
    for node in nodes:
        level = levels.effective(tx, node, now_ms, row.drill)
        view = LevelEvent(node=node, level=level, declaration=row.id, state=state, drill=row.drill)
        stream.append(tx, "level", view, at=now_ms, node=node)


def _notify(tx: Connection, row: Row[Any], template: str, roles: tuple[Role, ...], nodes: list[str]) -> None:
    """One message, put in at each node: a channel that hears of several takes it once, by its key."""
    zh, en = tree.names(tx, [row.node]).get(row.node, ("", ""))
    values = {
        "level": str(row.level), "node_zh": zh, "node_en": en, "reason": row.reason, "scope": row.scope,
        "starts_at": at(row.starts_at).isoformat(), "ends_at": at(row.ends_at).isoformat(), "by": row.declared_by,
        "decided_by": row.decided_by or "", "note": row.decision_note,
    }  # fmt: skip
    for node in nodes:
        notify.enqueue(
            tx,
            notify.Message(
                node=node, subject="level", subject_id=row.id, template=template, values=values,
                severity=SEVERITY[row.level], roles=roles, urgent=row.level <= 2, drill=row.drill is not None,
                key=f"level/{row.id}/{template}",
            ),
        )  # fmt: skip
