"""What the outbox does while the disk refuses: send from memory, remember the states, count what nothing could take.

Owns the lane of memory (`outbox_live`) with its leases, the states that await a disk, the count of what was dropped,
and the two jobs by which a file comes back. Must not know when they run: `outbox` asks the disk again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from edge.outbox_file import DISK_FULL
from edge.outbox_live import LiveLane
from edge.outbox_open import drop_damaged, open_outbox, quarantine
from edge.outbox_parts import leased
from firmware_specs.errors import StoreError
from firmware_specs.readings import GapReason, GapReport, Lane

if TYPE_CHECKING:
    from pathlib import Path

    from edge.outbox_file import OutboxFile
    from edge.outbox_keep import Keeper
    from edge.outbox_parts import Batch, Lease

_TRIAL: Final = "trial"
_TRIAL_BYTES: Final = 256 * 1024
"""A commit that a disk must take before it is believed: one that has room for a state only would refuse the next
readings, and so every second."""
_log: structlog.stdlib.BoundLogger = structlog.get_logger("outbox")
Begun = tuple["OutboxFile", list[GapReport]]


class Fallback:
    """See the module. One for the life of an outbox."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._live = LiveLane()
        self._leases: dict[Lane, Lease] = {}
        self._states: dict[str, bytes | None] = {}
        self._told = 0
        self.reason = ""
        """One line while the disk refuses, else empty."""
        self.dropped = 0
        """Readings that neither disk nor memory could take and nobody sends again."""

    def begin(self, error: StoreError) -> None:
        """The disk has refused, perhaps again."""
        if not self.reason:
            _log.error("outbox degraded", reason=error.reason)
        self.reason = f"{error.store}: {error.reason}"

    def end(self, epoch: str) -> list[GapReport]:
        """The disk takes again; what it has to keep about the time between."""
        gaps = []
        if self.dropped > self._told:
            gaps = [GapReport(Lane.TELEMETRY, self._live.epoch, self.dropped - self._told, GapReason.THINNED)]
            self._told = self.dropped
        self._states.clear()
        self.reason = ""
        _log.info("outbox recovered", epoch=epoch)
        return gaps

    # memory

    @property
    def epoch(self) -> str:
        """Of what is in memory."""
        return self._live.epoch

    @property
    def has_room(self) -> bool:
        """Whether devices that can be held back need not be."""
        return self._live.has_room(Lane.TELEMETRY)

    def states(self) -> dict[str, bytes | None]:
        """What has changed since the disk refused."""
        return dict(self._states)

    def takes(self, more: int, *, awaited: bool) -> bool:
        """Whether memory can take a frame beside `more` readings; see `LiveLane.has_any_room`."""
        return self._live.has_any_room(Lane.TELEMETRY, more, awaited=awaited)

    def take(self, batch: Batch) -> None:
        """Send a batch from memory."""
        self._states.update(batch.state)
        at_ms = time.time_ns() // 1_000_000
        self._live.add(batch.encode(), self._boot, at_ms, batch.callbacks)

    def waiting(self, lane: Lane) -> int:
        """Items of a lane."""
        return self._live.waiting[lane]

    def lease(self, lane: Lane) -> Lease | None:
        """See `Outbox.lease`."""
        lease = self._leases.get(lane)
        if lease is None and (chunks := self._live.chunks(lane)):
            lease = self._leases[lane] = leased(self._live.epoch, lane, chunks, chunks[0].first)
        return lease

    def acknowledge(self, lane: Lane, through: int) -> None:
        """The cloud has a lane up to `through`."""
        lease = self._leases.get(lane)
        self._live.acknowledge(lane, through)
        if lease and through >= lease.through:
            del self._leases[lane]


def set_aside(file: OutboxFile, folder: Path, vfs: str | None, budget_bytes: int) -> Begun:
    """Begin another file in the place of a damaged one; what was lost with it. Raises StoreError."""
    file.close()
    gaps = quarantine(folder)
    return open_outbox(folder, vfs=vfs, max_bytes=budget_bytes)[0], gaps


def try_again(
    old: OutboxFile | None,
    folder: Path,
    vfs: str | None,
    budget_bytes: int,
    *,
    keeper: Keeper,
    untouchable: int,
    states: dict[str, bytes | None],
    acked: dict[Lane, int],
) -> Begun:
    """Open the file again, make room, commit the states that could not be kept, and see that there is room for more.

    acked: what the cloud has of the old file. Raises StoreError.
    """
    if old:
        old.close()
    try:
        file, gaps = open_outbox(folder, vfs=vfs, max_bytes=budget_bytes)
    except StoreError as e:
        _spare(folder, e)
        raise
    try:
        gaps += keeper.steps(file, untouchable)
        file.commit((), states, b"", acked if old and old.epoch == file.epoch else {})
        file.commit((), {_TRIAL: bytes(_TRIAL_BYTES)}, b"", {})
        file.commit((), {_TRIAL: None}, b"", {})
    except StoreError as e:
        file.close()  # else the next try finds it in use
        _spare(folder, e)
        raise
    return file, gaps


def _spare(folder: Path, error: StoreError) -> None:
    """On a disk that is full, what was damaged makes room for what is not."""
    if error.reason == DISK_FULL:
        drop_damaged(folder, keep=0)
