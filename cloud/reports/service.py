"""What other folders may do with reviews: make, archive, read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud.state import AppState


async def run(state: AppState) -> None:
    """Background work of the worker role, until cancelled."""
    del state
    await asyncio.Event().wait()
