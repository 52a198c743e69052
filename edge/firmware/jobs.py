"""The keeper of firmware jobs: what the cloud ordered, one task a job, and how each stands.

Owns which job of a device is the present one. Its rules:
- one job a device; of each connector so many at a time as its kind can bear, a serial line one;
- the same order again is nothing new: a job that has ended is done again only when it is ordered at another time;
- a job that is ordered no more is stopped, unless the device has all of it and is restarting;
- what is told to the cloud is told at most every two seconds, more seldom the longer it is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import msgspec
import structlog

from edge.firmware.base import FirmwareDevice, Pace
from edge.firmware.book import Book, Kept
from edge.firmware.images import Images, Source
from edge.firmware.work import Around, FailedError, Work
from firmware_specs.errors import LinkError, StoreError, UpdateRejected
from firmware_specs.wire_fleet import ENDED, FirmwareOrder, UpdatePhase, UpdateState, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge.binding import Plan
    from edge.channel import Channel
    from edge.connectors.base import Connector
    from edge.connectors.coap import CoapConnector
    from edge.connectors.mqtt import MqttConnector
    from edge.connectors.serial import SerialConnector
    from edge.firmware.base import Sender
    from edge.intake import Intake
    from firmware_specs.readings import Sample
    from firmware_specs.wire_fleet import FirmwareJob

KINDS: Final = {"mqtt-chunks": "mqtt", "coap-block": "coap", "xmodem": "serial"}
"""The connectors over which each channel goes."""
AT_ONCE: Final = {"mqtt-chunks": 4, "coap-block": 2, "xmodem": 1}
"""Devices of one connector that are sent to at a time."""
TELL_EVERY_S: Final = 2.0
_OVER: Final = ENDED | {UpdatePhase.IDLE}
_TELL_BYTES_S: Final = 50_000
_EXCUSE_EVERY_S: Final = 5.0
_log: structlog.stdlib.BoundLogger = structlog.get_logger("firmware")


class Firmware:
    """See the module."""

    def __init__(self, state_dir: Path, channel: Channel, intake: Intake, now_ms: Callable[[], int]) -> None:
        self._state_dir = state_dir
        self._channel = channel
        self._intake = intake
        self._now_ms = now_ms
        self._book = Book(state_dir / "firmware")
        self._images = Images(state_dir)
        self._around = Around(self._images, self._way, self._source, now_ms, self._changed)
        self._devices: dict[str, FirmwareDevice] = {}
        self._by_connector: dict[str, tuple[str, ...]] = {}
        self._ca: Path | None = None
        self._ways: dict[str, tuple[Sender, asyncio.Semaphore]] = {}
        self._work: dict[str, tuple[Work, asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._heard: dict[str, str] = {}
        """What devices themselves said since the start; what is kept may be of one that was replaced."""
        self._news = asyncio.Event()
        channel.on("desired/firmware", lambda _rest, payload: self.take(payload))

    @property
    def failed(self) -> int:
        """Jobs that ended badly, ever."""
        return self._book.failed

    # what the gateway tells us

    def open(self) -> None:
        """Take up what an earlier run left."""
        self._book.open()

    def configure(self, plan: Plan) -> None:
        """Serve the plan's devices; jobs of those that are gone are stopped and forgotten."""
        self._ca = plan.config.uplink.ca
        kinds = {connector.name: connector.kind for connector in plan.config.connectors}
        self._by_connector = {name: tuple(b.id for b in bindings) for name, bindings in plan.devices.items()}
        self._devices = {
            b.id: FirmwareDevice(b.id, name, b.address, b.profile.firmware)
            for name, bindings in plan.devices.items()
            for b in bindings
            if b.profile.firmware and KINDS[b.profile.firmware.channel] == kinds[name]
        }
        self._intake.watchers = {
            device.id: self._watcher(device.id, device.firmware.version_metric)
            for device in self._devices.values()
            if device.firmware.version_metric
        }
        served = {b.id for bindings in plan.devices.values() for b in bindings}
        for name in [name for name in self._book.jobs if name not in served]:
            self._stop(name)
            del self._book.jobs[name]
        for name in [name for name in self._book.running if name not in served]:
            del self._book.running[name]
        self._changed(True)

    def attach(self, name: str, connector: Connector) -> None:
        """A connector is about to run: send through it from now on."""
        devices = [device for device in self._devices.values() if device.connector == name]
        self._ways.pop(name, None)
        if devices:
            sender = _sender(connector, devices, self, Pace(self._intake.ready))
            self._ways[name] = sender, asyncio.Semaphore(AT_ONCE[devices[0].firmware.channel])

    def take(self, payload: bytes) -> None:
        """Take an order as it came. Raises PackError."""
        order = decode(payload, FirmwareOrder)
        self._book.use(order.metadata_url, order.targets_url)
        wanted = {job.device: job for job in order.jobs}
        for name, kept in self._book.jobs.items():
            if name not in wanted and kept.state.phase not in _OVER | {UpdatePhase.TRIAL}:
                self._stop(name)
                kept.state = UpdateState(UpdatePhase.IDLE, reason="the order was taken back", at_ms=self._now_ms())
        self._clean()
        for job in wanted.values():
            self._want(job)
        self._changed(True)

    def _want(self, job: FirmwareJob) -> None:
        kept = self._book.jobs.get(job.device)
        if kept and _same_order(kept.job, job) and kept.state.phase is not UpdatePhase.IDLE:
            kept.job = job  # its window may be another
            return
        self._stop(job.device)
        state = UpdateState(
            UpdatePhase.WAITING, campaign=job.campaign, version=job.version, ordered_ms=job.ordered_ms,
            at_ms=self._now_ms(),
        )  # fmt: skip
        self._book.jobs[job.device] = Kept(job, state)
        self._begin(self._book.jobs[job.device])

    # what devices tell us

    def runs(self, device: str, version: str, *, live: bool = True) -> None:
        """See `Listener`."""
        if live:
            self._heard[device] = version
        if device in self._work:
            self._work[device][0].runs(version, live=live)
        if self._book.running.get(device) != version:
            self._book.running[device] = version
            self._changed(True)

    def left(self, device: str, reason: str) -> None:
        """See `Listener`."""
        if device in self._work:
            self._work[device][0].left(reason)

    def _watcher(self, device: str, metric: str | None) -> Callable[[Sequence[Sample]], None]:
        def look(samples: Sequence[Sample]) -> None:
            for sample in samples:
                if sample.metric == metric and isinstance(sample.value, str) and sample.value:
                    self.runs(device, sample.value[:64])

        return look

    # the jobs

    async def run(self) -> None:
        """Do the jobs until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._book.keep(), name="firmware-book")
            self._group.create_task(self._tell(), name="firmware-told")
            self._group.create_task(self._excuse(), name="firmware-excused")
            for kept in list(self._book.jobs.values()):
                if kept.state.phase not in _OVER:
                    self._begin(kept)

    def _begin(self, kept: Kept) -> None:
        if self._group is None:
            return  # `run` begins it
        name = kept.job.device
        device = self._devices.get(name)
        work = Work(kept, device, self._around) if device else None
        task = self._group.create_task(self._do(kept, work), name=f"firmware-{name}")
        if work:
            work.running = self._book.running.get(name, "")
            if name in self._heard:
                work.runs(self._heard[name], live=True)
            self._work[name] = work, task

    async def _do(self, kept: Kept, work: Work | None) -> None:
        if work is None:
            why = "no such device here, or there is no way for firmware into it"
            self._end(kept, UpdatePhase.REFUSED, why)
            return
        try:
            await work.run()
        except UpdateRejected as e:
            self._end(kept, UpdatePhase.REFUSED, e.reason)
        except (FailedError, LinkError, StoreError) as e:
            self._end(kept, UpdatePhase.FAILED, str(e))
        else:
            self._end(kept, UpdatePhase.COMMITTED, "")

    def _end(self, kept: Kept, phase: UpdatePhase, reason: str) -> None:
        name = kept.job.device
        self._work.pop(name, None)
        done = kept.size if phase is UpdatePhase.COMMITTED else kept.state.done
        kept.state = msgspec.structs.replace(
            kept.state, phase=phase, reason=reason[:2048], done=done, size=kept.size, at_ms=self._now_ms()
        )
        if reason:
            self._book.count_failure()
            _log.warning("firmware job ended badly", device=name, version=kept.job.version, reason=reason)
        else:
            _log.info("firmware in force", device=name, version=kept.job.version)
        self._changed(True)
        self._clean()

    def _clean(self) -> None:
        """Throw away the images that no job wants any more."""
        if any(k.state.phase is UpdatePhase.DOWNLOADING for k in self._book.jobs.values()):
            return  # what lies there may be on its way
        try:
            self._images.clean({k.sha256 for k in self._book.jobs.values() if k.state.phase not in _OVER})
        except StoreError as e:
            _log.warning("images that nobody wants cannot be thrown away", reason=str(e))

    def _stop(self, device: str) -> None:
        work = self._work.pop(device, None)
        if work:
            work[1].cancel()

    def _way(self, connector: str) -> tuple[Sender, asyncio.Semaphore]:
        if connector not in self._ways:
            raise LinkError(connector, "the connector does not run")
        return self._ways[connector]

    def _source(self) -> Source:
        return Source(*self._book.urls, self._ca)

    # what is told

    def _changed(self, more_than_progress: bool) -> None:
        if more_than_progress:
            self._book.changed()
        self._news.set()

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            state = self._book.state()
            payload = encode(state)
            if state.devices:
                self._channel.state("reported/firmware", payload)
            await asyncio.sleep(max(TELL_EVERY_S, len(payload) / _TELL_BYTES_S))

    async def _excuse(self) -> None:
        """Those on a line that was lent, and those that restart, are not silent."""
        while True:
            busy: set[str] = set()
            for name in self._work:
                device, phase = self._devices.get(name), self._book.jobs[name].state.phase
                if device and phase is UpdatePhase.TRIAL:
                    busy.add(name)
                elif device and phase is UpdatePhase.SENDING and device.firmware.channel == "xmodem":
                    busy.update(self._by_connector.get(device.connector, ()))
            if busy:
                self._intake.excuse(busy)
            await asyncio.sleep(_EXCUSE_EVERY_S)


def _same_order(one: FirmwareJob, other: FirmwareJob) -> bool:
    return (one.campaign, one.target, one.version, one.ordered_ms, one.back) == (
        other.campaign, other.target, other.version, other.ordered_ms, other.back
    )  # fmt: skip


def _sender(connector: Connector, devices: Sequence[FirmwareDevice], listener: Firmware, pace: Pace) -> Sender:
    """The way into a connector's devices, all of one channel. Its library is loaded with the connector already."""
    channel = devices[0].firmware.channel
    if channel == "mqtt-chunks":
        from edge.firmware.mqtt import MqttSender  # noqa: PLC0415 - each is loaded only when it is needed

        return MqttSender(cast("MqttConnector", connector), devices, listener, pace)
    if channel == "coap-block":
        from edge.firmware.coap import CoapSender  # noqa: PLC0415

        return CoapSender(cast("CoapConnector", connector), listener, pace)
    from edge.firmware.xmodem import XmodemSender  # noqa: PLC0415

    return XmodemSender(cast("SerialConnector", connector))
