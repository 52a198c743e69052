"""The agent's socket for a technician on the same machine: what waits, and live readings.

Owns `agent.sock` in the state folder, readable by the agent's user only. One request a connection, `listen`,
`outbox`, `log`, or a verb that the agent gives; answers are JSON lines. A listener that is too slow
misses lines and is told how many; the agent never waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from edge.log import KEPT, RING
from firmware_specs.wire import Status, encode_item

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from edge.intake import Intake
    from firmware_specs.readings import AlarmEvent, Item, Reading

    Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SOCKET: Final = "agent.sock"
_QUEUE_LINES: Final = 1000
_MAX_REQUEST_BYTES: Final = 1024
_MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
_log: structlog.stdlib.BoundLogger = structlog.get_logger("control")


class _Folder:
    """A path to the socket that fits in 108 bytes however deep the folder is."""

    def __init__(self, state_dir: Path) -> None:
        self._fd = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.path = f"/proc/self/fd/{self._fd}/{SOCKET}"

    def __enter__(self) -> str:
        return self.path

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class _Listeners:
    """Who listens; the intake is asked for readings only while somebody does."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._missed: dict[asyncio.Queue[bytes], int] = {}
        """By listener: lines that it was too slow for since it was last told."""

    async def stream(self, writer: asyncio.StreamWriter) -> None:
        """Write what is heard until the peer is gone."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE_LINES)
        self._missed[queue] = 0
        self._intake.listener = self._tell
        try:
            while True:
                writer.write(await queue.get())
                if missed := self._missed[queue]:
                    self._missed[queue] = 0
                    writer.write(msgspec.json.encode({"missed": missed}) + b"\n")
                await writer.drain()
        finally:
            del self._missed[queue]
            if not self._missed:
                self._intake.listener = None

    def _tell(self, readings: Sequence[Reading], events: Sequence[AlarmEvent]) -> None:
        items: list[Item] = [*readings, *events]
        for item in items:
            line = encode_item(item) + b"\n"
            for queue in self._missed:
                if queue.full():
                    self._missed[queue] += 1
                else:
                    queue.put_nowait(line)


async def serve(
    state_dir: Path, intake: Intake, status: Callable[[bool], Status],
    verbs: Mapping[bytes, Callable[[], Awaitable[object]]],
) -> None:  # fmt: skip
    """Answer until cancelled. A listener gets wire records as JSON; `outbox` the status; `log` the latest lines.

    verbs: further requests, each with what answers it.
    """
    listeners = _Listeners(intake)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            request = (await reader.readline()).strip()
            if request == b"outbox":
                writer.write(msgspec.json.encode(status(True)) + b"\n")
                await writer.drain()
            elif request == b"log":
                writer.write(msgspec.json.encode({"lines": RING.last(KEPT)}) + b"\n")
                await writer.drain()
            elif request == b"listen":
                await listeners.stream(writer)
            elif request in verbs:
                writer.write(msgspec.json.encode(await verbs[request]()) + b"\n")
                await writer.drain()
        writer.close()

    server = await _listen(state_dir, answer)
    if server is None:
        return
    try:
        await server.serve_forever()
    finally:
        _remove(state_dir)


def _remove(state_dir: Path) -> None:
    with contextlib.suppress(OSError):
        (state_dir / SOCKET).unlink(missing_ok=True)


async def _listen(state_dir: Path, answer: Answer) -> asyncio.Server | None:
    """The socket, or None on a disk that refuses: that must not end the agent, only the technician's verbs miss it."""
    try:
        (state_dir / SOCKET).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(answer, sock=_bound(state_dir), limit=_MAX_REQUEST_BYTES)
    except OSError as e:
        _log.warning("no socket for a technician", reason=e.strerror or str(e))
        return None
    return server


def _bound(state_dir: Path) -> socket.socket:
    """A socket at its place, which never was anybody else's. Raises OSError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with _Folder(state_dir) as path:
            listening.bind(path)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


async def ask(state_dir: Path, request: str) -> AsyncIterator[dict[str, Any]]:
    """The lines that a running agent answers. Raises OSError when none runs."""
    with _Folder(state_dir) as path:
        reader, writer = await asyncio.open_unix_connection(path, limit=_MAX_ANSWER_BYTES)
    try:
        writer.write(request.encode() + b"\n")
        while line := await reader.readline():
            yield msgspec.json.decode(line)
    finally:
        writer.close()


async def status_of(state_dir: Path) -> Status | None:
    """How the agent that runs on a state folder says it is; None when none runs, or it ended while it said so."""
    try:
        async for line in ask(state_dir, "outbox"):
            return msgspec.convert(line, Status)
    except (OSError, msgspec.DecodeError):
        return None
    return None
