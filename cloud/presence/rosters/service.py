"""What other folders may do with rosters: who is on duty, what they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloud.presence.rosters.store import members

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


def member_names(tx: Connection, ids: Collection[int]) -> dict[int, str]:
    """The call signs of members, by id."""
    rows = tx.execute(sa.select(members.c.id, members.c.call_sign).where(members.c.id.in_(ids)))
    return {row.id: row.call_sign for row in rows}
