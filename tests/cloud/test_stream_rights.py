"""What an event stream owes its clients: nothing lost at the start, nothing after the right to see has ended (S7)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cloud.broadcast import Broadcaster, frame
from cloud.org.rules import SYSTEM
from cloud.serve import listening

if TYPE_CHECKING:
    from cloud.db import Database


def test_what_happens_while_a_stream_begins_is_told(db: Database) -> None:
    async def run() -> bytes:
        broadcaster = Broadcaster(db)
        frames = broadcaster.frames(SYSTEM, None, lambda: SYSTEM)
        assert (await anext(frames)).startswith(b"retry:")
        broadcaster.sent = 1
        for client in broadcaster.clients:
            client.offer(frame(1, "/", "alarm", "{}"))
        found = await asyncio.wait_for(anext(frames), 5)
        await frames.aclose()  # type: ignore[attr-defined] # it is a generator
        return found

    assert asyncio.run(run()).startswith(b"id: 1\n")


def test_a_busy_stream_ends_with_its_session_S7(db: Database) -> None:
    async def run() -> int:
        broadcaster = Broadcaster(db, heartbeat_s=0.2)
        told = 0

        async def chatter() -> None:
            while True:
                for client in broadcaster.clients:
                    client.offer(frame(0, "/", "device", "{}"))
                await asyncio.sleep(0.01)

        busy = asyncio.create_task(chatter())
        async with asyncio.timeout(5):
            async for _ in broadcaster.frames(SYSTEM, None, lambda: None):
                told += 1
        busy.cancel()
        return told

    assert asyncio.run(run()) > 2


def test_answers_are_not_held_back_by_nagle() -> None:
    # asyncio sets TCP_NODELAY only on sockets that name their protocol.
    with listening("127.0.0.1:0") as sock:
        assert sock.proto == 6
