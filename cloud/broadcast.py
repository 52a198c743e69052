"""Events on their way to browsers: one pump per process, one bounded queue per client.

Owns the open event streams. A commit of this process wakes the pump at once; commits of other processes are found by
polling, and on PostgreSQL by LISTEN. Each client gets what its scope allows. A client that is too slow is cut: it
resumes by the last id that it got, and nothing is lost but time.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from cloud import metrics
from cloud.devices import service as devices
from cloud.org.rules import visible
from cloud.stream import after, bounds
from cloud.threads import in_thread
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cloud.db import Database
    from cloud.org.rules import Principal

PAGE: Final = 500
LIVE_EVERY_S: Final = 1.0
LIVE_MOST: Final = 500
"""Live views sent in one round; the others wait for the next."""
_OVERLAP_MS: Final = 3000
"""Rows may be committed this much later than the time they carry."""

log: Final = structlog.get_logger("stream")


class Frame(NamedTuple):
    """One event as it goes over the line. id: 0 for a live one."""

    id: int
    node: str
    data: bytes


def frame(event_id: int, node: str, kind: str, data: str) -> Frame:
    """Encode an event; its data is one line of JSON."""
    head = f"id: {event_id}\n" if event_id else ""
    return Frame(event_id, node, f"{head}event: {kind}\ndata: {data}\n\n".encode())


@dataclass(eq=False)
class Client:
    """One open stream."""

    principal: Principal
    queue: asyncio.Queue[Frame | None]
    cut: bool = False

    def offer(self, item: Frame) -> None:
        """Queue what the principal may see; a full queue ends the stream."""
        if self.cut or not visible(self.principal, item.node):
            return
        if self.queue.full():
            self.cut = True
            metrics.STREAM_CUT.inc()
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(None)
        else:
            self.queue.put_nowait(item)


@dataclass(eq=False)
class Broadcaster:
    """Runs in the event loop; `committed` may be called from any thread."""

    db: Database
    queue_size: int = 1000
    heartbeat_s: float = 15.0
    poll_s: float = 1.0
    clients: set[Client] = field(default_factory=set)
    sent: int = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: dict[tuple[str, str], int] = field(default_factory=dict)
    _closed: bool = False

    def committed(self) -> None:
        """A transaction with events was committed."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake.set)

    async def begin(self) -> None:
        """Take up the stream at its present end."""
        self._loop = asyncio.get_running_loop()
        self.sent = (await in_thread(bounds, self.db))[1]
        self.db.committed.append(self.committed)

    def close(self) -> None:
        """End every stream, now and later; clients reconnect to whoever serves next."""
        self._closed = True
        for client in self.clients:
            client.cut = True
            while not client.queue.empty():
                client.queue.get_nowait()
            client.queue.put_nowait(None)

    async def pump(self) -> None:
        """Hand on persisted events until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self.poll_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                while await self._hand_on():
                    pass
            except StoreError as e:
                log.warning("events cannot be read", error=str(e))
                await asyncio.sleep(self.poll_s)

    async def _hand_on(self) -> bool:
        rows = await in_thread(after, self.db, self.sent, PAGE)
        for event_id, kind, node, data in rows:
            self.sent = event_id
            item = frame(event_id, node, kind, data)
            for client in self.clients:
                client.offer(item)
        return len(rows) == PAGE

    async def live(self) -> None:
        """Send what changed of devices and gateways once a second, while anybody looks, until cancelled."""
        while True:
            await asyncio.sleep(LIVE_EVERY_S)
            if not self.clients:
                self._seen.clear()
                continue
            try:
                items = await in_thread(self._changed, time.time_ns() // 1_000_000)
            except StoreError as e:
                log.warning("live values cannot be read", error=str(e))
                continue
            for item in items:
                for client in self.clients:
                    client.offer(item)

    def _changed(self, now_ms: int) -> list[Frame]:
        since = now_ms - _OVERLAP_MS - round(LIVE_EVERY_S * 1000)
        items: list[Frame] = []
        with self.db.read() as tx:
            keys = devices.touched_devices(tx, since)
            fresh = [key for key, touched_at in keys if self._seen.get(key) != touched_at][:LIVE_MOST]
            touched = dict(keys)
            for node, device in devices.devices_by_key(tx, fresh, now_ms):
                self._seen[device.gateway, device.id] = touched[device.gateway, device.id]
                items.append(frame(0, node, "device", device.model_dump_json()))
            for node, touched_at, gateway in devices.touched_gateways(tx, since):
                if self._seen.get((gateway.id, "")) != touched_at:
                    self._seen[gateway.id, ""] = touched_at
                    items.append(frame(0, node, "gateway", gateway.model_dump_json()))
        self._seen = {key: at for key, at in self._seen.items() if at >= since}
        return items

    async def frames(
        self, principal: Principal, last_id: int | None, allowed: Callable[[], Principal | None]
    ) -> AsyncIterator[bytes]:
        """The bytes of one client's stream, until it is cut, its right to see ends, or the service does.

        last_id: the last that the client has, None to begin at the present.
        allowed: asked at every heartbeat, however much there is to send.
        """
        client = Client(principal, asyncio.Queue(self.queue_size))
        self.clients.add(client)
        metrics.STREAM_CLIENTS.set(len(self.clients))
        # The present is now: what is handed on while the first bytes go out is already queued.
        sent = self.sent
        try:
            yield b"retry: 2000\n\n"
            if last_id is not None:
                first, newest = await in_thread(bounds, self.db)
                if last_id > newest or last_id < first - 1:
                    yield frame(newest, "", "reset", "{}").data
                else:
                    sent = last_id
                    async for item in self._missed(principal, last_id):
                        sent = item.id
                        yield item.data
            async for data in self._queued(client, sent, allowed):
                yield data
        finally:
            self.clients.discard(client)
            metrics.STREAM_CLIENTS.set(len(self.clients))

    async def _missed(self, principal: Principal, last_id: int) -> AsyncIterator[Frame]:
        while rows := await in_thread(after, self.db, last_id, PAGE):
            for event_id, kind, node, data in rows:
                last_id = event_id
                if visible(principal, node):
                    yield frame(event_id, node, kind, data)

    async def _queued(self, client: Client, sent: int, allowed: Callable[[], Principal | None]) -> AsyncIterator[bytes]:
        check_at = time.monotonic() + self.heartbeat_s
        while not self._closed:
            if time.monotonic() >= check_at:
                if await in_thread(allowed) is None:
                    return
                yield b": still here\n\n"
                check_at = time.monotonic() + self.heartbeat_s
            try:
                async with asyncio.timeout(max(0.0, check_at - time.monotonic())):
                    item = await client.queue.get()
            except TimeoutError:
                continue
            if item is None:
                return
            if item.id == 0 or item.id > sent:
                sent = max(sent, item.id)
                yield item.data
