"""The outbox's north side: what the uplink sends next of each lane, and how far the cloud has it.

Owns the chunks that stand ready in memory, the leases, and the acknowledgements that wait for a commit to travel with.
What the disk could not take goes first. Reads from disk by the writer; must not know when and how commits are made:
`outbox` says what was committed and what became of the file. Everything here runs in the event loop.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from edge.outbox_file import CorruptError
from edge.outbox_parts import Ready, leased
from firmware_specs.errors import StoreError
from firmware_specs.readings import Lane
from firmware_specs.wire import MAX_PACK_ITEMS, LaneStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge.outbox_file import Chunk, OutboxFile
    from edge.outbox_parts import Lease, Writer
    from edge.outbox_refused import Fallback
    from firmware_specs.wire import Ack

_log: structlog.stdlib.BoundLogger = structlog.get_logger("outbox")


class North:
    """See the module. `on_change` is called when there may be more to lease."""

    def __init__(
        self,
        writer: Writer,
        fallback: Fallback,
        refused: Callable[[StoreError], None],
        acknowledged: Callable[[], None],
    ) -> None:
        """refused: told that the disk could not be read. acknowledged: told that the cloud has more."""
        self._writer = writer
        self._fallback = fallback
        self._refused = refused
        self._acknowledged = acknowledged
        self.file: OutboxFile | None = None
        """What is read from; None before there is any, and when it is damaged."""
        self._ready = {lane: Ready(1) for lane in Lane}
        self.acked: dict[Lane, int] = {}
        """How far the cloud has a lane of the file, where the next commit has yet to delete it."""
        self.on_change: Callable[[], None] = lambda: None

    @property
    def epoch(self) -> str:
        """Of the file; empty while there is none."""
        return self.file.epoch if self.file else ""

    # what the south side says

    def adopt(self, file: OutboxFile) -> None:
        """Serve from this file from now on; from its beginning when it is not the one before, opened again."""
        if self.epoch != file.epoch:
            self._ready = {lane: Ready(file.oldest(lane)) for lane in Lane}
            self.acked = {}
        self.file = file

    def leave(self) -> None:
        """The file is damaged: nothing is read from it any more."""
        self.file = None

    def put(self, chunks: Iterable[tuple[Lane, Chunk]]) -> None:
        """Take what a commit has brought."""
        for lane, chunk in chunks:
            self._ready[lane].put(chunk)

    def take_acked(self) -> dict[Lane, int]:
        """The acknowledgements, for a commit to fold in."""
        acked, self.acked = self.acked, {}
        return acked

    def give_back(self, acked: dict[Lane, int]) -> None:
        """The commit that would have folded these in has failed."""
        self.acked = {**acked, **self.acked}

    def stand_aside(self) -> int:
        """Let the keeper have all telemetry but what is on its way to the cloud; from which sequence on that is."""
        ready = self._ready[Lane.TELEMETRY]
        ready.loading = True
        if ready.lease is None:
            ready.forget()
        return max(ready.end, ready.lease.through + 1 if ready.lease else 0)

    @property
    def stands_aside(self) -> bool:
        """Whether telemetry is being read from disk, or is the keeper's."""
        return self._ready[Lane.TELEMETRY].loading

    def step_back(self) -> None:
        """The keeper is done."""
        self._ready[Lane.TELEMETRY].loading = False

    # what the uplink asks

    def has(self, lane: Lane) -> bool:
        """Whether anything of a lane waits for the uplink."""
        ready, file = self._ready[lane], self.file
        return bool(self._fallback.waiting(lane)) or (file is not None and ready.cursor < file.totals[lane].next)

    def lease(self, lane: Lane) -> Lease | None:
        """The oldest of a lane as one pack, or None when nothing waits or it has yet to be read from disk.

        The same again until it is acknowledged.
        """
        live = self._fallback.lease(lane)
        if live:
            return live
        ready = self._ready[lane]
        if ready.lease is None and self.file:
            if ready.chunks:
                try:
                    ready.lease = leased(self.file.epoch, lane, ready.chunks, ready.cursor)
                except CorruptError as e:
                    self._refused(e)
            elif ready.cursor < self.file.totals[lane].next and not ready.loading and not self._fallback.reason:
                ready.loading = True
                file, first = self.file, ready.cursor
                self._writer.submit(partial(file.load, lane, first, MAX_PACK_ITEMS), partial(self._loaded, file, lane))
        return ready.lease

    def _loaded(self, file: OutboxFile, lane: Lane, result: list[Chunk] | StoreError) -> None:
        ready = self._ready[lane]
        ready.loading = False
        if file is not self.file:
            return
        if isinstance(result, StoreError):
            self._refused(result)
            return
        chunks = [chunk for chunk in result if chunk.first + chunk.span > ready.cursor]
        if chunks and not ready.chunks:
            ready.end = chunks[0].first
        for chunk in chunks:
            ready.put(chunk)
        if chunks:
            self.on_change()

    def position(self, lane: Lane) -> tuple[str, int]:
        """The epoch and the sequence that the next item of an idle lane will have: what a canary says."""
        file = self.file
        return (file.epoch, file.totals[lane].next) if file else (self._fallback.epoch, 1)

    def acknowledge(self, ack: Ack) -> bool:
        """The cloud has committed a lane of an epoch up to `through`. False when it is not ours to believe."""
        lane, through = ack.lane, ack.through
        if ack.epoch == self._fallback.epoch:
            self._fallback.acknowledge(lane, through)
            self._acknowledged()
            return True
        file, ready = self.file, self._ready[lane]
        if file is None or ack.epoch != file.epoch:
            return False
        if through >= file.totals[lane].next:
            self._fell_back(file, lane, through)
            return False
        if through < ready.cursor:
            return True
        ready.drop_through(through)
        if ready.lease and through >= ready.lease.first:
            ready.lease = None
        self.acked[lane] = max(through, self.acked.get(lane, 0))
        self._acknowledged()
        return True

    def _fell_back(self, file: OutboxFile, lane: Lane, through: int) -> None:
        """The cloud has more than we wrote: the disk lost what it had confirmed. Go on above what the cloud has."""
        ready = self._ready[lane]
        if ready.loading or self._writer.busy or self._fallback.reason:
            return
        _log.error("outbox fell back", lane=lane.value, ours=file.totals[lane].next - 1, cloud=through)
        ready.loading = True
        ready.lease = None
        ready.forget()
        self._writer.submit(partial(file.skip_to, lane, through + 1), partial(self._skipped, file, lane))

    def _skipped(self, file: OutboxFile, lane: Lane, result: int | StoreError) -> None:
        if isinstance(result, StoreError):
            self._ready[lane].loading = False
            self._refused(result)
        elif file is self.file:
            self._ready[lane] = Ready(result)
            self.on_change()

    def status(self) -> dict[str, LaneStatus]:
        """What waits, by lane."""
        lanes = {}
        for lane in Lane:
            totals = self.file.totals[lane] if self.file else None
            live = self._fallback.waiting(lane)
            lanes[lane.value] = LaneStatus(
                waiting=live + (totals.waiting if totals else 0),
                bytes=totals.bytes if totals else 0,
                oldest_ms=totals.oldest_ms if totals else 0,
                thinned=totals.thinned if totals else 0,
            )
        return lanes
