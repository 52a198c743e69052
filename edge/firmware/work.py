"""One job from its start window to its outcome.

Owns the steps: wait for the window, get the image, bring it into the device, and wait for the device to come back with
the new version. Its rules:
- a job begins within its window or fails; what has begun goes on past its end;
- a link that is lost is waited for; a device that takes nothing for `give_up_s` has failed;
- the outcome is what the device itself says after its restart: the new version within `reboot_s`, or it has failed;
- a device that tells the new version is done, whatever step the job is at.

Knows nothing of who ordered it and who is told.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog

from edge.firmware.images import older
from firmware_specs.errors import LinkError, StoreError
from firmware_specs.release import same_version
from firmware_specs.wire_fleet import UpdatePhase

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.firmware.base import FirmwareDevice, Image, Sender
    from edge.firmware.book import Kept
    from edge.firmware.images import Images, Source

FETCH_S: Final = 3600.0
"""How long a repository that cannot be reached is asked for an image."""
_BACKOFF_S: Final = 30.0
_LOOK_S: Final = 30.0
"""How often one who waits for a time looks at the wall clock, which may be set."""
_log: structlog.stdlib.BoundLogger = structlog.get_logger("firmware")


class FailedError(Exception):
    """The job has failed, and why."""


class Around(NamedTuple):
    """What a job works with.

    way: the present sender of a connector and its places; raises LinkError. source: where images come from now.
    changed: told that the job stands otherwise, and whether it is more than progress.
    """

    images: Images
    way: Callable[[str], tuple[Sender, asyncio.Semaphore]]
    source: Callable[[], Source]
    now_ms: Callable[[], int]
    changed: Callable[[bool], None]


class Work:
    """One job under way. `run` gives nothing and raises FailedError or UpdateRejected when it does not end well."""

    def __init__(self, kept: Kept, device: FirmwareDevice, around: Around) -> None:
        self._kept = kept
        self._device = device
        self._way = around.way
        self._images = around.images
        self._source = around.source
        self._now_ms = around.now_ms
        self._changed = around.changed
        self._news = asyncio.Event()
        self.running = ""
        self._said = ""
        self._left = ""
        self._tries = 0

    # what the device says

    def runs(self, version: str, *, live: bool) -> None:
        """The device runs a version."""
        self.running = version
        if live:
            self._said = version
            self._news.set()

    def left(self, reason: str) -> None:
        """The device left an image again."""
        if self._kept.state.phase is UpdatePhase.TRIAL:
            self._left = reason
            self._news.set()

    @property
    def _done(self) -> bool:
        return bool(self._said) and same_version(self._said, self._kept.job.version)

    # the steps

    async def run(self) -> None:
        """Do it."""
        if self._kept.state.phase not in {UpdatePhase.SENDING, UpdatePhase.TRIAL}:
            await self._wait_for_window()
        if self._kept.state.phase is not UpdatePhase.TRIAL:
            if self._done or await self._send_within_places():
                return
            self._kept.back_by_ms = self._now_ms() + round(1000 * self._device.firmware.reboot_s)
            self.step(UpdatePhase.TRIAL, done=self._kept.size)
        await self._wait_for_device()

    def step(self, phase: UpdatePhase, *, done: int = 0, reason: str = "") -> None:
        """The job stands at a phase now."""
        state = self._kept.state
        new = phase is not state.phase or reason != state.reason
        self._kept.state = msgspec.structs.replace(
            state, phase=phase, done=done, size=self._kept.size, reason=reason[:2048], at_ms=self._now_ms()
        )
        self._changed(new)

    async def _wait_for_window(self) -> None:
        job = self._kept.job
        while (wait_ms := job.not_before_ms - self._now_ms()) > 0:
            self.step(UpdatePhase.WAITING)
            await asyncio.sleep(min(wait_ms / 1000, _LOOK_S))
        self._within_window()

    def _within_window(self) -> None:
        if self._kept.job.ends_at_ms and self._now_ms() > self._kept.job.ends_at_ms:
            raise FailedError("its start window ended before it could begin")

    async def _send_within_places(self) -> bool:
        """Bring the image in; whether the device told the new version meanwhile. So many of a connector at a time."""
        resumed = self._kept.state.phase is UpdatePhase.SENDING
        image = await self._image()
        with image:
            _, places = await self._patiently_find_way()
            async with places:
                if not resumed:
                    self._within_window()
                self.step(UpdatePhase.SENDING)
                return await self._send(image)

    async def _image(self) -> Image:
        kept, job = self._kept, self._kept.job
        newer = self.running and not job.back and older(job.version, self.running)
        if kept.state.phase is UpdatePhase.SENDING and not newer:
            image = await self._images.kept(kept.sha256, kept.size, job.version)
            if image:
                return image
        self.step(UpdatePhase.DOWNLOADING)
        loop = asyncio.get_running_loop()
        until = loop.time() + FETCH_S
        while True:
            try:
                image = await self._images.get(
                    self._source(), job, self._device.firmware.model, self.running, self._fetched
                )
            except (LinkError, StoreError) as e:
                if loop.time() > until:
                    raise FailedError(f"the image could not be had: {e}") from e
                self.step(UpdatePhase.DOWNLOADING, done=kept.state.done, reason=str(e))
                await self._pause()
            else:
                kept.sha256, kept.size = image.sha256, image.size
                return image

    def _fetched(self, done: int, size: int) -> None:
        if self._kept.state.phase is UpdatePhase.DOWNLOADING:
            self._kept.size = size
            self.step(UpdatePhase.DOWNLOADING, done=done)

    async def _patiently_find_way(self) -> tuple[Sender, asyncio.Semaphore]:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._device.firmware.give_up_s
        while True:
            try:
                return self._way(self._device.connector)
            except LinkError as e:
                if loop.time() > until:
                    raise FailedError(str(e)) from e
                await self._pause()

    async def _send(self, image: Image) -> bool:
        loop = asyncio.get_running_loop()
        moved_at = loop.time()
        self._tries = 0

        def tell(offset: int) -> None:
            nonlocal moved_at
            if self._kept.state.phase is not UpdatePhase.SENDING:
                return
            if offset > self._kept.state.done:
                moved_at = loop.time()
                self._tries = 0
            self.step(UpdatePhase.SENDING, done=offset)

        while True:
            try:
                if await self._try_to_send(image, tell):
                    return True
            except (LinkError, StoreError) as e:
                if loop.time() - moved_at > self._device.firmware.give_up_s:
                    raise FailedError(f"given up: {e}") from e
                self.step(UpdatePhase.SENDING, done=self._kept.state.done, reason=str(e))
                await self._pause()
            else:
                return False

    async def _try_to_send(self, image: Image, tell: Callable[[int], None]) -> bool:
        """One try, which ends at once when the device tells the new version; whether it did."""
        sender, _ = self._way(self._device.connector)
        sending = asyncio.ensure_future(sender.send(self._device, image, tell))
        try:
            while not sending.done() and not self._done:
                self._news.clear()
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait({sending, news}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
            if sending.done():
                sending.result()
            return self._done
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait({sending})

    async def _wait_for_device(self) -> None:
        """Until the restarted device tells its version, or its time is over."""
        reboot_s = self._device.firmware.reboot_s
        loop = asyncio.get_running_loop()
        # By the loop's clock: the wall clock only says what was left when the agent itself was started again.
        left_s = min(max((self._kept.back_by_ms - self._now_ms()) / 1000, 0.0), reboot_s)
        until = loop.time() + max(left_s, min(reboot_s, 10.0))
        every_s = max(1.0, reboot_s / 60)
        self._said = self._said if self._done else ""
        while not self._done and not self._left and (wait_s := until - loop.time()) > 0:
            await self._ask()
            self._news.clear()
            try:
                async with asyncio.timeout(min(wait_s, every_s)):
                    await self._news.wait()
            except TimeoutError:
                continue
        if self._done:
            return
        if self._left:
            raise FailedError(f"the device left the new version again: {self._left}")
        if self._said:
            raise FailedError(f"the device came back with version {self._said[:64]}")
        raise FailedError(f"the device is silent since its restart, {reboot_s:g} s ago")

    async def _ask(self) -> None:
        try:
            sender, _ = self._way(self._device.connector)
            await sender.ask(self._device)
        except LinkError as e:
            _log.debug("the device does not answer yet", device=self._device.id, reason=e.reason)

    async def _pause(self) -> None:
        """Wait for what may come back, longer each time, with jitter."""
        self._tries += 1
        await asyncio.sleep(random.uniform(0.1, min(_BACKOFF_S, 0.5 * 2.0 ** min(self._tries, 10))))  # noqa: S311 - jitter
