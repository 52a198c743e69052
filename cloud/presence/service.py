"""What other folders may do with presence: take evidence in, judge posts, read views."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud.state import AppState


async def run(state: AppState) -> None:
    """Background work of the worker role, until cancelled."""
    del state
    await asyncio.Event().wait()
