"""The ingest process: broker in, batches to the committer, acknowledgements out.

Owns two threads and their meeting point: paho's network thread puts messages into a bounded queue and never waits; one
worker takes all that is queued, commits it and acknowledges. Nothing queued is precious: gateways send again what is
not acknowledged. `run` keeps a link to the broker, a new client after every failure, with full jitter.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from cloud.ingest.commit import Committer, Incoming
from cloud.ingest.downlink import Downlink
from cloud.ingest.link import BrokerLink
from firmware_specs.errors import LinkError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud.config import BrokerConfig
    from cloud.db import Database
    from cloud.ingest.metrics import IngestMetrics
    from cloud.telemetry.store import TelemetryStore

_log: Final = structlog.get_logger("ingest")
QUEUE_BYTES: Final = 64 * 1024 * 1024
BATCH_MESSAGES: Final = 256
BATCH_BYTES: Final = 256 * 1024
"""Of payloads, compressed: some 25,000 readings in one transaction, about a second of work."""
BATCH_ALARMS: Final = 25
"""Packs of alarms: each alarm is settled, told and escalated in the batch's transaction, for which others wait."""
_MESSAGE_BYTES: Final = 1024
"""What a queued message weighs besides its payload."""
_RETRY_FIRST_S: Final = 0.1
_RETRY_MOST_S: Final = 10.0
_CONNECT_FIRST_S: Final = 0.25
_CONNECT_MOST_S: Final = 15.0
CANARY_EVERY_S: Final = 10.0
CANARY_OUT_S: Final = 30.0
_WATCH_S: Final = 0.1


def wall_ms() -> int:
    """Milliseconds UTC."""
    return time.time_ns() // 1_000_000


class IngestService:
    """Takes in what gateways publish, until cancelled."""

    def __init__(
        self, broker: BrokerConfig, database: Database, telemetry: TelemetryStore, metrics: IngestMetrics,
        *, late_s: float = 900, sos_s: int = 1800, clock: Callable[[], int] = wall_ms,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._metrics = metrics
        self._clock = clock
        self._committer = Committer(database, telemetry, metrics, round(late_s * 1000), sos_s * 1000)
        self._downlink = Downlink(database, sos_s, clock)
        self._queue: deque[Incoming] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._link: BrokerLink | None = None
        self._link_fault = "not connected yet"
        self._store_fault = ""
        self._worker_fault: BaseException | None = None

    def readiness(self) -> str:
        """Empty when packs are taken in and committed, else what is in the way, in one line."""
        link = self._link
        link_fault = link.state().fault if link else self._link_fault
        return self._store_fault or link_fault

    def take(self, message: Incoming) -> None:
        """Queue a message, or drop it when the queue is full: its gateway will send it again."""
        weight = len(message.payload) + _MESSAGE_BYTES
        with self._changed:
            if self._queued_bytes + weight > QUEUE_BYTES:
                self._metrics.refused.labels("busy").inc()
                return
            self._queue.append(message)
            self._queued_bytes += weight
            self._metrics.waiting.set(len(self._queue))
            self._changed.notify()

    async def run(self) -> None:
        """Serve until cancelled. Ends by an error only when the worker met one that nobody foresaw."""
        worker = threading.Thread(target=self._work, name="ingest-worker", daemon=True)
        worker.start()
        pause_s = _CONNECT_FIRST_S
        try:
            while self._worker_fault is None:
                served = await self._serve_link()
                pause_s = _CONNECT_FIRST_S if served else min(pause_s * 2, _CONNECT_MOST_S)
                await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - jitter is no secret
        finally:
            with self._changed:
                self._stopping = True
                self._changed.notify_all()
            await asyncio.to_thread(worker.join)
        raise self._worker_fault

    async def _serve_link(self) -> bool:
        """One client from connection to loss; whether it ever served."""
        try:
            link = BrokerLink(self._broker, self.take, lambda reason: self._metrics.refused.labels(reason).inc())
            await asyncio.to_thread(link.open)
        except LinkError as e:
            if self._link_fault != str(e):
                _log.warning("broker not reachable, will be tried again", endpoint=e.endpoint, cause=e.reason)
            self._link_fault = str(e)
            return False
        self._metrics.reconnects.inc()
        _log.info("connected", endpoint=link.endpoint)
        self._link = link
        try:
            async with asyncio.TaskGroup() as group:
                told = group.create_task(self._downlink.run(link), name="ingest-downlink")
                await self._watch(link)
                told.cancel()
        finally:
            self._link_fault = f"{link.endpoint}: {link.state().fault or 'closed'}"
            self._link = None
            await asyncio.to_thread(link.close)
        _log.warning("broker lost, connecting anew", endpoint=link.endpoint, cause=self._link_fault)
        return True

    async def _watch(self, link: BrokerLink) -> None:
        """Return when the link has failed or its canary stays out."""
        heard_at = sent_at = time.monotonic()
        echoes = link.ping()
        while link.state().subscribed and self._worker_fault is None:
            await asyncio.sleep(_WATCH_S)
            now = time.monotonic()
            if now - sent_at >= CANARY_EVERY_S:
                sent_at, before = now, echoes
                echoes = link.ping()
                heard_at = now if echoes > before else heard_at
                if now - heard_at > CANARY_OUT_S:
                    link.fall_silent(now - heard_at)

    def _work(self) -> None:
        try:
            while batch := self._next_batch():
                self._commit(batch)
        except BaseException as e:  # the thread's entry: `run` raises it
            self._worker_fault = e
            raise

    def _next_batch(self) -> list[Incoming]:
        """All that is queued, within the batch's bounds; empty when stopping."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            batch: list[Incoming] = []
            size = alarms = 0
            while self._queue and not self._stopping and len(batch) < BATCH_MESSAGES and size < BATCH_BYTES:
                if alarms >= BATCH_ALARMS:
                    break
                message = self._queue.popleft()
                alarms += message.kind == "up/alarms"
                size += len(message.payload)
                self._queued_bytes -= len(message.payload) + _MESSAGE_BYTES
                batch.append(message)
            self._metrics.waiting.set(len(self._queue))
            return batch

    def _commit(self, batch: list[Incoming]) -> None:
        """Commit a batch, however often a store must be asked, then acknowledge it."""
        pause_s = _RETRY_FIRST_S
        while not self._stopping:
            begun = time.monotonic()
            try:
                acks = self._committer.commit(batch, self._clock())
            except StoreError as e:
                if not self._store_fault:
                    _log.warning("store refuses, will be tried again", store=e.store, cause=e.reason)
                self._store_fault = str(e)
                self._metrics.retries.inc()
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, random.uniform(0, pause_s))  # noqa: S311
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
                continue
            if self._store_fault:
                _log.info("store serves again")
                self._store_fault = ""
            self._metrics.commit_seconds.observe(time.monotonic() - begun)
            link = self._link
            if link:
                link.acknowledge(acks)
            return
