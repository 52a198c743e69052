"""The outbox: nothing counts before it is on disk, nothing is deleted before the cloud has it.

Owns the order of commits (one at a time, in a thread of its own; what comes meanwhile is the next commit, so a slow
disk makes larger groups and a fast one none), the window of chunks that stand ready for the uplink, and what
happens while the disk refuses (`outbox_refused`). Must not know devices, rules or MQTT. Everything here runs in the
event loop; only the jobs that are handed to the writer run elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from edge.outbox_file import DISK_FULL, Chunk, CorruptError, OutboxFile
from edge.outbox_keep import Keeper, Kept
from edge.outbox_open import open_outbox, write_note
from edge.outbox_parts import Batch, Committed, Lease, Ready, Writer, leased
from edge.outbox_refused import Begun, Fallback, set_aside, try_again
from firmware_specs.errors import StoreError
from firmware_specs.readings import GapReport, Lane
from firmware_specs.wire import MAX_PACK_ITEMS, LaneStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from firmware_specs.readings import Item, Reading
    from firmware_specs.wire import Ack

_MAX_UNCOMMITTED: Final = 50_000
"""Readings in memory at which devices that can be held back are."""
_SMALL: Final = 200
"""Items of a commit that is not worth a thread."""
_FOLD_S: Final = 1.0
"""How long an acknowledgement may wait for a commit to travel with; a crash before only causes repeats."""
_RETRY_S: Final = 1.0
_KEEP_S: Final = 2.0
_log: structlog.stdlib.BoundLogger = structlog.get_logger("outbox")
_Written = tuple[list[tuple[Lane, Chunk]], dict[Lane, int]]


class Outbox:
    """See the module. `open` first; `on_change` is called after every commit and every chunk that is ready."""

    def __init__(
        self, folder: Path, boot: str, *, budget_bytes: int = 400_000_000, linger_s: float = 0.0, vfs: str | None = None
    ) -> None:
        """budget_bytes: of file and journal. linger_s: how long telemetry may wait for company before a commit."""
        self._budget = budget_bytes
        self._keeper = Keeper(budget_bytes)
        self._most = min(_MAX_UNCOMMITTED, budget_bytes // 2000)
        self._folder = folder
        self._boot = boot
        self._linger_s = linger_s
        self._vfs = vfs
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(self._loop)
        self._file: OutboxFile | None = None
        self._batch = Batch()
        self._committing = 0
        """Items of the commit that runs, and one, or none."""
        self._taken = self._settled = 0
        """How many batches were taken up, and how many of them are dealt with."""
        self._flush_at: asyncio.Handle | None = None
        self._hurried = False
        self._held = False
        self._acked: dict[Lane, int] = {}
        self._folded_at = 0.0
        self._fold_at: asyncio.TimerHandle | None = None
        self._ready = {lane: Ready(1) for lane in Lane}
        self._fallback = Fallback(boot)
        self._probe_at: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._used_bytes = 0
        self._grown = 0
        self._keep_now = asyncio.Event()
        self._step = asyncio.Event()
        self._after: list[Callable[[], None]] = []
        self.on_change: Callable[[], None] = lambda: None
        self.on_new_file: Callable[[], dict[str, bytes | None]] = dict
        """Asked for all states when a new file has to begin."""

    # opening and closing

    async def open(self) -> tuple[dict[str, bytes], bytes]:
        """Open the file. The states and the marks that it keeps; nothing while the disk refuses."""
        try:
            return await self._open()
        except StoreError as e:
            self._degrade(e)
            return {}, b""

    async def _open(self) -> tuple[dict[str, bytes], bytes]:
        def job() -> tuple[OutboxFile, list[GapReport], dict[str, bytes], bytes]:
            file, gaps = open_outbox(self._folder, vfs=self._vfs, max_bytes=self._budget)
            return file, gaps, file.state(), file.marks()

        file, gaps, state, marks = await self._writer.run(job)
        self._adopt(file, gaps)
        return state, marks

    def _adopt(self, file: OutboxFile, gaps: Sequence[GapReport]) -> None:
        for gap in gaps:
            _log.warning("outbox set aside", lane=gap.lane.value, lost=gap.count, epoch=gap.epoch)
        if self._file is None or self._file.epoch != file.epoch:
            self._ready = {lane: Ready(file.oldest(lane)) for lane in Lane}
            self._acked = {}
        self._file = file
        if gaps:
            self._batch.alarms += gaps
            self._schedule(hurry=True)

    async def close(self) -> None:
        """Commit what is there and close the file."""
        self._closing = True
        self._flush()
        await self.settled()
        for handle in (self._fold_at, self._probe_at):
            if handle:
                handle.cancel()
        if self._file and not self.degraded:
            await self._writer.run(partial(self._last_fold, self._file, dict(self._acked)))
        self._writer.stop()
        await asyncio.get_running_loop().run_in_executor(None, self._writer.thread.join)

    def _last_fold(self, file: OutboxFile, acked: dict[Lane, int]) -> None:
        file.commit((), {}, b"", acked)
        write_note(self._folder, file)
        file.close()

    async def settled(self) -> None:
        """Return when all that was added so far is committed, or is kept in memory because the disk refuses."""
        last = self._taken + bool(self._batch)
        while self._settled < last:
            if self.degraded and not self._committing:
                self._flush()
            else:
                self._step.clear()
                await self._step.wait()

    @property
    def degraded(self) -> str:
        """One line while the disk refuses, else empty."""
        return self._fallback.reason

    @property
    def dropped(self) -> int:
        """Readings lost since the start because neither disk nor memory could take them and nobody sends them again."""
        return self._fallback.dropped

    @property
    def epoch(self) -> str:
        """Of the file; empty while there is none."""
        return self._file.epoch if self._file else ""

    @property
    def used_bytes(self) -> int:
        """What the file takes of its budget, as last measured."""
        return self._used_bytes

    @property
    def alive(self) -> bool:
        """Whether the writer's thread lives."""
        return self._writer.thread.is_alive()

    # the south side

    def add(
        self,
        telemetry: Sequence[Reading],
        alarms: Sequence[Item],
        state: dict[str, bytes | None] | None = None,
        mark: int = 0,
        committed: Committed | None = None,
    ) -> None:
        """Keep this with the next commit; `committed` is told when it is safe, or False that it never will be."""
        batch = self._batch
        if telemetry:
            batch.telemetry += telemetry
        if alarms:
            batch.alarms += alarms
        if state:
            batch.state.update(state)
        if mark:
            batch.marks.append(mark)
        if committed:
            batch.callbacks.append(committed)
        if len(batch.telemetry) > self._most:
            self._room.clear()
        if not self._held and (self._flush_at is None or (alarms and not self._hurried)):
            self._schedule(hurry=bool(alarms))

    def takes(self, *, awaited: bool) -> bool:
        """Whether the readings of one more frame can be kept at all; to be asked before they are judged.

        awaited: whether the sender waits for our word and sends the frame again when it is not kept.
        """
        return not self.degraded or self._fallback.takes(len(self._batch.telemetry), awaited=awaited)

    def drop(self, readings: int) -> None:
        """Count readings that cannot be kept and that nobody sends again."""
        self._fallback.dropped += readings

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call this once when all that a commit has to tell is told; for what acts on many of them at once."""
        self._after.append(callback)

    def hold(self) -> None:
        """More follows at once: begin no commit before `release`."""
        self._held = True

    def release(self) -> None:
        """The group that began with `hold` is complete."""
        self._held = False
        if self._linger_s or self._flush_at:
            self._schedule(hurry=bool(self._batch.alarms))
        else:
            self._flush()

    @property
    def is_full(self) -> bool:
        """Whether devices that can be held back should be; `ready` tells when it is over."""
        return not self._room.is_set()

    async def ready(self) -> None:
        """Return when more can be taken."""
        await self._room.wait()

    def _schedule(self, *, hurry: bool) -> None:
        if self._flush_at:
            self._flush_at.cancel()
        self._hurried = hurry or not self._linger_s
        self._flush_at = (
            self._loop.call_soon(self._flush) if self._hurried else self._loop.call_later(self._linger_s, self._flush)
        )

    def _flush(self) -> None:
        """Begin a commit unless one runs; its end begins the next."""
        self._flush_at = None
        if self._committing or not (self._batch or self._fold_due()):
            return
        batch, self._batch = self._batch, Batch()
        self._taken += 1
        if self.degraded or self._file is None:
            self._settled += 1
            self._go_live(batch)
            return
        acked = {}
        if self._fold_due():
            acked, self._acked = self._acked, {}
            self._folded_at = self._loop.time()
        self._committing = 1 + len(batch.telemetry) + len(batch.alarms)
        self._writer.commit(
            partial(self._write, self._file, batch, acked),
            partial(self._written, batch, acked),
            small=self._committing < _SMALL,
        )

    def _fold_due(self) -> bool:
        return bool(self._acked) and self._loop.time() - self._folded_at >= _FOLD_S / 4

    def _write(self, file: OutboxFile, batch: Batch, acked: dict[Lane, int]) -> list[tuple[Lane, Chunk]]:
        at_ms = time.time_ns() // 1_000_000
        following = {lane: totals.next for lane, totals in file.totals.items()}
        marks = b"".join([mark.to_bytes(8, "little") for mark in batch.marks])
        chunks = []
        for lane, items, body in batch.encode():
            chunks.append((lane, Chunk(following[lane], items, items, self._boot, at_ms, body, marks)))
            following[lane] += items
            marks = b""
        file.commit(chunks, batch.state, marks, acked)
        return chunks

    def _written(
        self,
        batch: Batch,
        acked: dict[Lane, int],
        result: list[tuple[Lane, Chunk]] | StoreError,
        retried: bool = False,
    ) -> None:
        if isinstance(result, StoreError) and result.reason == DISK_FULL and not retried and self._file:
            untouchable = self._stand_aside()
            job = partial(self._make_room, self._file, untouchable, batch, acked)
            self._writer.submit(job, partial(self._room_made, batch, acked))
            return
        self._committing = 0
        self._settled += 1
        self._step.set()
        if isinstance(result, StoreError):
            self._acked = {**acked, **self._acked}
            self._refused(batch, result)
            return
        for lane, chunk in result:
            self._ready[lane].put(chunk)
            self._grown += len(chunk.body)
        if self._grown > self._budget // 50:
            self._keep_now.set()
        for committed in batch.callbacks:
            committed(True)
        if self._after:
            after, self._after = self._after, []
            for callback in after:
                callback()
        self._room.set()
        if result:
            self.on_change()
        if self._batch and self._flush_at is None:
            self._flush()

    def _make_room(
        self, file: OutboxFile, untouchable: int, batch: Batch, acked: dict[Lane, int]
    ) -> tuple[list[tuple[Lane, Chunk]], list[GapReport]]:
        """The file is full: thin it and try once more. A disk that is full of other things still refuses."""
        gaps = self._keeper.steps(file, untouchable)
        return self._write(file, batch, acked), gaps

    def _room_made(
        self,
        batch: Batch,
        acked: dict[Lane, int],
        result: tuple[list[tuple[Lane, Chunk]], list[GapReport]] | StoreError,
    ) -> None:
        self._ready[Lane.TELEMETRY].loading = False
        if isinstance(result, StoreError):
            self._written(batch, acked, result, retried=True)
            return
        chunks, gaps = result
        self._batch.alarms += gaps
        self._written(batch, acked, chunks)

    # the budget

    async def keep(self) -> None:
        """Measure, merge and thin, a step at a time, until cancelled."""
        while True:
            more = False
            ready, file = self._ready[Lane.TELEMETRY], self._file
            if file and not self.degraded and not ready.loading:
                self._grown = 0
                untouchable = self._stand_aside()
                try:
                    kept = await self._writer.run(partial(self._keep_step, file, untouchable))
                except StoreError as e:
                    if file is self._file:
                        self._refused(Batch(), e)
                else:
                    more = kept.more
                    self._used_bytes = kept.used_bytes
                    if kept.gap and kept.gap.count:
                        self.add((), (kept.gap,))
                finally:
                    ready.loading = False
                self.on_change()
            self._keep_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02 if more else _KEEP_S):
                    await self._keep_now.wait()

    def _stand_aside(self) -> int:
        """Let the keeper have all telemetry but what is on its way to the cloud; from which sequence on that is."""
        ready = self._ready[Lane.TELEMETRY]
        ready.loading = True
        if ready.lease is None:
            ready.forget()
        return max(ready.end, ready.lease.through + 1 if ready.lease else 0)

    def _keep_step(self, file: OutboxFile, untouchable: int) -> Kept:
        kept = self._keeper.step(file, untouchable)
        write_note(self._folder, file)
        return kept

    # the disk refuses

    def _refused(self, batch: Batch, error: StoreError) -> None:
        file = self._file
        self._degrade(error)
        if isinstance(error, CorruptError) and file:
            self._file = None
            self._writer.submit(partial(set_aside, file, self._folder, self._vfs, self._budget), self._begun)
        self._go_live(batch)

    def _degrade(self, error: StoreError) -> None:
        self._fallback.begin(error)
        if not self._closing:
            self._probe_at = self._loop.call_later(_RETRY_S, self._probe)

    def _go_live(self, batch: Batch) -> None:
        """Send from memory, and hold back who can be when that is full."""
        if not self._fallback.has_room:
            self._room.clear()
        self._fallback.take(batch)
        self.on_change()

    def _probe(self) -> None:
        """Try the disk again, with the states that could not be kept."""
        if not self.degraded:
            return
        if self._committing:
            self._probe_at = self._loop.call_later(_RETRY_S, self._probe)
        else:
            job = partial(
                try_again, self._file, self._folder, self._vfs, self._budget,
                keeper=self._keeper, untouchable=self._stand_aside(), states=self._fallback.states(),
            )  # fmt: skip
            self._writer.submit(job, self._begun)

    def _begun(self, result: Begun | StoreError) -> None:
        self._ready[Lane.TELEMETRY].loading = False
        if isinstance(result, StoreError):
            self._degrade(result)
            return
        file, gaps = result
        renewed = self._file is None or self._file.epoch != file.epoch
        gaps = [*gaps, *self._fallback.end(file.epoch)]
        self._room.set()
        self._adopt(file, gaps)
        if renewed:
            self._batch.state = {**self.on_new_file(), **self._batch.state}
        self._schedule(hurry=True)

    # the north side

    def has(self, lane: Lane) -> bool:
        """Whether anything of a lane waits for the uplink."""
        ready, file = self._ready[lane], self._file
        return bool(self._fallback.waiting(lane)) or (file is not None and ready.cursor < file.totals[lane].next)

    def lease(self, lane: Lane) -> Lease | None:
        """The oldest of a lane as one pack, or None when nothing waits or it has yet to be read from disk.

        The same again until it is acknowledged.
        """
        live = self._fallback.lease(lane)
        if live:
            return live
        ready = self._ready[lane]
        if ready.lease is None and self._file:
            if ready.chunks:
                try:
                    ready.lease = leased(self._file.epoch, lane, ready.chunks, ready.cursor)
                except CorruptError as e:
                    self._refused(Batch(), e)
            elif ready.cursor < self._file.totals[lane].next and not ready.loading and not self.degraded:
                ready.loading = True
                file, first = self._file, ready.cursor
                self._writer.submit(partial(file.load, lane, first, MAX_PACK_ITEMS), partial(self._loaded, file, lane))
        return ready.lease

    def _loaded(self, file: OutboxFile, lane: Lane, result: list[Chunk] | StoreError) -> None:
        ready = self._ready[lane]
        ready.loading = False
        if isinstance(result, StoreError):
            if file is self._file:
                self._refused(Batch(), result)
            return
        if file is not self._file:
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
        file = self._file
        return (file.epoch, file.totals[lane].next) if file else (self._fallback.epoch, 1)

    def acknowledge(self, ack: Ack) -> bool:
        """The cloud has committed a lane of an epoch up to `through`. False when it is not ours to believe."""
        lane, through = ack.lane, ack.through
        if ack.epoch == self._fallback.epoch:
            self._fallback.acknowledge(lane, through)
            if self._fallback.has_room:
                self._room.set()
            return True
        file, ready = self._file, self._ready[lane]
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
        self._acked[lane] = max(through, self._acked.get(lane, 0))
        if self._fold_at is None and not self._closing:
            self._fold_at = self._loop.call_later(_FOLD_S, self._fold)
        return True

    def _fell_back(self, file: OutboxFile, lane: Lane, through: int) -> None:
        """The cloud has more than we wrote: the disk lost what it had confirmed. Go on above what the cloud has."""
        ready = self._ready[lane]
        if ready.loading or self._committing or self.degraded:
            return
        _log.error("outbox fell back", lane=lane.value, ours=file.totals[lane].next - 1, cloud=through)
        ready.loading = True
        ready.lease = None
        ready.forget()
        self._writer.submit(partial(file.skip_to, lane, through + 1), partial(self._skipped, file, lane))

    def _skipped(self, file: OutboxFile, lane: Lane, result: int | StoreError) -> None:
        if isinstance(result, StoreError):
            self._ready[lane].loading = False
            self._refused(Batch(), result)
        elif file is self._file:
            self._ready[lane] = Ready(result)
            self.on_change()

    def _fold(self) -> None:
        self._fold_at = None
        if self._acked and not self._committing and not self.degraded:
            self._flush()

    def status(self) -> dict[str, LaneStatus]:
        """What waits, by lane."""
        lanes = {}
        for lane in Lane:
            totals = self._file.totals[lane] if self._file else None
            live = self._fallback.waiting(lane)
            lanes[lane.value] = LaneStatus(
                waiting=live + (totals.waiting if totals else 0),
                bytes=totals.bytes if totals else 0,
                oldest_ms=totals.oldest_ms if totals else 0,
                thinned=totals.thinned if totals else 0,
            )
        return lanes
