"""A time as people at a node read it.

Owns the zone that counts where the tree names none, and clocks beyond what a calendar has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cloud.org import tree
from cloud.paging import at

if TYPE_CHECKING:
    from sqlalchemy import Connection

ZONE: Final = "Asia/Shanghai"
"""Where the tree names none."""


def zone_of(tx: Connection, node: str) -> ZoneInfo:
    """The zone that counts at a node."""
    try:
        return ZoneInfo(str(tree.inherited(tx, node, "time_zone") or ZONE))
    except (ZoneInfoNotFoundError, ValueError):  # this machine does not know it
        return ZoneInfo(ZONE)


def moment(tx: Connection, node: str, ms: int) -> str:
    """A time in the zone of a node, with the zone's name."""
    zone = zone_of(tx, node)
    time = at(ms)
    try:
        return f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S} ({zone.key})"
    except OverflowError:  # a clock at the edge of what a calendar has
        return f"{time:%Y-%m-%d %H:%M:%S} (UTC)"
