"""What posts, routes and areas have in common: their node, their code, and that the judge is told of a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloud.db import insert
from cloud.errors import Conflict, Forbidden, NotFound
from cloud.org import audit, tree
from cloud.org.rules import Permission, Principal, scope
from cloud.presence.store import judges
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Table

    from cloud.presence.models import Named


class Sort(NamedTuple):
    """A table of the plan and what one of its rows is called."""

    table: Table
    name: str


def may_plan(actor: Principal) -> None:
    """Raises Forbidden when the role may not plan patrols."""
    if not actor.may(Permission.PATROL):
        raise Forbidden(f"role {actor.role} may not {Permission.PATROL}")


def changed(tx: Connection) -> None:
    """Have the judge read posts, routes, areas and levels anew.

    Comes before the rows of the plan are changed: the judge takes the two in this order as well.
    """
    put = insert(tx, judges).values(id=1, owner="", until=0, plan=1)
    tx.execute(put.on_conflict_do_update(index_elements=["id"], set_={"plan": judges.c.plan + 1}))


def row_of(tx: Connection, principal: Principal, sort: Sort, row_id: int) -> Row[Any]:
    """A row within scope that is not archived. Raises NotFound."""
    table = sort.table
    mine = (table.c.id == row_id, scope(principal, table.c.node), table.c.archived_at.is_(None))
    row = tx.execute(sa.select(table).where(*mine)).first() if 0 < row_id < 2**63 else None
    if row is None:
        raise NotFound(f"{sort.name} {row_id}: not found")
    return row


def write(
    tx: Connection, actor: Principal, sort: Sort, given: Named, values: dict[str, Any], *, now_ms: int,
    row_id: int | None = None, initial: dict[str, Any] | None = None,
) -> int:  # fmt: skip
    """Make or change a row; its id. Raises NotFound for a node or row out of scope, Conflict for a code in use."""
    may_plan(actor)
    table, what = sort
    node = tree.get_node(tx, actor, given.node)
    taken = sa.select(table.c.id).where(table.c.code == given.code, table.c.id != (row_id or 0))
    if given.code is not None and tx.execute(taken).first():
        raise Conflict(f"{what} {given.code}: exists already")
    changed(tx)
    names = {"name_zh": clean(given.name_zh, 200), "name_en": clean(given.name_en, 200)}
    values = {"node": node.path, "code": given.code, **names, **values}
    if row_id is None:
        made = {**values, **(initial or {}), "created_at": now_ms}
        row_id = int(tx.execute(table.insert().values(made).returning(table.c.id)).scalar_one())
        verb = "add"
    else:
        row_of(tx, actor, sort, row_id)
        tx.execute(table.update().where(table.c.id == row_id).values(values))
        verb = "change"
    audit.record(tx, actor, f"{what}.{verb}", f"{what}/{row_id}", at=now_ms, detail=names["name_zh"])
    return row_id


def archive(tx: Connection, actor: Principal, sort: Sort, row_id: int, now_ms: int) -> Row[Any]:
    """Take a row out of use; its history stays, its code is free again. Raises NotFound, Forbidden."""
    may_plan(actor)
    row = row_of(tx, actor, sort, row_id)
    table, what = sort
    changed(tx)
    tx.execute(table.update().where(table.c.id == row_id).values(archived_at=now_ms, code=None))
    audit.record(tx, actor, f"{what}.archive", f"{what}/{row_id}", at=now_ms, detail=row.name_zh)
    return row
