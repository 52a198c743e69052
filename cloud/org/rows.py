"""The one way to a row by its id: within the scope of who asks, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloud.errors import NotFound
from cloud.org.rules import scope

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.org.rules import Principal


def row_of(
    tx: Connection, table: sa.Table, principal: Principal, row_id: int, what: str, *, lock: bool = False
) -> Row[Any]:  # fmt: skip
    """The row of a table with a `node`. lock: for a change. Raises NotFound, which calls it `what`."""
    wanted = sa.select(table).where(table.c.id == row_id, scope(principal, table.c.node))
    row = tx.execute(wanted.with_for_update() if lock else wanted).first() if 0 < row_id < 2**63 else None
    if row is None:
        raise NotFound(f"{what} {row_id}: not found")
    return row
