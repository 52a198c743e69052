"""The agent, put together.

Owns the only task group, the lock on the state folder, and the step from one configuration to the next: what did
not change keeps running, and a plan that cannot be served is never begun. The only module that builds and joins
parts.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from edge import VERSION, control, sdnotify, sign
from edge.channel import Channel
from edge.clock import GatewayClock
from edge.commands import Downlink
from edge.configure import Configure, StartOver
from edge.connectors import Shared, build_connector
from edge.discover import Discovery
from edge.firmware.jobs import Firmware
from edge.health import Health
from edge.intake import Intake
from edge.lock import take_lock
from edge.outbox import Outbox
from edge.outbox_file import MARKS_KEPT
from edge.remote import Remote
from edge.remote_kinds import kinds
from edge.starts import Starts
from edge.supervise import supervise
from edge.update import Updates
from edge.uplink import Uplink
from edge.vitals import VitalSigns
from firmware_specs.errors import ConfigError, ProfileError
from firmware_specs.wire import Reported, ReportedDevice, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from edge.binding import Plan
    from edge.connectors.base import Connector

_HEALTH_EVERY_S: Final = 30.0
_SETTLE_S: Final = 3.0
_LOOK_EVERY_S: Final = 2.0
_ALIVE_WITHIN_S: Final = 10.0
_GARBAGE: Final = 20_000
"""Allocations between two looks for cycles: readings make none, and a look in a burst costs milliseconds."""
_CONFIG_KEY: Final = "config"
_log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")


class InForce(msgspec.Struct):
    """The configuration that was last in force, kept over restarts: its version rises with each change."""

    version: int = 0
    hash: str = ""


class Gateway:
    """See the module. `run` until cancelled."""

    def __init__(self, path: Path) -> None:
        """path: of `gateway.toml`. Raises ConfigError when it cannot be served."""
        self._path = path
        self.configure = Configure(path)
        self.plan = self.configure.plan_at_start()
        self.clock = GatewayClock()
        self.channel = Channel()
        self.discovery = Discovery(self.channel)
        self.connectors: dict[str, str] = {}
        """How each link is: `up`, `connecting`, or why it is down."""
        self.config_error = ""
        self.changing = asyncio.Lock()
        """Held from the look at what runs until something else does."""
        self._in_force = InForce()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._health = Health(self.plan.config.state_dir)
        state_dir = self.plan.config.state_dir
        self.starts = Starts(state_dir, self.clock.boot, self.clock.now_ms)
        self.vitals = VitalSigns(state_dir, self.clock.boot, self.starts, self.clock.now_ms)
        self._reload_now = asyncio.Event()
        self._seen = self._mtimes()

    @property
    def path(self) -> Path:
        """Of `gateway.toml`."""
        return self._path

    async def run(self) -> None:
        """Serve until cancelled. Raises StartOver, and ConfigError when another agent has the state folder."""
        config = self.plan.config
        lock = take_lock(self._path, config.state_dir)
        try:
            self.configure.begin()
            self.outbox = Outbox(
                config.state_dir,
                self.clock.boot,
                budget_bytes=config.outbox.budget_mb * 1_000_000,
                linger_s=config.outbox.commit_linger_ms / 1000,
            )
            states, marks = await self.outbox.open()
            self.intake = Intake(self.outbox, self.clock)
            self.intake.restore(states)
            self.downlink = Downlink(self.intake, lambda kept: self.outbox.add((), (), kept))
            self.downlink.restore(states)
            self.firmware = Firmware(config.state_dir, self.channel, self.intake, self.clock.now_ms)
            self.firmware.open()
            self.outbox.on_new_file = self._all_states
            if _CONFIG_KEY in states:
                self._in_force = msgspec.json.decode(states[_CONFIG_KEY], type=InForce)
            kept = msgspec_marks(marks)
            self._shared = Shared(config.gateway, deque(kept, maxlen=MARKS_KEPT), self.discovery.note)
            built = self._build(self.plan, list(self.plan.devices))
            stop_metrics = self._serve_metrics()
            over = False
            try:
                with self.starts.running():
                    async with asyncio.TaskGroup() as self._group:
                        self._start(built)
            except* StartOver:
                over = True
            finally:
                if not over:
                    sdnotify.notify("STOPPING=1")
                stop_metrics()
                await self.outbox.close()
            if over:
                raise StartOver
        finally:
            os.close(lock)

    def _start(self, built: dict[str, Connector]) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload_now.set)
        self._put_in_force(self.plan)
        updates = Updates(self)
        self._start_remote()
        self._start_uplink()
        self._task(updates.run(), "update")
        for name, connector in built.items():
            self._start_connector(name, connector)
        self._task(self.intake.run_timers(), "rules")
        self._task(self.outbox.budget.keep(), "outbox-keeper")
        self._task(self.discovery.run(), "discovery")
        self._task(self._measure(), "health")
        self._task(self._follow_files(), "reload")
        self._task(self._keep_watch(), "watchdog")
        state_dir = self.plan.config.state_dir
        if self.plan.config.uplink.cert:
            from edge.renewal import keep_renewed  # noqa: PLC0415 - loads cryptography

            def renewal(reason: str) -> None:
                self.vitals.renewal = reason

            self._task(keep_renewed(self.plan.config, lambda: self.uplink, tell=renewal), "renewal")
        verbs = {b"config-revert": lambda: self.configure.revert_by_hand(self), b"discovered": self.discovery.told}
        self._task(control.serve(state_dir, self.intake, self.status, verbs), "control")
        self._task(self.configure.run(self), "configure")
        self._task(self.firmware.run(), "firmware")
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE, 20, 50)
        sdnotify.notify("READY=1")
        _log.info("gateway running", gateway=self.plan.config.gateway, devices=len(self.plan.config.devices))

    def _serve_metrics(self) -> Callable[[], object]:
        config = self.plan.config.metrics
        if config is None:
            return lambda: None
        from edge.metrics import serve_metrics  # noqa: PLC0415 - loads prometheus-client

        return serve_metrics(config, lambda: self.status(True))

    def _task(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        return self._group.create_task(work, name=name)

    def _start_uplink(self) -> None:
        self.uplink = Uplink(
            gateway=self.plan.config.gateway, config=self.plan.config.uplink, north=self.outbox.north,
            boot=self.clock.boot, status=self.status, reported=self.reported, desired=self.downlink.take,
            channel=self.channel,
        )  # fmt: skip
        self._uplink_task = self._task(self.uplink.run(), "uplink")

    def _start_remote(self) -> None:
        config = self.plan.config
        self.remote = Remote(config.gateway, self.channel, config.state_dir, self.clock.now_ms)
        self.remote.kinds |= {**kinds(self), sign.KIND: sign.kind(self)}
        self._task(self.remote.run(), "remote")

    async def restart_connector(self, name: str) -> None:
        """End a connector and begin it anew. Raises ConfigError when it does not run or cannot be served."""
        async with self.changing:
            if name not in self._running:
                raise ConfigError(self._path, "connectors", f"{name!r} is not running")
            built = self._build(self.plan, [name])
            await _ended(self._running.pop(name))
            self._start_connector(name, built[name])

    def _start_connector(self, name: str, connector: Connector) -> None:
        config = next(c for c in self.plan.config.connectors if c.name == name)

        def tell(state: str) -> None:
            self.connectors[name] = state

        self.firmware.attach(name, connector)
        work = supervise(connector, self.intake, tell, config.backoff_max_s)
        self._running[name] = self._task(work, f"connector-{name}")

    def _build(self, plan: Plan, names: list[str]) -> dict[str, Connector]:
        """The connectors by name. Raises ConfigError when one cannot serve its devices."""
        configs = {connector.name: connector for connector in plan.config.connectors}
        try:
            return {name: build_connector(configs[name], plan.devices[name], self._shared) for name in names}
        except ProfileError as e:
            raise ConfigError(self._path, "devices", str(e)) from e

    def _put_in_force(self, plan: Plan) -> None:
        """Serve the plan's devices and number the configuration."""
        self.plan = plan
        drills = frozenset(device.id for device in plan.config.devices if device.drill)
        self.intake.configure(plan.profiles.items(), drills)
        self.firmware.configure(plan)
        self.discovery.configure(plan.known, ((d.connector, d.address) for d in plan.config.devices))
        if plan.hash != self._in_force.hash:
            self._in_force = InForce(self._in_force.version + 1, plan.hash)
            self.outbox.add((), (), {_CONFIG_KEY: msgspec.json.encode(self._in_force)})
        for error in plan.refused:
            _log.warning("profile refused", reason=str(error))

    def _all_states(self) -> dict[str, bytes | None]:
        own = {_CONFIG_KEY: msgspec.json.encode(self._in_force)}
        return {**self.intake.states(), **self.downlink.states(), **own}

    # hot reload

    def _mtimes(self) -> tuple[tuple[str, int], ...]:
        folder = self.plan.config.profiles_dir
        files = [self._path, *(sorted(folder.glob("*.toml")) if folder else ())]
        found = []
        for file in files:
            try:
                found.append((str(file), file.stat().st_mtime_ns))
            except OSError:
                found.append((str(file), 0))
        return tuple(found)

    async def _follow_files(self) -> None:
        """Apply the configuration again on SIGHUP and when a file changed."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._reload_now.wait()
            except TimeoutError:
                if self._mtimes() == self._seen:
                    continue
            self._reload_now.clear()
            self._seen = self._mtimes()
            await self.reload()

    async def reload(self) -> None:
        """Stage the files as they are; change over when all of it can be served, else keep what is in force."""
        async with self.changing:
            try:
                plan = self.configure.plan()
                if plan.hash == self.plan.hash:
                    self.config_error = ""
                    return
                self._check_fixed(plan)
                built = self.prepare(plan)
            except ConfigError as e:
                self.config_error = str(e)
                _log.error("configuration refused, the last good one stays", reason=str(e))
                self.uplink.publish_status()
                return
            self.config_error = ""
            await self.change_over(plan, built)

    def prepare(self, plan: Plan) -> dict[str, Connector]:
        """The connectors that a plan needs anew, built. Raises ConfigError when one cannot serve its devices."""
        old = self.plan
        configs = {c.name: c for c in old.config.connectors}
        changed = [
            c.name for c in plan.config.connectors
            if configs.get(c.name) != c or old.devices[c.name] != plan.devices[c.name]
        ]  # fmt: skip
        return self._build(plan, changed)

    async def change_over(self, plan: Plan, built: dict[str, Connector]) -> None:
        """Run another plan: what did not change keeps running."""
        old = self.plan
        gone = [name for name in self._running if name not in plan.devices]
        for name in (*gone, *(name for name in built if name in self._running)):
            await _ended(self._running.pop(name))
            self.connectors.pop(name, None)
        await self.outbox.settled()
        self._put_in_force(plan)
        for name, connector in built.items():
            self._start_connector(name, connector)
        if old.config.uplink != plan.config.uplink:
            await _ended(self._uplink_task)
            self._start_uplink()
        else:
            self.uplink.publish_state()
        _log.info("configuration changed", version=self._in_force.version, connectors=sorted({*gone, *built}))

    def _check_fixed(self, plan: Plan) -> None:
        old, new = self.plan.config, plan.config
        for key in ("gateway", "state_dir", "managed", "outbox", "metrics"):
            if getattr(old, key) != getattr(new, key):
                raise ConfigError(self._path, key, "cannot change while the agent runs; restart it")

    # what it tells of itself

    def status(self, online: bool) -> Status:
        """The status as it is now."""
        moment = self.clock.now()
        error = self.config_error or self.configure.error
        degraded = self.outbox.degraded or (f"config: {error}" if error else "")
        return Status(
            online=online, agent_version=VERSION, boot=self.clock.boot, config_hash=self._in_force.hash,
            at_ms=moment.wall_ms, clock=moment.clock, degraded=degraded, lanes=self.outbox.north.status(),
            connectors=dict(self.connectors), counters=self.counters(),
            vitals=self.vitals.now(self.plan.config) if online else None,
        )  # fmt: skip

    def counters(self) -> dict[str, int]:
        """Totals since the start."""
        intake = self.intake
        return {
            "frames": intake.frames, "readings": intake.readings, "frames_refused": intake.frames_refused,
            "repeats": intake.repeats, "frames_unknown": intake.unknown, "dropped": self.outbox.dropped,
            "timer_lateness_ms": intake.engine.lateness_ms, "off_shift": intake.gate.dropped,
            "desired_refused": self.downlink.refused, "orders_refused": self.channel.refused,
            "answers_dropped": self.channel.dropped, "firmware_failed": self.firmware.failed, **self.uplink.counters,
            **self.remote.counters,
        }  # fmt: skip

    def reported(self) -> Reported:
        """The configuration in force, for the cloud."""
        places = {device.id: device for device in self.plan.config.devices}
        devices = [
            ReportedDevice(d.id, d.profile.profile, connector, d.address, places[d.id].location)
            for connector, bindings in self.plan.devices.items()
            for d in bindings
        ]
        own = self.plan.config
        if own.gateway in self.plan.profiles:
            profile = self.plan.profiles[own.gateway].profile
            devices.append(ReportedDevice(own.gateway, profile, location=own.location))
        return Reported(self._in_force.version, self._in_force.hash, tuple(devices), self.downlink.version)

    async def _measure(self) -> None:
        gateway, budget = self.plan.config.gateway, self.plan.config.outbox.budget_mb * 1_000_000
        await asyncio.sleep(_SETTLE_S)
        while True:
            lanes = self.outbox.north.status().values()
            self.intake.accept(
                gateway,
                self._health.samples(
                    sum(lane.waiting for lane in lanes), 100 * self.outbox.budget.used_bytes / budget,
                    self.intake.frames_refused, self.uplink.state == "up", self.vitals.now(self.plan.config),
                ),
            )  # fmt: skip
            await asyncio.sleep(_HEALTH_EVERY_S)

    async def _keep_watch(self) -> None:
        """Tell systemd that all parts live; say nothing when one does not, so that it starts us again."""
        loop = asyncio.get_running_loop()
        every_s = min((sdnotify.watchdog_s() or 20.0) / 2, 10.0)
        while True:
            uplink_alive = loop.time() - self.uplink.ticked_at < _ALIVE_WITHIN_S + self.plan.config.uplink.ack_timeout_s
            if uplink_alive and self.outbox.alive:
                sdnotify.notify("WATCHDOG=1")
            if not self.outbox.alive:
                raise RuntimeError("the outbox's writer has ended")
            await asyncio.sleep(every_s)


def msgspec_marks(marks: bytes) -> list[int]:
    """The marks of a file as numbers."""
    return [int.from_bytes(marks[at : at + 8], "little") for at in range(0, len(marks), 8)]


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel until it is over: a task may be about to raise, and lose the first."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)
