"""What other folders may do with presence: take evidence in, judge posts, read views."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloud.presence.hooks import Evidence
from cloud.presence.store import evidence

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from cloud.state import AppState


def last_fixes(tx: Connection, members: Collection[int], now_ms: int, max_age_ms: int) -> dict[int, Evidence]:
    """Where members were last, by member; none that is older than the age."""
    wanted = sa.select(evidence).where(
        evidence.c.member.in_(members), evidence.c.at >= now_ms - max_age_ms, evidence.c.kind == "fix"
    )
    rows = tx.execute(wanted.order_by(evidence.c.at)).all()
    return {row.member: Evidence(row.member, "fix", row.at, row.lat, row.lon, row.accuracy_m) for row in rows}


async def run(state: AppState) -> None:
    """Background work of the worker role, until cancelled."""
    del state
    await asyncio.Event().wait()
