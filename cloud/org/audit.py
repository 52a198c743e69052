"""The audit chain: append-only rows, each holding the hash of the one before it.

Owns the table and its hash. Rows are buffered in the transaction and written at its end, one after the other, so the
chain follows the order of commits. A changed, missing or inserted row breaks every hash after it: `verify` finds it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.db import BigId, finishers, metadata, work_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from cloud.db import Work
    from cloud.org.rules import Principal

GENESIS: Final = "0" * 64

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
    sqlite_autoincrement=True,
)


def record(tx: Connection, actor: Principal, action: str, target: str, *, at: int, detail: str = "") -> None:
    """Add a row; it is written at the end of the transaction."""
    row: dict[str, Any] = {"at": at, "actor": actor.label, "action": action, "target": target, "detail": detail}
    work_of(tx).buffers.setdefault("audit", []).append(row)


def digest(previous: str, row: dict[str, Any]) -> str:
    """The hash of a row: SHA-256 over the previous hash and the row as JSON with sorted keys."""
    body = {name: row[name] for name in ("at", "actor", "action", "target", "detail")}
    return hashlib.sha256(f"{previous}\n{json.dumps(body, sort_keys=True, ensure_ascii=False)}".encode()).hexdigest()


def verify(rows: Iterable[dict[str, Any]]) -> int | None:
    """The id of the first row whose hash is wrong, None when the chain holds. rows: from the first, in order."""
    previous = GENESIS
    for row in rows:
        if row["hash"] != digest(previous, row):
            return int(row["id"])
        previous = row["hash"]
    return None


def _write(tx: Connection, work: Work) -> None:
    rows = work.buffers.get("audit")
    if not rows:
        return
    previous = tx.execute(sa.select(audit.c.hash).order_by(audit.c.id.desc()).limit(1)).scalar() or GENESIS
    for row in rows:
        row["hash"] = previous = digest(previous, row)
    tx.execute(audit.insert(), rows)


finishers.append(_write)
