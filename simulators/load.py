"""Thousands of gateways at the wire: packs with their properties, one in flight a gateway, honouring commit acks.

Owns the gateways' side of the uplink and the figures: throughput, time from publish to commit ack, what was sent
again and what is unacknowledged at the end. The gateways must be known to the cloud, or their packs are refused.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs import wire
from firmware_specs.errors import PackError
from firmware_specs.readings import Lane, Reading, Unit
from simulators.mqttloop import LoopClient

if TYPE_CHECKING:
    from collections.abc import Callable

RESEND_S: Final = 15.0
_TICK_S: Final = 0.05
_FINISH_S: Final = 20.0
_CONNECT_AT_ONCE: Final = 100
_BACKLOG_MAX: Final = 200_000
"""Readings that one gateway keeps before it stops making more: the cloud is slower than the asked rate."""


class Load(NamedTuple):
    """What to send. rate: readings a second, all gateways together. devices: of each gateway."""

    host: str
    port: int
    gateways: int
    devices: int
    rate: float
    seconds: float
    prefix: str = "load-"
    finish_s: float = _FINISH_S


class Progress(NamedTuple):
    """How far it is."""

    elapsed_s: float
    offered: int
    acked: int


class Result(NamedTuple):
    """What came of it. ack_ms: percentiles of the time from publishing a pack to its commit acknowledgement."""

    gateways: int
    devices: int
    seconds: float
    offered: int
    acked: int
    unacked: int
    held_back: int
    """Readings that were not made because the backlog was full."""
    packs: int
    resent: int
    readings_per_s: float
    ack_ms: dict[str, float]


class SimulatedGateway:
    """One gateway: a sequence, a backlog and at most one pack in flight."""

    def __init__(self, gateway: str, devices: int) -> None:
        self.gateway = gateway
        self.latencies_s: list[float] = []
        self.offered = self.acked = self.packs = self.resent = self.held_back = 0
        self._devices = [f"dev-{n:05d}" for n in range(devices)]
        self._epoch, self._boot = secrets.token_hex(8), secrets.token_hex(8)
        self._turn = 0
        self._first = 1
        self._waiting: list[bytes] = []
        self._in_flight: tuple[int, float] | None = None
        self._client: LoopClient | None = None

    async def connect(self, host: str, port: int) -> None:
        """Connect, say that we are online and which devices we have. Raises LinkError."""
        self._client = LoopClient(
            host, port, f"{self.gateway}-{os.getpid()}", [wire.topic(self.gateway, "ack")], self._on_ack
        )
        await self._client.start(30)
        now_ms = time.time_ns() // 1_000_000
        status = wire.Status(online=True, agent_version="load", boot=self._boot, config_hash="load", at_ms=now_ms)
        devices = tuple(wire.ReportedDevice(d, "generic-temperature-json", "load") for d in self._devices)
        report = wire.Reported(1, "load", devices)
        self._client.publish(wire.topic(self.gateway, "status"), wire.encode_message(status), retain=True)
        self._client.publish(wire.topic(self.gateway, "reported"), wire.encode_message(report), retain=True)

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.stop()

    def offer(self, count: int, now_ms: int) -> None:
        """Make that many readings, device by device."""
        room = max(0, _BACKLOG_MAX - len(self._waiting))
        self.held_back += max(0, count - room)
        for _ in range(min(count, room)):
            self._turn += 1
            reading = Reading(
                self._devices[self._turn % len(self._devices)], "temperature",
                round(20 + 5 * math.sin(self._turn / 97), 2), Unit.CELSIUS.value, now_ms, now_ms,
            )  # fmt: skip
            self._waiting.append(wire.encode_item(reading))
        self.offered += min(count, room)

    def pump(self, now_s: float) -> None:
        """Send the next pack when nothing is in flight, or the last again when its ack is overdue."""
        if self._in_flight is not None:
            if now_s - self._in_flight[1] < RESEND_S:
                return
            self.resent += 1
        if self._waiting:
            self._send(now_s)

    def _send(self, now_s: float) -> None:
        count = min(len(self._waiting), wire.MAX_PACK_ITEMS)
        if self._in_flight is not None:
            count = self._in_flight[0] - self._first + 1
        header = wire.PackHeader(self._epoch, Lane.TELEMETRY, self._first, count, self._first, self._boot)
        payload, properties = wire.encode_pack(header, self._waiting[:count])
        topic = wire.up_topic(self.gateway, Lane.TELEMETRY)
        if self._client is not None and self._client.publish(
            topic, payload, user_properties=properties, content_type=wire.CONTENT_TYPE
        ):
            self._in_flight = (header.through, now_s)
            self.packs += 1

    def _on_ack(self, _topic: str, payload: bytes) -> None:
        try:
            ack = wire.decode_ack(payload)
        except PackError:
            return
        if ack.epoch != self._epoch or ack.lane is not Lane.TELEMETRY or ack.through < self._first:
            return
        now_s = time.monotonic()
        if self._in_flight is not None and ack.through >= self._in_flight[0]:
            self.latencies_s.append(now_s - self._in_flight[1])
            self._in_flight = None
        done = ack.through - self._first + 1
        del self._waiting[:done]
        self._first += done
        self.acked += done
        self.pump(now_s)


async def run(load: Load, progress: Callable[[Progress], None] = lambda _: None) -> Result:
    """Send at the asked rate for the asked time, then wait for the last acks. Raises LinkError: no broker."""
    gateways = [SimulatedGateway(f"{load.prefix}{n:04d}", load.devices) for n in range(1, load.gateways + 1)]
    try:
        for start in range(0, len(gateways), _CONNECT_AT_ONCE):
            batch = gateways[start : start + _CONNECT_AT_ONCE]
            await asyncio.gather(*(gateway.connect(load.host, load.port) for gateway in batch))
        began = time.monotonic()
        await _offer_all(gateways, load, began, progress)
        await _finish(gateways, load.finish_s, began, progress)
        return _result(load, gateways, time.monotonic() - began)
    finally:
        await asyncio.gather(*(gateway.close() for gateway in gateways))


async def _offer_all(
    gateways: list[SimulatedGateway], load: Load, began: float, progress: Callable[[Progress], None]
) -> None:
    made = [0] * len(gateways)
    while (elapsed := time.monotonic() - began) < load.seconds:
        now_ms, now_s = time.time_ns() // 1_000_000, time.monotonic()
        due = load.rate * elapsed / len(gateways)
        for index, gateway in enumerate(gateways):
            # Each gateway has its own phase, or all would send at the same moment.
            count = int(due + index / len(gateways)) - made[index]
            made[index] += count
            gateway.offer(count, now_ms)
            gateway.pump(now_s)
        progress(_progress(gateways, elapsed))
        await asyncio.sleep(_TICK_S)


async def _finish(
    gateways: list[SimulatedGateway], finish_s: float, began: float, progress: Callable[[Progress], None]
) -> None:
    deadline = time.monotonic() + finish_s
    while any(g.acked < g.offered for g in gateways) and time.monotonic() < deadline:
        for gateway in gateways:
            gateway.pump(time.monotonic())
        progress(_progress(gateways, time.monotonic() - began))
        await asyncio.sleep(_TICK_S)


def _progress(gateways: list[SimulatedGateway], elapsed_s: float) -> Progress:
    return Progress(elapsed_s, sum(g.offered for g in gateways), sum(g.acked for g in gateways))


def percentiles_ms(latencies_s: list[float]) -> dict[str, float]:
    """p50, p90, p99 and the largest, in milliseconds; empty for no latencies."""
    ordered = sorted(latencies_s)
    if not ordered:
        return {}
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {
        name: round(1000 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)], 1)
        for name, share in shares.items()
    }


def _result(load: Load, gateways: list[SimulatedGateway], seconds: float) -> Result:
    offered, acked = sum(g.offered for g in gateways), sum(g.acked for g in gateways)
    return Result(
        load.gateways, load.devices, round(seconds, 2), offered, acked, offered - acked,
        sum(g.held_back for g in gateways), sum(g.packs for g in gateways), sum(g.resent for g in gateways),
        round(acked / seconds, 1), percentiles_ms([s for g in gateways for s in g.latencies_s]),
    )  # fmt: skip
