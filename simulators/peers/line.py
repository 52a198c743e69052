"""A sensor that writes a line for each report on its own serial line, and takes firmware there by XMODEM-CRC.

Owns the device's end of `docs/firmware.md`, "On a serial line": told to, it receives, restarts and says its version. An
image is known by its first line, which is the version; any other is left again.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import re
import select
import threading
from typing import TYPE_CHECKING, Any, Final

from firmware_specs.readings import Sample
from simulators.device import encoder
from simulators.peers.firmware import FIRST_VERSION, SHOWN_REBOOT_S
from simulators.peers.pty import Pty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_specs.schema import FirmwareChannel
    from simulators.device import Device

_VERSION: Final = re.compile(rb"[0-9A-Za-z.+-]{1,64}")
_SAID_S: Final = 3.0
"""How long the receiver waits before it says again that it is ready, or asks for a block anew."""
_LOOK_S: Final = 0.1


class LinePeer:
    """The only device of its line."""

    def __init__(self, path: Path, firmware: FirmwareChannel, reboot_s: float = SHOWN_REBOOT_S) -> None:
        """firmware: how its profile says that firmware comes into it."""
        self._path = path
        self._firmware = firmware
        self._reboot_s = reboot_s
        self._version = FIRST_VERSION
        self._heard = b""
        self._pty: Pty | None = None
        self._update: asyncio.Task[None] | None = None
        self._stop = threading.Event()

    async def start(self) -> None:
        """Plug it in."""
        self._pty = Pty(self._path)
        asyncio.get_running_loop().add_reader(self._pty.fileno(), self._hear, self._pty)

    async def send(self, device: Device, samples: Sequence[Sample], at_ms: int) -> None:
        """Write one report; nothing while it is being updated."""
        if self._pty is None or self._update is not None:
            return
        metric = self._firmware.version_metric or ""
        said = [sample for sample in samples if sample.metric != metric]
        version = Sample(metric, self._version)
        self._pty.write(encoder(device.profile)(device.name, [*said, version], at_ms) + b"\n")

    def _hear(self, pty: Pty) -> None:
        *lines, self._heard = (self._heard + pty.read()).split(b"\n")
        self._heard = self._heard[-256:]
        if self._firmware.enter.encode() in [line.strip() for line in lines]:
            loop = asyncio.get_running_loop()
            loop.remove_reader(pty.fileno())
            self._update = loop.create_task(self._take(pty), name=f"firmware-{self._path.name}")

    async def _take(self, pty: Pty) -> None:
        """Receive an image and restart; after it the line is heard again."""
        loop = asyncio.get_running_loop()
        image = await loop.run_in_executor(None, _Receiver(pty.fileno(), self._stop).receive)
        if image:
            await asyncio.sleep(self._reboot_s)
            first = image.partition(b"\n")[0]
            self._version = first.decode() if _VERSION.fullmatch(first) else self._version
        loop.add_reader(pty.fileno(), self._hear, pty)
        self._update = None

    async def stop(self) -> None:
        """Unplug it."""
        self._stop.set()
        if self._update is not None:
            self._update.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._update
        if self._pty:
            asyncio.get_running_loop().remove_reader(self._pty.fileno())
            self._pty.close()
            self._pty = None


class _Receiver:
    """The line as the library wants it, in its own thread."""

    def __init__(self, fd: int, stop: threading.Event) -> None:
        self._fd = fd
        self._stop = stop

    def receive(self) -> bytes:
        """An image, filled up to whole blocks; empty when none came."""
        import xmodem  # noqa: PLC0415 - only for an update

        logging.getLogger("xmodem.XMODEM").setLevel(logging.CRITICAL)
        image = io.BytesIO()
        make: Any = xmodem.XMODEM  # the library is not annotated
        taken = make(self._get, self._put).recv(image, crc_mode=1, retry=6, timeout=_SAID_S, quiet=True)
        return image.getvalue() if taken else b""

    def _get(self, size: int, timeout: float = _SAID_S) -> bytes | None:
        data = b""
        waited_s = 0.0
        while len(data) < size and waited_s < timeout and not self._stop.is_set():
            if not select.select([self._fd], [], [], _LOOK_S)[0]:
                waited_s += _LOOK_S
                continue
            with contextlib.suppress(OSError):  # unplugged
                data += os.read(self._fd, size - len(data))
        return data or None

    def _put(self, data: bytes, _timeout: float = _SAID_S) -> int:
        with contextlib.suppress(OSError):
            return os.write(self._fd, data)
        return 0
