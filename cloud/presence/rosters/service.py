"""What other folders may do with rosters: who is on shift, what they carry, whose position may be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloud.org.rules import ROOT

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
