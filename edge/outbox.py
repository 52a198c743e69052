"""The outbox: nothing counts before it is on disk, nothing is deleted before the cloud has it.

Owns the order of commits (one at a time, in a thread of its own; what comes meanwhile is the next commit, so a slow
disk makes larger groups and a fast one none), and when to ask a disk again that refuses (`outbox_refused`). The uplink
has its own side of it, `north`. Must not know devices, rules or MQTT. Everything here runs in the event loop; only the
jobs that are handed to the writer run elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from edge.outbox_budget import Budget
from edge.outbox_file import DISK_FULL, Chunk, CorruptError, OutboxFile
from edge.outbox_keep import Keeper
from edge.outbox_north import North
from edge.outbox_open import open_outbox, write_note
from edge.outbox_parts import Batch, Committed, Writer
from edge.outbox_refused import Begun, Fallback, set_aside, try_again
from firmware_specs.errors import StoreError
from firmware_specs.readings import GapReport, Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from firmware_specs.readings import Item, Reading

_MAX_UNCOMMITTED: Final = 50_000
"""Readings in memory at which devices that can be held back are."""
_SMALL: Final = 200
"""Items of a commit that is not worth a thread."""
_FOLD_S: Final = 1.0
"""How long an acknowledgement may wait for a commit to travel with; a crash before only causes repeats."""
_RETRY_S: Final = 1.0
_log: structlog.stdlib.BoundLogger = structlog.get_logger("outbox")
_Chunks = list[tuple[Lane, Chunk]]


class Outbox:
    """See the module. `open` first."""

    def __init__(
        self, folder: Path, boot: str, *, budget_bytes: int = 400_000_000, linger_s: float = 0.0, vfs: str | None = None
    ) -> None:
        """budget_bytes: of file and journal. linger_s: how long telemetry may wait for company before a commit."""
        self._budget_bytes = budget_bytes
        self._keeper = Keeper(budget_bytes)
        self._most = min(_MAX_UNCOMMITTED, budget_bytes // 2000)
        self._folder = folder
        self._boot = boot
        self._linger_s = linger_s
        self._vfs = vfs
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(self._loop)
        self._batch = Batch()
        self._committing = 0
        """Items of the commit that runs, and one, or none."""
        self._taken = self._settled = 0
        """How many batches were taken up, and how many of them are dealt with."""
        self._flush_at: asyncio.Handle | None = None
        self._hurried = False
        self._held = False
        self._folded_at = 0.0
        self._fold_at: asyncio.TimerHandle | None = None
        self._fallback = Fallback(boot)
        self.north = North(self._writer, self._fallback, partial(self._refused, Batch()), self._acknowledged)
        self.budget = Budget(
            self._keeper, folder, self._writer, self.north, lambda: self.degraded,
            refused=partial(self._refused, Batch()), thinned=lambda gap: self.add((), (gap,)),
        )  # fmt: skip
        self._probe_at: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._step = asyncio.Event()
        self._after: list[Callable[[], None]] = []
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
            file, gaps = open_outbox(self._folder, vfs=self._vfs, max_bytes=self._budget_bytes)
            return file, gaps, file.state(), file.marks()

        file, gaps, state, marks = await self._writer.run(job)
        self._adopt(file, gaps)
        return state, marks

    def _adopt(self, file: OutboxFile, gaps: Sequence[GapReport]) -> None:
        for gap in gaps:
            _log.warning("outbox set aside", lane=gap.lane.value, lost=gap.count, epoch=gap.epoch)
        self.north.adopt(file)
        if gaps:
            self._batch.alarms += gaps
            self._schedule(hurry=True)

    async def close(self) -> None:
        """Commit what is there and close the file."""
        self._closing = True
        if not self.alive:  # whoever waited for its commits would wait for ever
            return
        self._flush()
        await self.settled()
        for handle in (self._fold_at, self._probe_at):
            if handle:
                handle.cancel()
        if self.north.file and not self.degraded:
            with contextlib.suppress(StoreError):  # what it would have folded is only sent again
                await self._writer.run(partial(self._last_fold, self.north.file, self.north.take_acked()))
        self._writer.stop()
        await self._loop.run_in_executor(None, self._writer.thread.join)

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
    def alive(self) -> bool:
        """Whether commits are made; a defect in one ends them."""
        return self._writer.alive

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
        """Call this once when all that a commit, or the cloud's word on what no disk holds, has to tell is told.

        For what acts on many of them at once.
        """
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
        file = self.north.file
        if self.degraded or file is None:
            self._settled += 1
            self._go_live(batch)
            return
        acked = {}
        if self._fold_due():
            acked = self.north.take_acked()
            self._folded_at = self._loop.time()
        self._committing = 1 + len(batch.telemetry) + len(batch.alarms)
        self._writer.commit(
            partial(self._write, file, batch, acked),
            partial(self._written, batch, acked),
            small=self._committing < _SMALL,
        )

    def _fold_due(self) -> bool:
        return bool(self.north.acked) and self._loop.time() - self._folded_at >= _FOLD_S / 4

    def _write(self, file: OutboxFile, batch: Batch, acked: dict[Lane, int]) -> _Chunks:
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
        self, batch: Batch, acked: dict[Lane, int], result: _Chunks | StoreError, retried: bool = False
    ) -> None:
        file = self.north.file
        if isinstance(result, StoreError) and result.reason == DISK_FULL and not retried and file:
            job = partial(self._make_room, file, self.north.stand_aside(), batch, acked)
            self._writer.submit(job, partial(self._room_made, batch, acked))
            return
        self._committing = 0
        self._settled += 1
        self._step.set()
        if isinstance(result, StoreError):
            self.north.give_back(acked)
            self._refused(batch, result)
            return
        self.north.put(result)
        self.budget.grown(sum(len(chunk.body) for _, chunk in result))
        for committed in batch.callbacks:
            committed(True)
        self._told()
        self._room.set()
        if result:
            self.north.on_change()
        if self._batch and self._flush_at is None:
            self._flush()

    def _told(self) -> None:
        """All that there is to tell for now was told."""
        after, self._after = self._after, []
        for callback in after:
            callback()

    def _make_room(
        self, file: OutboxFile, untouchable: int, batch: Batch, acked: dict[Lane, int]
    ) -> tuple[_Chunks, list[GapReport]]:
        """The file is full: thin it and try once more. A disk that is full of other things still refuses."""
        gaps = self._keeper.steps(file, untouchable)
        return self._write(file, batch, acked), gaps

    def _room_made(
        self, batch: Batch, acked: dict[Lane, int], result: tuple[_Chunks, list[GapReport]] | StoreError
    ) -> None:
        self.north.step_back()
        if isinstance(result, StoreError):
            self._written(batch, acked, result, retried=True)
            return
        chunks, gaps = result
        self._batch.alarms += gaps
        self._written(batch, acked, chunks)

    # the disk refuses

    def _refused(self, batch: Batch, error: StoreError) -> None:
        file = self.north.file
        self._degrade(error)
        if isinstance(error, CorruptError) and file:
            self.north.leave()
            self._writer.submit(partial(set_aside, file, self._folder, self._vfs, self._budget_bytes), self._begun)
        self._go_live(batch)

    def _degrade(self, error: StoreError) -> None:
        self._fallback.begin(error)
        if self._probe_at:
            self._probe_at.cancel()
        if not self._closing:
            self._probe_at = self._loop.call_later(_RETRY_S, self._probe)

    def _go_live(self, batch: Batch) -> None:
        """Send from memory, and hold back who can be when that is full."""
        if not self._fallback.has_room:
            self._room.clear()
        self._fallback.take(batch)
        self._told()
        self.north.on_change()

    def _probe(self) -> None:
        """Try the disk again, with the states that could not be kept."""
        if not self.degraded:
            return
        if self._committing:
            self._probe_at = self._loop.call_later(_RETRY_S, self._probe)
        else:
            job = partial(
                try_again, self.north.file, self._folder, self._vfs, self._budget_bytes, keeper=self._keeper,
                untouchable=self.north.stand_aside(), states=self._fallback.states(), acked=dict(self.north.acked),
            )  # fmt: skip
            self._writer.submit(job, self._begun)

    def _begun(self, result: Begun | StoreError) -> None:
        self.north.step_back()
        if isinstance(result, StoreError):
            self._degrade(result)
            return
        file, gaps = result
        states = self._fallback.states()  # they may have changed while the disk was tried
        if self.north.epoch != file.epoch:
            states = {**self.on_new_file(), **states}
        self._batch.state = {**states, **self._batch.state}
        gaps = [*gaps, *self._fallback.end(file.epoch)]
        self._room.set()
        self._adopt(file, gaps)
        self._schedule(hurry=True)

    # what the uplink says

    def _acknowledged(self) -> None:
        """The cloud has more: let go of it with the next commit, or with one of its own before long."""
        self._told()
        if self.degraded and self._fallback.has_room:
            self._room.set()
        if self.north.acked and self._fold_at is None and not self._closing:
            self._fold_at = self._loop.call_later(_FOLD_S, self._fold)

    def _fold(self) -> None:
        self._fold_at = None
        if self.north.acked and not self._committing and not self.degraded:
            self._flush()
