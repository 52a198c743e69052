"""When a connection is read: at once after a silence, on a beat while little comes, and as it comes in a flood.

Owns the watch on the socket. A wake-up and a commit cost many times what a message does, so what trickles in is read
together; all connections of a process keep the same beat. Knows nothing of what is read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_BEAT_S: Final = 0.010
_LITTLE: Final = 8
"""Messages of one read. Less than brokers let wait for their PUBACK, so a backlog is never read on the beat."""


class Beat:
    """See the module."""

    def __init__(self, fd: int, read: Callable[[], int]) -> None:
        """read: reads what is there and says how many messages that was; it may `stop` this."""
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._read = read
        self._paused = self._stopped = False
        self._next: asyncio.TimerHandle | None = None
        self._missed = 0
        """Beats in a row that brought nothing; the second ends them."""

    def start(self) -> None:
        """Read from now on."""
        self._loop.add_reader(self._fd, self._readable)

    def pause(self) -> None:
        """Read nothing before `resume`; TCP holds the peer back."""
        self._paused = True
        self._let_go()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if not self._stopped:
            self.start()

    def stop(self) -> None:
        """Read nothing any more."""
        self._stopped = True
        self._let_go()

    def _let_go(self) -> None:
        self._loop.remove_reader(self._fd)
        if self._next:
            self._next.cancel()
            self._next = None

    def _readable(self) -> None:
        if 0 < self._read() <= _LITTLE and not self._paused and not self._stopped:
            self._loop.remove_reader(self._fd)
            self._wait()

    def _wait(self) -> None:
        self._next = self._loop.call_at((self._loop.time() // _BEAT_S + 1) * _BEAT_S, self._on_beat)

    def _on_beat(self) -> None:
        self._next = None
        heard = self._read()
        if self._paused or self._stopped:
            return
        self._missed = 0 if heard else self._missed + 1
        if heard > _LITTLE or self._missed > 1:
            self._missed = 0
            self.start()
        else:
            self._wait()
