"""What other folders may do with incidents: open, take, act, read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.errors import Conflict

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Principal


def open_by_hand(
    tx: Connection, actor: Principal, now_ms: int, *, node: str, category: str, title: str, place: str = "",
    lat: float | None = None, lon: float | None = None, event_at: int | None = None,
) -> int:  # fmt: skip
    """Open an incident that somebody reports; its id. Raises NotFound, Forbidden."""
    del tx, actor, now_ms, node, category, title, place, lat, lon, event_at
    raise Conflict("incidents: not built yet")
