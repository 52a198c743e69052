"""A fleet of gateways at the wire: they are there, and take what the cloud orders of them, in realistic phases.

Owns the gateways' side of status, canary, report, and of the orders `desired/update`, `desired/config` and
`desired/firmware`, over real MQTT connections of one event loop. A share of them fails, see `fleet_faults`; going back
to what a gateway had at first always works. The gateways must be known to the cloud.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from firmware_specs import wire, wire_fleet
from firmware_specs.errors import LinkError, PackError
from firmware_specs.readings import Lane
from firmware_specs.wire_fleet import (
    ConfigOrder,
    ConfigPhase,
    ConfigState,
    FirmwareJob,
    FirmwareOrder,
    FirmwareState,
    UpdateOrder,
    UpdatePhase,
    UpdateState,
)
from firmware_specs.wire_vitals import Vitals
from simulators.fleet_faults import Way, failing
from simulators.mqttloop import LoopClient

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CANARY_S: Final = 20.0
SIZE: Final = 24_000_000
"""Bytes of a simulated release."""
_CONNECT_AT_ONCE: Final = 50
_PROFILE: Final = "generic-smoke-senml"


class Fleet(NamedTuple):
    """What to play. delay_s: of each phase, about. away_s: after which a silent gateway is there again, 0 for never."""

    host: str
    port: int
    gateways: int
    prefix: str = "fleet-"
    version: str = "1.0.0"
    devices: int = 2
    percent: float = 0.0
    ways: tuple[Way, ...] = tuple(Way)
    delay_s: float = 2.0
    away_s: float = 0.0
    seed: int = 1
    duration_s: float | None = None

    @property
    def names(self) -> list[str]:
        """The gateways' names."""
        return [f"{self.prefix}{number:04d}" for number in range(1, self.gateways + 1)]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class FleetGateway:
    """One gateway. installs: how often it set about something new. way: how it fails, None when it does not."""

    def __init__(self, name: str, fleet: Fleet, way: Way | None) -> None:
        self.name, self.fleet, self.way = name, fleet, way
        self.version = fleet.version
        self.installs = 0
        self._update = UpdateState(UpdatePhase.IDLE, running=fleet.version)
        self._config = (0, "")
        self._firmware: dict[str, UpdateState] = {}
        self._random = random.Random(f"{fleet.seed}:{name}")
        self._seen: dict[str, object] = {}
        self._work: dict[str, asyncio.Task[None]] = {}
        self._client: LoopClient | None = None
        self._beat: asyncio.Task[None] | None = None
        self._epoch, self._boot, self._boots = secrets.token_hex(8), "", 0

    @property
    def phase(self) -> UpdatePhase:
        """How its last update stands."""
        return self._update.phase

    async def boot(self) -> None:
        """Connect and say that we are there. Raises LinkError."""
        self._boot, self._boots = secrets.token_hex(8), self._boots + 1
        will = wire.encode_message(self._status(online=False))
        topics = ["ack", *(f"desired/{kind}" for kind in _HANDLERS)]
        self._client = LoopClient(
            self.fleet.host, self.fleet.port, f"{self.name}-{os.getpid()}",
            [self._topic(rest) for rest in topics], self._take, self._told, will=(self._topic("status"), will),
        )  # fmt: skip
        await self._client.start(30)
        self._beat = asyncio.create_task(self._beats(), name=f"{self.name} canary")

    async def close(self, *, abrupt: bool = False) -> None:
        """Go away; abruptly, the broker tells it by our will."""
        if self._beat is not None:
            self._beat.cancel()
        if self._client is not None:
            await (self._client.drop() if abrupt else self._client.stop())
            self._client = None

    async def end(self) -> None:
        """Stop whatever is under way, and go."""
        for task in self._work.values():
            task.cancel()
        await asyncio.gather(*self._work.values(), return_exceptions=True)
        await self.close()

    def _topic(self, rest: str) -> str:
        return wire.topic(self.name, *rest.split("/"))

    def _status(self, *, online: bool = True) -> wire.Status:
        vitals = Vitals(disk_free=20 * 2**30, disk_size=32 * 2**30, memory=90 * 2**20) if online else None
        return wire.Status(online, self.version, self._boot, self._config[1] or "sim", _now_ms(), vitals=vitals)

    def _tell(self, rest: str, payload: bytes) -> None:
        if self._client is not None:
            self._client.publish(self._topic(rest), payload, retain=True)

    def _told(self) -> None:
        """Connected: say who we are."""
        self._tell("status", wire.encode_message(self._status()))
        if self._boots > 1:
            return  # the broker has the rest
        self._tell("reported/update", wire_fleet.encode(self._update))
        devices = tuple(
            wire.ReportedDevice(f"{self.name}-d{number}", _PROFILE, "sim") for number in range(self.fleet.devices)
        )
        self._tell("reported", wire.encode_message(wire.Reported(self._config[0] or 1, "sim", devices)))

    async def _beats(self) -> None:
        """The canary of a gateway that has nothing to send, and its status."""
        while True:
            await asyncio.sleep(CANARY_S * self._random.uniform(0.8, 1.2))
            self._tell("status", wire.encode_message(self._status()))
            header = wire.PackHeader(self._epoch, Lane.TELEMETRY, 1, 0, 1, self._boot)
            payload, properties = wire.encode_pack(header, [])
            if self._client is not None:
                self._client.publish(
                    wire.up_topic(self.name, Lane.TELEMETRY), payload, user_properties=properties,
                    content_type=wire.CONTENT_TYPE,
                )  # fmt: skip

    def _take(self, name: str, payload: bytes) -> None:
        kind = name.rpartition("/")[2]
        if kind not in _HANDLERS or not payload:
            return
        order_type, handler = _HANDLERS[kind]
        try:
            order = wire_fleet.decode(payload, order_type)
        except PackError:
            return
        if self._seen.get(kind) == order:
            return  # the broker's or the cloud's repeat
        self._seen[kind] = order
        if isinstance(order, UpdateOrder) and order.ends_at_ms == wire_fleet.TAKEN_BACK_MS and self._is_past(order):
            return
        before = self._work.get(kind)
        if before is not None:
            before.cancel()
        self._work[kind] = asyncio.create_task(handler(self, order), name=f"{self.name} {kind}")

    def _is_past(self, order: UpdateOrder) -> bool:
        """Whether an order has ended, or goes on to its end whoever takes it back."""
        mine = (self._update.campaign, self._update.version) == (order.campaign, order.version)
        return mine and self._update.phase is not UpdatePhase.DOWNLOADING

    async def _pause(self, share: float = 1.0) -> None:
        await asyncio.sleep(self.fleet.delay_s * share * self._random.uniform(0.7, 1.3))

    async def _reboot(self) -> bool:
        """Go down and come up; False when we are not heard again, or not for a while."""
        silent = self.way is Way.SILENT and self.version != self.fleet.version
        await self.close(abrupt=silent)
        if silent and not self.fleet.away_s:
            return False
        await (asyncio.sleep(self.fleet.away_s) if silent else self._pause(0.5))
        try:
            await self.boot()
        except LinkError:
            return False
        return not silent

    # what is ordered

    async def update(self, order: UpdateOrder) -> None:
        """A new agent: fetched, tried after a reboot, committed or left again."""
        if order.ends_at_ms == wire_fleet.TAKEN_BACK_MS:
            self._say(order, UpdatePhase.FAILED, "the order was taken back")
            return
        bad = self.way if order.version != self.fleet.version else None
        before = self.version
        self.installs += 1
        await asyncio.sleep(max(0, order.not_before_ms - _now_ms()) / 1000)
        for part in (0, 1):
            self._say(order, UpdatePhase.DOWNLOADING, done=SIZE * part)
            await self._pause(0.4)
        if bad is Way.REFUSED:
            self._say(order, UpdatePhase.REFUSED, "the signature does not fit")
            return
        self._say(order, UpdatePhase.STAGED)
        await self._pause(0.3)
        self.version = order.version
        if not await self._reboot():
            self.version = before
            if self._client is not None:
                self._told()
                self._say(order, UpdatePhase.ROLLED_BACK, "not healthy within the trial")
            return
        self._say(order, UpdatePhase.TRIAL)
        await self._pause()
        if bad is Way.ROLLED_BACK:
            self.version = before
            await self._reboot()
            self._say(order, UpdatePhase.ROLLED_BACK, "the cloud did not answer within the trial")
            return
        self._say(order, UpdatePhase.COMMITTED)

    def _say(self, order: UpdateOrder, phase: UpdatePhase, reason: str = "", done: int = SIZE) -> None:
        self._update = UpdateState(phase, order.campaign, order.version, reason, _now_ms(), self.version, done, SIZE)
        self._tell("reported/update", wire_fleet.encode(self._update))

    async def config(self, order: ConfigOrder) -> None:
        """A new configuration: tried, in force or gone back from."""

        def say(phase: ConfigPhase, reason: str = "") -> None:
            state = ConfigState(phase, order.version, order.hash, reason, _now_ms(), *self._config)
            self._tell("reported/config", wire_fleet.encode(state))

        if self._config[1] == order.hash:
            self._config = (order.version, order.hash)
            say(ConfigPhase.IN_FORCE)
            return
        self.installs += 1
        first = not self._config[0]
        if self.way is Way.REFUSED and not first:
            say(ConfigPhase.REFUSED, 'devices[1].profile: "none": not known')
            return
        before, self._config = self._config, (order.version, order.hash)
        say(ConfigPhase.TRIAL)
        await self._pause()
        if self.way is Way.SILENT and not first:
            await self.close(abrupt=True)
        elif self.way is Way.ROLLED_BACK and not first:
            self._config = before
            say(ConfigPhase.REVERTED, f"the cloud did not answer within {order.trial_s} s")
        else:
            say(ConfigPhase.IN_FORCE)

    async def firmware(self, order: FirmwareOrder) -> None:
        """Firmware of devices, one after the other."""
        for job in order.jobs:
            state = self._firmware.get(job.device)
            if state is None or (state.campaign, state.version) != (job.campaign, job.version):
                await self._flash(job)

    async def _flash(self, job: FirmwareJob) -> None:
        self.installs += 1

        def say(phase: UpdatePhase, reason: str = "", done: int = SIZE) -> None:
            running = job.version if phase is UpdatePhase.COMMITTED else self.fleet.version
            state = UpdateState(phase, job.campaign, job.version, reason, _now_ms(), running, done, SIZE)
            self._firmware[job.device] = state
            self._tell("reported/firmware", wire_fleet.encode(FirmwareState(dict(self._firmware))))

        await asyncio.sleep(max(0, job.not_before_ms - _now_ms()) / 1000)
        for part in (0, 1, 2):
            say(UpdatePhase.SENDING, done=SIZE * part // 2)
            await self._pause(0.3)
        if self.way is Way.REFUSED:
            say(UpdatePhase.REFUSED, "made for another model")
        elif self.way is Way.ROLLED_BACK:
            say(UpdatePhase.FAILED, "the device answers with its old version")
        elif self.way is None:
            say(UpdatePhase.COMMITTED)


_HANDLERS: Final[dict[str, tuple[type[Any], Callable[[FleetGateway, Any], Coroutine[Any, Any, None]]]]] = {
    "update": (UpdateOrder, FleetGateway.update),
    "config": (ConfigOrder, FleetGateway.config),
    "firmware": (FirmwareOrder, FleetGateway.firmware),
}


async def run(fleet: Fleet, ready: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, Any]:
    """Play until cancelled, or for the asked time; what came of it. Raises LinkError: no broker.

    ready: called when all are connected, with the gateways that fail and how.
    """
    bad = failing(fleet.names, fleet.percent, fleet.ways, fleet.seed)
    gateways = [FleetGateway(name, fleet, bad.get(name)) for name in fleet.names]
    try:
        for start in range(0, len(gateways), _CONNECT_AT_ONCE):
            await asyncio.gather(*(gateway.boot() for gateway in gateways[start : start + _CONNECT_AT_ONCE]))
        ready({"gateways": len(gateways), "failing": {name: way.value for name, way in bad.items()}})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fleet.duration_s):
                await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass  # asked to end: what was played is told
    finally:
        await asyncio.gather(*(gateway.end() for gateway in gateways))
    return {
        "installs": {gateway.name: gateway.installs for gateway in gateways},
        "versions": {gateway.name: gateway.version for gateway in gateways},
        "phases": {gateway.name: gateway.phase.value for gateway in gateways},
    }
