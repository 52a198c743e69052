"""What other folders may do with incidents: open, take, act, read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Principal


class OpenPlace(NamedTuple):
    """An open incident that has a place. title: in Chinese."""

    id: int
    title: str
    category: str
    severity: str
    lat: float
    lon: float
    drill: bool
    title_en: str = ""


def open_places(_tx: Connection, _principal: Principal) -> list[OpenPlace]:
    """Open incidents that have a place, within scope."""
    return []
