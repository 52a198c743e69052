"""A time as people at a node read it.

Owns the zone of a node, and clocks beyond what a calendar has. Where the tree names none, or one that this machine does
not know, the site's counts; `use` is called by the entry point with the configured one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cloud.org import tree
from cloud.paging import at

if TYPE_CHECKING:
    from sqlalchemy import Connection

_site: list[ZoneInfo] = [ZoneInfo("Asia/Shanghai")]


def use(zone: str) -> None:
    """Let a zone be the site's."""
    _site[:] = [ZoneInfo(zone)]


def zone_of(tx: Connection, node: str) -> ZoneInfo:
    """The zone of a node."""
    try:
        named = tree.inherited(tx, node, "time_zone")
        return ZoneInfo(str(named)) if named else _site[0]
    except (ZoneInfoNotFoundError, ValueError):
        return _site[0]


def moment(tx: Connection, node: str, ms: int) -> str:
    """A time in the zone of a node, with the zone's name."""
    zone, time = zone_of(tx, node), at(ms)
    try:
        return f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S} ({zone.key})"
    except OverflowError:  # a clock at the edge of what a calendar has
        return f"{time:%Y-%m-%d %H:%M:%S} (UTC)"
