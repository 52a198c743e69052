"""A TCP proxy between a client and a server that can be cut, held and mended while it runs.

Owns the links; what happens to the bytes on their way is a fault of `faults.py`, or nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final

import structlog

from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulators.faults import Fault

_CHUNK: Final = 65536
log = structlog.get_logger()


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
