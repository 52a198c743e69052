"""Where a shift is to be: the posts and routes of presence, by id and by code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloud.errors import NotFound
from cloud.org.rules import scope
from cloud.presence.store import posts, routes

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from cloud.org.rules import Principal

_TABLES = {"post": posts, "route": routes}


def node_of(tx: Connection, principal: Principal, what: str, thing: int) -> str:
    """The node of a post or a route within scope. what: `post` or `route`. Raises NotFound."""
    table = _TABLES[what]
    wanted = sa.select(table.c.node).where(table.c.id == thing, table.c.archived_at.is_(None))
    node: str | None = tx.execute(wanted.where(scope(principal, table.c.node))).scalar()
    if node is None:
        raise NotFound(f"{what} {thing}: not found")
    return node


def find(tx: Connection, principal: Principal, what: str, code: str) -> int:
    """The id of a post or a route within scope by its code. Raises NotFound."""
    table = _TABLES[what]
    wanted = sa.select(table.c.id).where(table.c.code == code, table.c.archived_at.is_(None))
    found: int | None = tx.execute(wanted.where(scope(principal, table.c.node))).scalar()
    if found is None:
        raise NotFound(f"{what} {code}: not known")
    return found


def names(tx: Connection, what: str, ids: Collection[int]) -> dict[int, tuple[str, str]]:
    """What posts or routes are called in Chinese and English, by id."""
    table = _TABLES[what]
    wanted = sa.select(table.c.id, table.c.name_zh, table.c.name_en).where(table.c.id.in_(set(ids)))
    return {row.id: (row.name_zh, row.name_en) for row in tx.execute(wanted)}


def choices(tx: Connection, principal: Principal, what: str) -> list[tuple[int, str, str]]:
    """Id and both names of every post or route within scope, by code."""
    table = _TABLES[what]
    wanted = sa.select(table.c.id, table.c.name_zh, table.c.name_en).where(
        scope(principal, table.c.node), table.c.archived_at.is_(None)
    )
    return [tuple(row) for row in tx.execute(wanted.order_by(table.c.code, table.c.id))]
