"""The parts that the outbox is made of: a commit, a lease, the writer's thread, the window for the uplink.

Owns no decision: `outbox` joins them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from edge.outbox_thin import plain_body
from firmware_specs.errors import StoreError
from firmware_specs.readings import Lane
from firmware_specs.wire import MAX_PACK_ITEMS, encode_item

if TYPE_CHECKING:
    import asyncio

    from edge.outbox_file import Chunk
    from firmware_specs.readings import Item

Committed = Callable[[bool], None]
_CHUNK_ITEMS: Final = 2500
_READY_BYTES: Final = 4_000_000
"""Of chunks of a lane that stand ready for the uplink; more is read from disk when it is their turn."""
_PACK_BYTES: Final = 2_000_000
_QUICK_S: Final = 0.003
"""Mean time of a commit up to which the event loop does them itself."""
_SLOW_S: Final = 0.020
_WARY_S: Final = 30.0


class Lease(NamedTuple):
    """What the uplink sends next of a lane. bodies: records joined by commas."""

    epoch: str
    lane: Lane
    first: int
    span: int
    base: int
    boot: str
    bodies: list[bytes]

    @property
    def through(self) -> int:
        """The last sequence number of it."""
        return self.first + self.span - 1


class Batch:
    """What the next commit holds."""

    __slots__ = ("alarms", "callbacks", "marks", "parts", "state", "telemetry")

    def __init__(self) -> None:
        self.alarms: list[Item] = []
        self.telemetry: list[Item] = []
        self.state: dict[str, bytes | None] = {}
        self.marks: list[int] = []
        self.callbacks: list[Committed] = []
        self.parts: list[tuple[Lane, int, bytes]] = []

    def __bool__(self) -> bool:
        return bool(self.telemetry or self.alarms or self.state or self.callbacks)

    def encode(self) -> list[tuple[Lane, int, bytes]]:
        """Lane, items and encoded body of each chunk."""
        if not self.parts:
            for lane, items in ((Lane.ALARMS, self.alarms), (Lane.TELEMETRY, self.telemetry)):
                for start in range(0, len(items), _CHUNK_ITEMS):
                    part = items[start : start + _CHUNK_ITEMS]
                    self.parts.append((lane, len(part), b",".join(map(encode_item, part))))
        return self.parts


class Writer:
    """Who touches the file: a thread of its own, or the event loop itself while the disk is quick.

    Handing a commit over and back costs more than a quick disk takes for it. So while commits take a few
    milliseconds, small ones run where they are asked for; one that takes longer sends the next ones to the thread for
    half a minute, and a slow disk never gets to hold the loop up again. Only one of the two is ever at work.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        self._waiting = 0
        self._failed = False
        self._took_s = _QUICK_S
        self._wary_until = 0.0
        self.thread = threading.Thread(target=self._run, name="outbox-writer", daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        """Whether jobs are done: an error that is none of the store's is a defect, and ends them."""
        return self.thread.is_alive() and not self._failed

    @property
    def busy(self) -> bool:
        """Whether jobs wait."""
        return self._waiting > 0

    def submit(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run a job in the thread and hand its result, or its StoreError, to `done` here."""
        self._waiting += 1
        self._jobs.put((job, done))

    def commit(self, job: Callable[[], Any], done: Callable[[Any], None], *, small: bool) -> None:
        """As `submit`, or here and now when the disk has been quick and the job is small."""
        began = self._loop.time()
        if not small or self._waiting or self._took_s > _QUICK_S or began < self._wary_until:
            self.submit(partial(self._timed, job), done)
            return
        try:
            result = self._timed(job)
        except BaseException:
            self._failed = True
            raise
        done(result)

    def _timed(self, job: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the job returns
        began = time.monotonic()
        try:
            return job()
        except StoreError as e:
            return e
        finally:
            took = time.monotonic() - began
            self._took_s += (took - self._took_s) / 16
            if took > _SLOW_S:
                self._wary_until = began + _WARY_S

    async def run(self, job: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the job returns
        """Run a job in the thread. Raises its StoreError."""
        future = self._loop.create_future()
        self.submit(job, lambda result: None if future.done() else future.set_result(result))
        result = await future
        if isinstance(result, StoreError):
            raise result
        return result

    def stop(self) -> None:
        """End after the jobs at hand."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (pair := self._jobs.get()) is not None:
            job, done = pair
            try:
                result = job()
            except StoreError as e:
                result = e
            self._loop.call_soon_threadsafe(self._done, done, result)

    def _done(self, done: Callable[[Any], None], result: Any) -> None:  # noqa: ANN401 - as above
        self._waiting -= 1
        done(result)


class Ready:
    """The chunks of one lane that are in memory for the uplink: consecutive, from `cursor` on.

    cursor: the first sequence that the cloud may not have. end: what follows the last chunk here.
    """

    __slots__ = ("bytes", "chunks", "cursor", "end", "lease", "loading")

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self.end = cursor
        self.chunks: deque[Chunk] = deque()
        self.bytes = 0
        self.lease: Lease | None = None
        self.loading = False

    def put(self, chunk: Chunk) -> None:
        """Take a chunk that was committed, when it follows and fits; else it waits on disk."""
        if chunk.first == self.end and self.bytes < _READY_BYTES and not self.loading:
            self.chunks.append(chunk)
            self.bytes += len(chunk.body)
            self.end += chunk.span

    def drop_through(self, through: int) -> None:
        """The cloud has everything up to `through`."""
        while self.chunks and self.chunks[0].first + self.chunks[0].span - 1 <= through:
            self.bytes -= len(self.chunks.popleft().body)
        self.cursor = max(self.cursor, through + 1)
        if not self.chunks:
            self.end = self.cursor
            self.bytes = 0

    def forget(self) -> None:
        """Read everything from disk again when it is its turn."""
        self.chunks.clear()
        self.bytes = 0
        self.end = self.cursor


def leased(epoch: str, lane: Lane, chunks: Sequence[Chunk], base: int) -> Lease:
    """As many of the chunks as one pack may hold: one boot, and a chunk with holes alone."""
    bodies: list[bytes] = []
    items = size = span = 0
    boot = chunks[0].boot
    for chunk in chunks:
        whole = chunk.items == chunk.span
        if bodies and (
            chunk.boot != boot
            or not whole
            or items + chunk.items > MAX_PACK_ITEMS
            or size + len(chunk.body) > _PACK_BYTES
        ):
            break
        body = plain_body(chunk)
        bodies.append(body)
        items += chunk.items
        span += chunk.span
        size += len(body)
        if not whole:
            break
    return Lease(epoch, lane, chunks[0].first, span, min(base, chunks[0].first), boot, bodies)
