"""The audit chain: append-only rows, each holding the hash of the one before it.

Owns the table and its hash. Rows are buffered in the transaction and written at its end, one after the other, so the
chain follows the order of commits. A changed, missing or inserted row breaks every hash after it: `verify` finds it.
A row belongs to the node of who acted, so that whoever may read the chain reads what was done at or below their node;
the chain itself is one, and whether it holds is everybody's.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.db import BigId, finishers, metadata, work_of
from cloud.org.rules import ROOT, scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

    from cloud.db import Work
    from cloud.org.rules import Principal

GENESIS: Final = "0" * 64
AT_ONCE: Final = 2000
"""Rows that are read in one go when the whole chain is verified."""

audit: Final = sa.Table(
    "audit",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("node", sa.String(255), nullable=False, server_default=ROOT),
    sqlite_autoincrement=True,
)


def record(tx: Connection, actor: Principal, action: str, target: str, *, at: int, detail: str = "") -> None:
    """Add a row; it is written at the end of the transaction."""
    row: dict[str, Any] = {"at": at, "actor": actor.label, "action": action, "target": target, "detail": detail}
    row["node"] = actor.node
    work_of(tx).buffers.setdefault("audit", []).append(row)


def digest(previous: str, row: dict[str, Any]) -> str:
    """The hash of a row: SHA-256 over the previous hash and the row as JSON with sorted keys.

    `node` is part of it unless it is the root, which a row written before there were nodes belongs to.
    """
    body = {name: row[name] for name in ("at", "actor", "action", "target", "detail")}
    if row.get("node", ROOT) != ROOT:
        body["node"] = row["node"]
    return hashlib.sha256(f"{previous}\n{json.dumps(body, sort_keys=True, ensure_ascii=False)}".encode()).hexdigest()


def verify(rows: Iterable[dict[str, Any]]) -> int | None:
    """The id of the first row whose hash is wrong, None when the chain holds. rows: from the first, in order."""
    previous = GENESIS
    for row in rows:
        if row["hash"] != digest(previous, row):
            return int(row["id"])
        previous = row["hash"]
    return None


class Query(NamedTuple):
    """Which rows; empty means any. action: as a whole or up to a dot, `incident`. target: what it begins with."""

    actor: str = ""
    action: str = ""
    target: str = ""
    from_ms: int | None = None
    to_ms: int | None = None


def _within(principal: Principal, query: Query) -> list[sa.ColumnElement[bool]]:
    wanted = [scope(principal, audit.c.node)]
    if query.actor:
        wanted.append(audit.c.actor == query.actor)
    if query.action:
        below = audit.c.action.startswith(f"{query.action}.", autoescape=True)
        wanted.append(sa.or_(audit.c.action == query.action, below))
    if query.target:
        wanted.append(audit.c.target.startswith(query.target, autoescape=True))
    if query.from_ms is not None:
        wanted.append(audit.c.at >= query.from_ms)
    if query.to_ms is not None:
        wanted.append(audit.c.at < query.to_ms)
    return wanted


def rows_after(
    tx: Connection, principal: Principal, query: Query, row_id: int, limit: int, *, newest_first: bool = False
) -> list[dict[str, Any]]:
    """The next rows within scope behind an id; newest first they go down from it, and 0 begins at the newest."""
    wanted = sa.select(audit).where(*_within(principal, query))
    if newest_first:
        wanted = wanted.order_by(audit.c.id.desc())
        wanted = wanted.where(audit.c.id < row_id) if row_id else wanted
    else:
        wanted = wanted.where(audit.c.id > row_id).order_by(audit.c.id)
    return [dict(row) for row in tx.execute(wanted.limit(limit)).mappings()]


def verify_all(tx: Connection) -> tuple[int, int | None]:
    """The whole chain as it is stored: how many rows it has, and the id of the first that is wrong, if any."""
    count = last = 0

    def stored() -> Iterator[dict[str, Any]]:
        nonlocal count, last
        while True:
            rows = tx.execute(sa.select(audit).where(audit.c.id > last).order_by(audit.c.id).limit(AT_ONCE))
            part = [dict(row) for row in rows.mappings()]
            count += len(part)
            yield from part
            if len(part) < AT_ONCE:
                return
            last = part[-1]["id"]

    broken = verify(stored())
    return count, broken


def _write(tx: Connection, work: Work) -> None:
    rows = work.buffers.get("audit")
    if not rows:
        return
    previous = tx.execute(sa.select(audit.c.hash).order_by(audit.c.id.desc()).limit(1)).scalar() or GENESIS
    for row in rows:
        row["hash"] = previous = digest(previous, row)
    tx.execute(audit.insert(), rows)


finishers.append(_write)
