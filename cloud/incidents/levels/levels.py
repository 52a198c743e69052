"""Which level holds where: the declarations of a path read from the database, and the tree of levels.

Owns every reading of declarations. Drills' declarations are left out unless the drill itself asks: they change nothing
that is real.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.errors import Invalid
from cloud.incidents.levels import rules
from cloud.incidents.levels.models import DeclarationState, DeclarationView, NodeLevel
from cloud.incidents.levels.policies import approver_of
from cloud.incidents.levels.rules import Declared
from cloud.incidents.levels.store import declarations
from cloud.org import rows, tree
from cloud.org.rules import ROOT, ancestors, scope, visible
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Row

    from cloud.org.rules import Principal

_PATH: Final = re.compile(r"/([0-9]{1,19}/)*")


def _counts(drill: int | None) -> ColumnElement[bool]:
    """Which declarations count: the real ones, and those of the drill that asks."""
    real = declarations.c.drill.is_(None)
    return sa.or_(real, declarations.c.drill == drill) if drill is not None else real


def declared(row: Row[Any]) -> Declared:
    """An approved declaration as the rules see it."""
    begins = max(row.starts_at, row.starts_at if row.decided_at is None else row.decided_at)
    ends = row.ends_at if row.ended_at is None else min(row.ends_at, row.ended_at)
    return Declared(row.node, row.level, begins, ends, row.id)


def _approved(tx: Connection, now_ms: int, drill: int | None, *more: ColumnElement[bool]) -> list[Declared]:
    wanted = sa.select(declarations).where(
        declarations.c.decided_at.is_not(None), declarations.c.state != DeclarationState.REJECTED.value,
        declarations.c.ends_at > now_ms, _counts(drill), *more,
    )  # fmt: skip
    return [declared(row) for row in tx.execute(wanted)]


def path_of(tx: Connection, node: str, now_ms: int, drill: int | None = None) -> list[Declared]:
    """The approved declarations for a node and what is above it that may count at a time or later."""
    return _approved(tx, now_ms, drill, declarations.c.node.in_(ancestors(node)))


def effective(tx: Connection, node: str, now_ms: int, drill: int | None = None) -> int:
    """The level of a node, 1 the strictest, 4 routine; judged by time alone. drill: as that drill sees it."""
    return rules.effective(path_of(tx, node, now_ms, drill), now_ms)


def _preorder(path: str) -> tuple[int, ...]:
    return tuple(int(part) for part in path.strip("/").split("/") if part)


def tree_levels(
    tx: Connection, principal: Principal, now_ms: int, *, below: str = ROOT, drill: int | None = None,
    limit: int = 100, cursor: str | None = None, keep: Callable[[tree.Node], bool] | None = None,
) -> Page[NodeLevel]:  # fmt: skip
    """The level of every node within scope at or below one, each below its parent. keep: which nodes to list.

    Raises Invalid on a cursor that is none.
    """
    limit = min(max(limit, 1), MAX_LIMIT)
    nodes = [node for node in tree.list_nodes(tx, principal, below) if keep is None or keep(node)]
    if below == ROOT and visible(principal, ROOT):
        nodes.append(tree.TOP)
    if cursor:
        (last,) = decode_cursor(cursor, str)
        if not _PATH.fullmatch(str(last)):
            raise Invalid("cursor: not one that this API gave out")
        nodes = [node for node in nodes if _preorder(node.path) > _preorder(str(last))]
    nodes.sort(key=lambda node: _preorder(node.path))
    shown = nodes[:limit]
    following = encode_cursor(shown[-1].path) if len(nodes) > limit else None
    return Page(items=_levels(tx, principal, shown, now_ms, drill), next_cursor=following)


def node_level(tx: Connection, principal: Principal, path: str, now_ms: int, drill: int | None = None) -> NodeLevel:
    """The level of one node. Raises NotFound."""
    return _levels(tx, principal, [tree.get_node(tx, principal, path)], now_ms, drill)[0]


def _levels(
    tx: Connection, principal: Principal, nodes: Sequence[tree.Node], now_ms: int, drill: int | None
) -> list[NodeLevel]:
    by_node: dict[str, list[Declared]] = {}
    for each in _approved(tx, now_ms, drill, declarations.c.starts_at <= now_ms):
        by_node.setdefault(each.node, []).append(each)
    waiting = _pending(tx, principal, drill)
    called = tree.names(tx, by_node)
    listed = []
    for node in nodes:
        own = by_node.get(node.path, [])
        decides = rules.strictest([d for above in ancestors(node.path) for d in by_node.get(above, [])], now_ms)
        mine = rules.strictest(own, now_ms)
        since = decides.node if decides else node.path
        zh, en = (node.name_zh, node.name_en) if since == node.path else called.get(since, ("", ""))
        listed.append(
            NodeLevel(
                node=node.path, name_zh=node.name_zh, name_en=node.name_en, kind=node.kind,
                depth=len(ancestors(node.path)) - 1, level=decides.level if decides else rules.ROUTINE,
                declared=mine.level if mine else None, since_node=since, since_zh=zh, since_en=en,
                until=at(decides.ends) if decides else None,
                declaration=decides.id if decides and visible(principal, decides.node) else None,
                pending=waiting.get(node.path, 0),
            )
        )  # fmt: skip
    return listed


def _pending(tx: Connection, principal: Principal, drill: int | None) -> dict[str, int]:
    counted = sa.select(declarations.c.node, sa.func.count()).where(
        scope(principal, declarations.c.node), declarations.c.state == DeclarationState.PENDING.value, _counts(drill)
    )
    return {node: int(count) for node, count in tx.execute(counted.group_by(declarations.c.node))}


def row_of(tx: Connection, principal: Principal, declaration: int, *, lock: bool = False) -> Row[Any]:
    """A declaration within scope, its row locked for a decision when asked. Raises NotFound."""
    return rows.row_of(tx, declarations, principal, declaration, "level declaration", lock=lock)


def views_of(tx: Connection, rows: Iterable[Row[Any]], now_ms: int) -> list[DeclarationView]:
    """Views of rows, in their order."""
    rows = list(rows)
    called = tree.names(tx, {row.node for row in rows})
    roles = {node: approver_of(tx, node) for node in {row.node for row in rows}}
    listed = []
    for row in rows:
        zh, en = called.get(row.node, ("", ""))
        decided = row.decided_at is not None and row.state != DeclarationState.REJECTED
        listed.append(
            DeclarationView(
                id=row.id, node=row.node, node_zh=zh, node_en=en, level=row.level, reason=row.reason, scope=row.scope,
                starts_at=at(row.starts_at), ends_at=at(row.ends_at), state=DeclarationState(row.state),
                in_force=decided and row.level < rules.ROUTINE and rules.in_force(declared(row), now_ms),
                declared_at=at(row.declared_at), declared_by=row.declared_by, approver=roles[row.node],
                decided_at=at_or_none(row.decided_at), decided_by=row.decided_by, decision_note=row.decision_note,
                ended_at=at_or_none(row.ended_at), ended_by=row.ended_by, drill=row.drill,
            )
        )  # fmt: skip
    return listed


def list_declarations(
    tx: Connection, principal: Principal, now_ms: int, *, below: str = ROOT, states: Sequence[DeclarationState] = (),
    drill: int | None = None, limit: int = 100, cursor: str | None = None,
) -> Page[DeclarationView]:  # fmt: skip
    """Declarations within scope, newest first; a drill's only when it is named. Raises Invalid on a false cursor."""
    limit = min(max(limit, 1), MAX_LIMIT)
    mine = declarations.c.drill.is_(None) if drill is None else declarations.c.drill == drill
    wanted = sa.select(declarations).where(
        scope(principal, declarations.c.node), declarations.c.node.startswith(below, autoescape=True), mine
    )
    if states:
        wanted = wanted.where(declarations.c.state.in_([state.value for state in states]))
    if cursor:
        wanted = wanted.where(declarations.c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(declarations.c.id.desc()).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=views_of(tx, rows[:limit], now_ms), next_cursor=following)


def get_declaration(tx: Connection, principal: Principal, declaration: int, now_ms: int) -> DeclarationView:
    """One declaration. Raises NotFound."""
    return views_of(tx, [row_of(tx, principal, declaration)], now_ms)[0]
