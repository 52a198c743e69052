"""What other folders may do with presence: take evidence in, judge posts, read views."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from cloud.org.rules import Principal
    from cloud.presence.hooks import Evidence
    from cloud.state import AppState


class Shape(NamedTuple):
    """Something of presence on a map. kind: post, route, area. geojson: a geometry, as text.

    state: of a post; `overdue` or `normal` of a route; `gaps` or `normal` of an area.
    """

    kind: str
    id: int
    name_zh: str
    name_en: str
    node: str
    state: str
    geojson: str


def shapes(_tx: Connection, _principal: Principal, _now_ms: int) -> list[Shape]:
    """What of presence is drawn on the map, within scope."""
    return []


def last_fixes(_tx: Connection, _members: Collection[int], _now_ms: int, _max_age_ms: int) -> dict[int, Evidence]:
    """The newest evidence of members, by member, no older than `_max_age_ms`."""
    return {}


async def run(state: AppState) -> None:
    """Background work of the worker role, until cancelled."""
    del state
    await asyncio.Event().wait()
