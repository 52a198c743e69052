"""The agent's update of itself: from the cloud's order to a version that has proven healthy, or back.

Owns `desired/update` and `reported/update`. An order waits for its window, its bundle is fetched, verified and
unpacked beside what runs, the link is switched and the agent restarts under the launcher. The new version commits
itself once it is healthy, or goes back by itself and says why. The order is retained and the record is on the disk, so
whatever is interrupted goes on at the next start; what has ended is not tried again until another order comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog

from edge import VERSION, update_root
from edge.slots import BASE, GUARD, INSTALL_DIR, SLOT, Slots
from edge.threads import in_thread
from edge.update_health import Vital, missing, rss_bytes
from edge.update_record import Version
from edge.update_steps import Steps
from firmware_specs.errors import LinkError, StoreError, UpdateRejected
from firmware_specs.release import AGENT_MODEL, ANY_PLATFORM, ReleaseKind, Target, check_fits, platform_of, version_key
from firmware_specs.wire_fleet import TAKEN_BACK_MS, UpdateOrder, UpdatePhase, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.binding import Plan
    from edge.channel import Channel
    from edge.clock import GatewayClock
    from edge.outbox import Outbox
    from edge.uplink import Uplink

RETRY_S: Final = 5.0
RETRY_MOST_S: Final = 300.0
TOLD_EVERY_S: Final = 2.0
LOOK_S: Final = 0.5
ASK_S: Final = 5.0
HOLDS_S: Final = 2.0
"""Health has to last so long before a version is committed."""
_log: structlog.stdlib.BoundLogger = structlog.get_logger("update")


class Host(Protocol):
    """What an update needs of the gateway that it runs in."""

    plan: Plan
    clock: GatewayClock
    channel: Channel
    connectors: dict[str, str]
    outbox: Outbox
    uplink: Uplink


class Updates:
    """See the module. restart: ends this process in good order, so that the launcher starts the next one."""

    def __init__(self, host: Host, restart: Callable[[], None] | None = None) -> None:
        folder = os.environ.get(INSTALL_DIR, "")
        state_dir = host.plan.config.state_dir
        self._host = host
        self._launched = bool(folder)
        mine = Version(os.environ.get(SLOT, BASE) if folder else BASE, VERSION)
        self._steps = Steps(state_dir, Slots(Path(folder) if folder else state_dir / "agent"), mine)
        self._restart = restart or (lambda: os.kill(os.getpid(), signal.SIGTERM))
        self._wanted: UpdateOrder | None = None
        self._news = asyncio.Event()
        host.channel.on("desired/update", self._take)
        self._tell()

    # orders

    def _take(self, _rest: str, payload: bytes) -> None:
        self._wanted = decode(payload, UpdateOrder)
        self._news.set()

    async def run(self) -> None:
        """Serve orders until cancelled."""
        self._loop = asyncio.get_running_loop()
        await self._settle()
        record = self._steps.record
        if self._wanted is None and record.order and not record.ended:
            self._wanted = record.order
            self._news.set()
        serving: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                await self._news.wait()
                self._news.clear()
                if self._wanted is None or self._switched:
                    continue
                if serving and not serving.done():
                    if self._steps.record.is_about(self._wanted) and self._wanted.ends_at_ms != TAKEN_BACK_MS:
                        self._steps.reorder(self._wanted)
                        continue
                    serving.cancel()
                    await asyncio.wait([serving])
                serving = group.create_task(self._serve(self._wanted), name="update-order")

    async def _serve(self, order: UpdateOrder) -> None:
        """Bring an order to its end."""
        steps = self._steps
        wait_s = RETRY_S
        while True:
            try:
                steps.begin(order, self._now_ms())
                self._tell()
                if not steps.record.ended:
                    await self._step(order)
            except UpdateRejected as e:
                self._note(UpdatePhase.REFUSED, e.reason)
                await self._tidy()
            except (LinkError, StoreError, OSError) as e:
                _log.warning("update interrupted", reason=str(e))
                self._note(steps.record.phase, str(e))
            if steps.record.ended or self._switched:
                return
            await asyncio.sleep(random.uniform(wait_s / 2, wait_s))  # noqa: S311 - spreads gateways
            wait_s = min(wait_s * 2, RETRY_MOST_S)

    async def _step(self, order: UpdateOrder) -> None:
        steps = self._steps
        if not self._launched:
            raise UpdateRejected("this agent does not run under `patrol-edge launch`, which updates need")
        if not steps.check(order):
            self._note(UpdatePhase.COMMITTED, f"{order.version} runs already")
            return
        if not await self._in_window():
            return
        target = await in_thread(lambda _check: self._look(order), "update-look")
        if not steps.is_there(order, target.sha256):
            self._note(UpdatePhase.DOWNLOADING, size=target.size)
            bundle = await in_thread(lambda check: self._fetch(order, check), "update-fetch")
        else:
            bundle = steps.downloads / target.sha256
        await in_thread(
            lambda _check: steps.install(order, bundle, target.sha256, self._now_ms()), "update-install"
        )  # fmt: skip
        self._tell()
        if await self._in_window():
            up = tuple(name for name, state in self._host.connectors.items() if state == "up")
            steps.switch(order, up, self._now_ms())
            self._tell()
            _log.info("restarting into another version", version=order.version, running=VERSION)
            self._restart()

    async def _in_window(self) -> bool:
        """Wait for the start window; whether it is there, and not over."""
        while True:
            order = self._steps.record.order
            if order is None:
                return False
            now = self._now_ms()
            if order.ends_at_ms and now >= order.ends_at_ms:
                taken_back = order.ends_at_ms == TAKEN_BACK_MS
                self._note(UpdatePhase.FAILED, "the order was taken back" if taken_back else "its start window is over")
                return False
            if now >= order.not_before_ms:
                return True
            if self._steps.record.phase is not UpdatePhase.WAITING:
                self._note(UpdatePhase.WAITING)
            await asyncio.sleep(min((order.not_before_ms - now) / 1000, 5.0))

    # fetching, in a thread

    def _trusted(self) -> tuple[bytes, Path | None]:
        return update_root.trusted(self._state_dir), self._host.plan.config.uplink.ca

    def _look(self, order: UpdateOrder) -> Target:
        from edge import tufclient  # noqa: PLC0415 - 20 MB that only an update needs

        root, ca = self._trusted()
        target = tufclient.look(self._state_dir, root, order.metadata_url, order.target, ca=ca)
        self._accept(order, target)
        return target

    def _fetch(self, order: UpdateOrder, check: Callable[[], None]) -> Path:
        from edge import tufclient  # noqa: PLC0415 - see above

        loop, told = self._loop, [0.0]

        def progress(done: int, size: int) -> None:
            check()
            if loop.time() - told[0] >= TOLD_EVERY_S or done == size:
                told[0] = loop.time()
                loop.call_soon_threadsafe(self._progressed, done, size)

        root, ca = self._trusted()
        return tufclient.fetch(
            self._state_dir, root, order.metadata_url, order.targets_url, order.target, self._steps.downloads,
            ca=ca, accept=lambda target: self._accept(order, target), progress=progress,
        )  # fmt: skip

    @staticmethod
    def _accept(order: UpdateOrder, target: Target) -> None:
        release = target.release
        check_fits(release, kind=ReleaseKind.AGENT, model=AGENT_MODEL, version=order.version, agent=VERSION)
        here = platform_of(platform.system(), platform.machine())
        if release.platform not in {ANY_PLATFORM, here}:
            raise UpdateRejected(f"it is for {release.platform}, this is {here}")

    def _progressed(self, done: int, size: int) -> None:
        """Tell, without writing it down: the bytes on the disk say as much."""
        state = self._steps.record.state(VERSION)
        if state.phase is UpdatePhase.DOWNLOADING:
            self._host.channel.state("reported/update", encode(msgspec.structs.replace(state, done=done, size=size)))

    # the trial of this version

    async def _settle(self) -> None:
        """Bring to its end what was on trial when this process started."""
        while True:
            try:
                await self._settle_once()
            except OSError as e:
                _log.error("the trial of a version cannot be brought to its end", reason=str(e))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _settle_once(self) -> None:
        steps, record = self._steps, self._steps.record
        if not self._launched:
            return
        if record.phase is not UpdatePhase.TRIAL or record.order is None:
            if record.ended:
                await self._tidy()
            return
        if steps.mine.name == record.slot:
            if steps.slots.committed == record.slot:
                await self._commit()
            else:
                await self._prove(record.order, record.were_up)
            return
        left = steps.was_left()
        if left is None:
            # The power went between the record and the link: the new version never ran.
            steps.switch(record.order, record.were_up, self._now_ms())
            await self._leave()
        steps.note(self._now_ms(), UpdatePhase.ROLLED_BACK, left or "")
        self._tell()
        await self._tidy()

    async def _leave(self) -> None:
        """Restart, and do nothing until that comes."""
        self._restart()
        await asyncio.Event().wait()

    async def _prove(self, order: UpdateOrder, were_up: tuple[str, ...]) -> None:
        began = self._loop.time()
        held_since: float | None = None
        asked = began
        self._tell()
        while True:
            now = self._loop.time()
            wrong = self._wrong(order, were_up, began)
            held_since = None if wrong else (held_since or now)
            if held_since is not None and now - held_since >= HOLDS_S:
                await self._commit()
                return
            if now - began >= order.trial_s:
                reason = f"not healthy within {order.trial_s} s: {'; '.join(wrong) or 'it did not last'}"
                _log.error("this version goes back", reason=reason)
                self._steps.give_up(reason, self._now_ms())
                self._tell()
                await self._leave()
            if now - asked >= ASK_S:
                asked = now
                self._host.uplink.ask()
            await asyncio.sleep(LOOK_S)

    def _wrong(self, order: UpdateOrder, were_up: tuple[str, ...], began: float) -> list[str]:
        host = self._host
        vital = Vital(host.uplink.acked_at, began, host.connectors, host.outbox.alive, rss_bytes())
        wrong = missing(vital, were_up, host.plan.devices)
        return (
            wrong
            if version_key(VERSION) == version_key(order.version)
            else [f"the bundle says that it is {VERSION}", *wrong]
        )

    async def _commit(self) -> None:
        self._steps.commit(self._now_ms())
        _end_guard()
        _log.info("this version is committed", version=VERSION)
        self._tell()
        await self._tidy()

    # small parts

    @property
    def _state_dir(self) -> Path:
        return self._host.plan.config.state_dir

    @property
    def _switched(self) -> bool:
        """Whether the next start is another version's, and nothing else is to be done before it."""
        return self._launched and self._steps.record.phase is UpdatePhase.TRIAL

    def _now_ms(self) -> int:
        return self._host.clock.now_ms()

    def _note(self, phase: UpdatePhase, reason: str = "", **more: object) -> None:
        try:
            self._steps.note(self._now_ms(), phase, reason, **more)
        except OSError as e:
            _log.error("the update's record cannot be kept", reason=str(e))
        self._tell()

    async def _tidy(self) -> None:
        """Thousands of files on a slow card: not on the loop."""
        try:
            await in_thread(lambda _check: self._steps.tidy(), "update-tidy")
        except OSError as e:
            _log.warning("what an update left cannot be deleted", reason=str(e))

    def _tell(self) -> None:
        self._host.channel.state("reported/update", encode(self._steps.record.state(VERSION)))


def _end_guard() -> None:
    """The launcher's, which watches a trial."""
    guard = os.environ.pop(GUARD, "")
    if guard.isdigit():
        with contextlib.suppress(OSError):
            os.kill(int(guard), signal.SIGKILL)
            os.waitpid(int(guard), 0)
