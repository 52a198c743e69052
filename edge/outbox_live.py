"""What keeps going out while the disk refuses: a lane of memory beside the outbox.

Owns its own epoch, so that its sequence numbers can never be mistaken for those of the file. Nothing in here is
safe, so whoever sent it is told `committed` only after the cloud has it: after a crash the devices' brokers send
it again. Bounded: `has_any_room` says when frames are to be refused, before anything is judged by them. Pure memory.
"""

from __future__ import annotations

import uuid
from collections import deque
from typing import TYPE_CHECKING, Final

from edge.outbox_file import Chunk
from firmware_specs.readings import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ITEMS: Final = {Lane.ALARMS: 20_000, Lane.TELEMETRY: 20_000}


class _Promise:
    """The `committed` callbacks of one batch, kept until all its lanes are with the cloud."""

    __slots__ = ("callbacks", "followers", "lanes")

    def __init__(self, callbacks: list[Callable[[bool], None]]) -> None:
        self.callbacks = callbacks
        self.lanes = 0
        self.followers: list[_Promise] = []
        """Promises about repeats of what this one is about, or of what came before it."""


class LiveLane:
    """Items of both lanes that are in memory only."""

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex
        self._next = dict.fromkeys(Lane, 1)
        self._chunks: dict[Lane, deque[tuple[Chunk, _Promise]]] = {lane: deque() for lane in Lane}
        self.waiting = dict.fromkeys(Lane, 0)

    def __bool__(self) -> bool:
        return any(self._chunks.values())

    def has_room(self, lane: Lane) -> bool:
        """Whether more of a lane is welcome; if not, devices that can be held back are."""
        return self.waiting[lane] < MAX_ITEMS[lane]

    def has_any_room(self, lane: Lane, more: int, *, awaited: bool) -> bool:
        """Whether a lane can take anything beside `more` items that are about to come.

        awaited: by a sender that waits for our word. It is held back and bounded by what it may have underway, so it
        gets more room than one that cannot be held back.
        """
        return self.waiting[lane] + more < (5 if awaited else 2) * MAX_ITEMS[lane]

    def add(
        self,
        parts: list[tuple[Lane, int, bytes]],
        boot: str,
        at_ms: int,
        callbacks: list[Callable[[bool], None]],
    ) -> None:
        """Take one batch: lane, items and encoded body of each part."""
        promise = _Promise(callbacks)
        for lane, items, body in parts:
            promise.lanes += 1
            chunk = Chunk(self._next[lane], items, items, boot, at_ms, body)
            self._next[lane] += items
            self.waiting[lane] += items
            self._chunks[lane].append((chunk, promise))
        if not parts:
            for waiting in self._chunks.values():
                if waiting:
                    waiting[-1][1].followers.append(promise)
                    promise.lanes += 1
        if promise.lanes == 0:
            self._keep(promise)

    def chunks(self, lane: Lane) -> list[Chunk]:
        """What waits in a lane, oldest first."""
        return [chunk for chunk, _ in self._chunks[lane]]

    def acknowledge(self, lane: Lane, through: int) -> None:
        """The cloud has everything of the lane up to `through`: forget it and keep the promises."""
        waiting = self._chunks[lane]
        while waiting and waiting[0][0].first + waiting[0][0].span - 1 <= through:
            chunk, promise = waiting.popleft()
            self.waiting[lane] -= chunk.items
            promise.lanes -= 1
            if promise.lanes == 0:
                self._keep(promise)

    def _keep(self, promise: _Promise) -> None:
        for committed in promise.callbacks:
            committed(True)
        for follower in promise.followers:
            follower.lanes -= 1
            if follower.lanes == 0:
                self._keep(follower)
