"""What other folders may do with rosters: who is on duty, what they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.org.rules import ROOT
from cloud.presence.rosters.store import members

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from cloud.org.rules import Principal


class Duty(NamedTuple):
    """Who is on duty where."""

    shift: int
    member: int
    call_sign: str
    node: str
    post: int | None
    route: int | None
    starts_at: int
    ends_at: int


def on_duty(_tx: Connection, _at_ms: int, _below: str = ROOT) -> list[Duty]:
    """The shifts that run at a time, at or below a node."""
    return []


def carried(_tx: Connection) -> set[tuple[str, str]]:
    """Gateway and device of what members carry."""
    return set()


def look(_tx: Connection, _viewer: Principal, _members: Collection[int], _what: str, _now_ms: int) -> None:
    """Record that somebody looked at where members are."""


def member_names(tx: Connection, ids: Collection[int]) -> dict[int, str]:
    """The call signs of members, by id."""
    rows = tx.execute(sa.select(members.c.id, members.c.call_sign).where(members.c.id.in_(ids)))
    return {row.id: row.call_sign for row in rows}
