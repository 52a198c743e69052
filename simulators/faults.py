"""Faults between a client and a server: cut, drop, repeat, corrupt, reorder, and clocks that lie.

Owns a TCP proxy that can be cut and mended while it runs, and faults that compose: each takes one unit (a chunk of
bytes, or a whole MQTT packet) and gives what passes in its place. All are deterministic for a seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_CHUNK: Final = 65536
_PUBLISH: Final = 3
log = structlog.get_logger()


class Fault(Protocol):
    """What happens to one unit on its way."""

    def __call__(self, unit: bytes) -> list[bytes]:
        """What passes in place of the unit, in order."""


class Drop:
    """A share of the units vanishes."""

    def __init__(self, share: float, seed: int = 0) -> None:
        self.share = share
        self.dropped = 0
        self._random = random.Random(seed)

    def __call__(self, unit: bytes) -> list[bytes]:
        """Nothing or the unit."""
        if self._random.random() < self.share:
            self.dropped += 1
            return []
        return [unit]


class Repeat:
    """A share of the units comes `times` times more."""

    def __init__(self, share: float, times: int = 1, seed: int = 0) -> None:
        self.share = share
        self.times = times
        self.repeated = 0
        self._random = random.Random(seed)

    def __call__(self, unit: bytes) -> list[bytes]:
        """The unit, once or more."""
        if self._random.random() < self.share:
            self.repeated += self.times
            return [unit] * (1 + self.times)
        return [unit]


class Corrupt:
    """A share of the units has one bit flipped in its last bytes, where an MQTT packet's payload is."""

    def __init__(self, share: float, seed: int = 0) -> None:
        self.share = share
        self.corrupted = 0
        self._random = random.Random(seed)

    def __call__(self, unit: bytes) -> list[bytes]:
        """The unit, perhaps with a wrong bit."""
        if not unit or self._random.random() >= self.share:
            return [unit]
        self.corrupted += 1
        damaged = bytearray(unit)
        damaged[-1 - self._random.randrange((len(unit) + 1) // 2)] ^= 1 << self._random.randrange(8)
        return [bytes(damaged)]


class Reorder:
    """Units wait until there are `depth` of them and leave in a random order."""

    def __init__(self, depth: int, seed: int = 0) -> None:
        self.depth = depth
        self._held: list[bytes] = []
        self._random = random.Random(seed)

    def __call__(self, unit: bytes) -> list[bytes]:
        """Nothing yet, or all that waited."""
        self._held.append(unit)
        return self.flush() if len(self._held) >= self.depth else []

    def flush(self) -> list[bytes]:
        """All that waits."""
        held, self._held = self._held, []
        self._random.shuffle(held)
        return held


class Chain:
    """Faults one after the other."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = faults

    def __call__(self, unit: bytes) -> list[bytes]:
        """What is left after the last of them."""
        units = [unit]
        for fault in self._faults:
            units = [passed for one in units for passed in fault(one)]
        return units


class Skew:
    """A clock that lies: a true clock plus what is said for the time since it started.

    jumps: (after seconds, offset in seconds), ascending; before the first the clock is right.
    """

    def __init__(self, now_ms: Callable[[], int], jumps: Sequence[tuple[float, float]]) -> None:
        self._now_ms = now_ms
        self._jumps = tuple(jumps)
        self._began_ms = now_ms()

    def __call__(self) -> int:
        """Milliseconds UTC, as the liar has them; never before 1970."""
        now_ms = self._now_ms()
        offsets = [offset for after, offset in self._jumps if now_ms - self._began_ms >= after * 1000]
        return max(0, now_ms + round(1000 * (offsets[-1] if offsets else 0)))


class MqttPublishes:
    """Apply a fault to whole PUBLISH packets of one direction of one connection; every other packet passes."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._rest = b""

    def __call__(self, unit: bytes) -> list[bytes]:
        """The packets that are complete now."""
        passed: list[bytes] = []
        self._rest += unit
        while (size := packet_size(self._rest)) and size <= len(self._rest):
            packet, self._rest = self._rest[:size], self._rest[size:]
            passed += self._fault(packet) if packet[0] >> 4 == _PUBLISH else [packet]
        return passed


def packet_size(data: bytes) -> int:
    """Bytes of the MQTT packet that data begins with, 0 when its length is not there yet (MQTT 5, 1.5.5)."""
    size = 0
    for index in range(1, min(len(data), 5)):
        size |= (data[index] & 0x7F) << (7 * (index - 1))
        if not data[index] & 0x80:
            return 1 + index + size
    return 0


def address(text: str) -> tuple[str, int]:
    """Host and port of `host:port` or of a bare port on loopback. Raises ValueError naming the text."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r}: host:port expected")
    return host or "127.0.0.1", int(port)


class TcpProxy:
    """Forwards connections from `listen` to `target`; it can be cut, held and mended while it runs.

    up, down: make the fault for each new connection, client to server and back; None forwards untouched.
    """

    def __init__(
        self, listen: tuple[str, int], target: tuple[str, int], *, up: Callable[[], Fault] | None = None,
        down: Callable[[], Fault] | None = None,
    ) -> None:  # fmt: skip
        self.listen = listen
        self.target = target
        self.connections = 0
        self._up = up
        self._down = down
        self._closed = False
        self._flowing = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; port 0 becomes the port that was found. Raises LinkError when the port is taken."""
        self._flowing.set()
        try:
            self._server = await asyncio.start_server(self._serve, *self.listen)
        except OSError as e:
            raise LinkError(f"{self.listen[0]}:{self.listen[1]}", e.strerror or str(e)) from e
        port: int = self._server.sockets[0].getsockname()[1]
        self.listen = (self.listen[0], port)

    async def stop(self) -> None:
        """End every connection and the listener."""
        self.cut()
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection without a farewell and refuse new ones."""
        self._closed = True
        for writer in list(self._writers):
            _abort(writer)

    def hold(self) -> None:
        """Keep connections open and let nothing through, as a dead link does."""
        self._flowing.clear()

    def mend(self) -> None:
        """Forward again."""
        self._closed = False
        self._flowing.set()

    async def cut_for(self, seconds: float) -> None:
        """Cut, and mend after some seconds."""
        log.info("uplink cut", target=f"{self.target[0]}:{self.target[1]}", seconds=seconds)
        self.cut()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.mend()
        log.info("uplink mended", target=f"{self.target[0]}:{self.target[1]}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._closed:
            _abort(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            _abort(writer)
            return
        self.connections += 1
        self._writers |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, self._up() if self._up else None), name="proxy-up")
                group.create_task(self._pump(far_reader, writer, self._down() if self._down else None), name="down")
        except* ConnectionError:
            pass
        finally:
            self._writers -= {writer, far_writer}
            _abort(writer)
            _abort(far_writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None) -> None:
        while data := await reader.read(_CHUNK):
            await self._flowing.wait()
            for passed in fault(data) if fault else [data]:
                writer.write(passed)
            await writer.drain()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()
        raise ConnectionResetError("the other side left")


def _abort(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset: the far end must not take it for an orderly farewell."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ThreadedProxy:
    """A proxy with a loop of its own, for callers that have none. Every method may be called from any thread."""

    def __init__(self, proxy: TcpProxy, loop: asyncio.AbstractEventLoop) -> None:
        self.proxy = proxy
        self._loop = loop

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.proxy.listen[1]

    def cut(self) -> None:
        """As TcpProxy.cut."""
        self._loop.call_soon_threadsafe(self.proxy.cut)

    def hold(self) -> None:
        """As TcpProxy.hold."""
        self._loop.call_soon_threadsafe(self.proxy.hold)

    def mend(self) -> None:
        """As TcpProxy.mend."""
        self._loop.call_soon_threadsafe(self.proxy.mend)


@contextlib.contextmanager
def threaded(make: Callable[[], TcpProxy]) -> Iterator[ThreadedProxy]:
    """Run a proxy in a thread for as long as the context lasts. make: builds it inside its loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
    thread.start()

    async def started() -> TcpProxy:
        proxy = make()
        await proxy.start()
        return proxy

    proxy = asyncio.run_coroutine_threadsafe(started(), loop).result(10)
    try:
        yield ThreadedProxy(proxy, loop)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
