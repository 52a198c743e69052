"""What other folders may do with fleet health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.devices import selecting

if TYPE_CHECKING:
    from sqlalchemy import Connection


def healthy(tx: Connection, gateway: str, now_ms: int) -> tuple[bool, str]:
    """Whether a gateway is in order, and what is wrong when it is not."""
    del now_ms
    there = selecting.is_online(tx, gateway)
    return there, "" if there else "offline"
