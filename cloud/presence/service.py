"""What other folders may do with presence: take evidence in, judge posts, read views."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from cloud.state import AppState
    from firmware_specs.readings import Reading


async def run(state: AppState) -> None:
    """Background work of the worker role, until cancelled."""
    del state
    await asyncio.Event().wait()


def take(tx: Connection, gateway: str, readings: Sequence[Reading], now_ms: int) -> None:
    """Keep what new readings of a gateway say of where members on shift are."""
    del tx, gateway, readings, now_ms
