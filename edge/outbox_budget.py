"""When the outbox is measured, merged and thinned: every few seconds, sooner when it grows, not on a disk that refuses.

Owns that rhythm and the figure that was measured last; what a step does is `outbox_keep`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

from edge.outbox_open import write_note
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.outbox_file import OutboxFile
    from edge.outbox_keep import Keeper, Kept
    from edge.outbox_north import North
    from edge.outbox_parts import Writer
    from firmware_specs.readings import GapReport

_EVERY_S: Final = 2.0
_NEXT_STEP_S: Final = 0.02
"""Between two steps of one round, so that commits get their turn."""
_GROWN_PART: Final = 50
"""Of the budget: what has been written since the last round and calls for another."""


class Budget:
    """See the module."""

    def __init__(
        self, keeper: Keeper, folder: Path, writer: Writer, north: North, degraded: Callable[[], str], *,
        refused: Callable[[StoreError], None], thinned: Callable[[GapReport], None],
    ) -> None:  # fmt: skip
        """refused: told that the disk refuses. thinned: told what was dropped."""
        self._keeper = keeper
        self._folder = folder
        self._writer = writer
        self._north = north
        self._degraded = degraded
        self._refused = refused
        self._thinned = thinned
        self._grown = 0
        self._note = b""
        self._now = asyncio.Event()
        self.used_bytes = 0
        """What the file takes of its budget, as last measured."""

    def grown(self, size: int) -> None:
        """So much was committed."""
        self._grown += size
        if self._grown > self._keeper.budget_bytes // _GROWN_PART:
            self._now.set()

    async def keep(self) -> None:
        """Measure, merge and thin, a step at a time, until cancelled."""
        while True:
            more = await self._step()
            self._now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NEXT_STEP_S if more else _EVERY_S):
                    await self._now.wait()

    async def _step(self) -> bool:
        """One step, when nothing else has the disk; whether another is due at once."""
        file = self._north.file
        if file is None or self._degraded() or self._north.stands_aside:
            return False
        self._grown = 0
        untouchable = self._north.stand_aside()
        kept: Kept | None = None
        try:
            kept = await self._writer.run(partial(self._keep, file, untouchable))
        except StoreError as e:
            if file is self._north.file:
                self._refused(e)
        finally:
            self._north.step_back()
        if kept:
            self.used_bytes = kept.used_bytes
            if kept.gap and kept.gap.count:
                self._thinned(kept.gap)
        self._north.on_change()
        return kept is not None and kept.more

    def _keep(self, file: OutboxFile, untouchable: int) -> Kept:
        kept = self._keeper.step(file, untouchable)
        self._note = write_note(self._folder, file, self._note)
        return kept
