"""The parts that the outbox is made of: a commit, a lease, the writer's thread, the window for the uplink.

Owns no decision: `outbox` joins them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from firmware_specs.errors import StoreError
from firmware_specs.readings import Lane
from firmware_specs.wire import encode_item

if TYPE_CHECKING:
    import asyncio

    from edge.outbox_file import Chunk
    from firmware_specs.readings import Item

Committed = Callable[[bool], None]
_CHUNK_ITEMS: Final = 2500
_READY_BYTES: Final = 4_000_000
"""Of chunks of a lane that stand ready for the uplink; more is read from disk when it is their turn."""


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
    """The one thread that touches the file."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="outbox-writer", daemon=True)
        self.thread.start()

    def submit(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run a job there and hand its result, or its StoreError, to `done` here."""
        self._jobs.put((job, done))

    async def run(self, job: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the job returns
        """Run a job there. Raises its StoreError."""
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
            self._loop.call_soon_threadsafe(done, result)


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
