"""Keeps the outbox within its budget: measures it, merges what stays, thins what is too much.

Owns where it is in both, and the thresholds. Runs in the writer's thread, a step at a time, between commits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from edge.outbox_thin import LEVELS_MS, merge, thin
from firmware_specs import zstd
from firmware_specs.readings import GapReason, GapReport, Lane

if TYPE_CHECKING:
    from edge.outbox_file import OutboxFile

THIN_ABOVE: Final = 0.75
"""Part of the budget at which thinning begins."""
THIN_BELOW: Final = 0.60
_STEP_ITEMS: Final = 5_000
_FRESH_ITEMS: Final = 5_000
"""The newest telemetry is left alone, so that the uplink's window and the keeper never meet."""
_MOST_STEPS: Final = 100


class Kept(NamedTuple):
    """What a step did. more: whether another is due at once."""

    used_bytes: int
    gap: GapReport | None
    more: bool


class Keeper:
    """See the module."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._merged_to = 0
        self._thinned_to = 0
        self._level = 0
        self._thinning = False
        self._periods: dict[tuple[str, str], int] = {}

    def step(self, file: OutboxFile, untouchable: int, fresh: int = _FRESH_ITEMS) -> Kept:
        """One step on telemetry from `untouchable` on, the newest `fresh` items left alone. Raises StoreError."""
        used = file.used_bytes()
        budget = min(self.budget_bytes, file.room_bytes)
        end = file.totals[Lane.TELEMETRY].next - fresh
        if used <= budget * THIN_BELOW:
            self._thinning = False
        if used > budget * THIN_ABOVE or self._thinning:
            self._thinning = True
            gap = self._thin(file, untouchable, end)
            return Kept(file.used_bytes(), gap, gap is not None)
        if self._level and used < budget * THIN_BELOW / 2:
            self._level = self._thinned_to = 0
        return Kept(used, None, self._merge(file, untouchable, end))

    def steps(self, file: OutboxFile, untouchable: int) -> list[GapReport]:
        """As many steps as are due, for a file that has no room left. What was thinned. Raises StoreError."""
        gaps = []
        self._thinning = self._thinning or file.used_bytes() > file.room_bytes * THIN_BELOW
        for _ in range(_MOST_STEPS):
            kept = self.step(file, untouchable, 0)
            if kept.gap and kept.gap.count:
                gaps.append(kept.gap)
            if not kept.more:
                break
        return gaps

    def _merge(self, file: OutboxFile, untouchable: int, end: int) -> bool:
        start = max(self._merged_to, untouchable)
        if end - start < _STEP_ITEMS:
            return False
        chunks = [c for c in file.load(Lane.TELEMETRY, start, _STEP_ITEMS) if c.first >= start]
        if not chunks:
            return False
        self._merged_to = chunks[-1].first + chunks[-1].span
        if len(chunks) > 1 or not chunks[0].body.startswith(zstd.MAGIC):
            file.replace(Lane.TELEMETRY, chunks, merge(chunks))
        return end - self._merged_to >= _STEP_ITEMS

    def _thin(self, file: OutboxFile, untouchable: int, end: int) -> GapReport | None:
        while True:
            start = max(self._thinned_to, untouchable)
            found = file.load(Lane.TELEMETRY, start, _STEP_ITEMS) if start < end else []
            chunks = [c for c in found if c.first >= start and c.first + c.span <= end]
            if chunks:
                break
            if self._level + 1 == len(LEVELS_MS):
                return None
            self._level += 1
            self._thinned_to = 0
            self._periods.clear()
        last = chunks[-1].first + chunks[-1].span >= file.totals[Lane.TELEMETRY].next
        thinned, from_ms, to_ms = thin(chunks, LEVELS_MS[self._level], self._periods, newest=last)
        file.replace(Lane.TELEMETRY, chunks, thinned)
        self._thinned_to = chunks[-1].first + chunks[-1].span
        dropped = sum(c.items for c in chunks) - sum(c.items for c in thinned)
        return GapReport(Lane.TELEMETRY, file.epoch, dropped, GapReason.THINNED, from_ms, to_ms)
