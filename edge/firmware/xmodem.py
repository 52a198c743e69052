"""Firmware by XMODEM-CRC over a serial line, which is the device's alone meanwhile.

Owns the thread in which the library works, and the line's bytes for it. The connector lends the port and reads no
frames until it has it back; XMODEM knows no going on from the middle, so each try begins anew. What a device prints
before it asks for the first block is passed over. A device that asks for check sums instead of CRC waits in vain.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from edge.connectors.serial import SerialConnector
    from edge.firmware.base import FirmwareDevice, Image, Progress

_CRC: Final = b"C"
_CAN: Final = b"\x18"
_EOT: Final = b"\x04"
_EOT_S: Final = 5.0
"""What a receiver may take to believe in the end: `rx` waits three seconds whether it was noise."""
_QUIET_S: Final = 0.05
"""A request for the first block stands alone; a `C` within text does not."""
_LOOK_S: Final = 0.1
_TRIES: Final = 10
"""Of a block that does not arrive whole, and seconds for the first request."""
_SILENT_TRIES: Final = 3
"""Of a block that nobody says anything to."""


class _GoneError(Exception):
    """The transfer cannot go on."""


class XmodemSender:
    """See the module."""

    def __init__(self, connector: SerialConnector) -> None:
        self._connector = connector

    async def ask(self, device: FirmwareDevice) -> None:
        """A serial device tells its version by itself, in its frames."""

    async def send(self, device: FirmwareDevice, image: Image, tell: Progress) -> None:
        """See `Sender`."""

        async def use(fd: int) -> None:
            loop = asyncio.get_running_loop()

            def told(offset: int) -> None:
                loop.call_soon_threadsafe(tell, offset)

            line = _Line(fd, device, image, told)
            work = loop.run_in_executor(None, line.run)
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                line.stop.set()
                await asyncio.wait({work})
                raise

        await self._connector.lend(use)


class _Line:
    """The port as the library wants it, in its own thread."""

    def __init__(self, fd: int, device: FirmwareDevice, image: Image, tell: Progress) -> None:
        self._fd = fd
        self._device = device
        self._image = image
        self._tell = tell
        self._offset = 0
        self._begun = False
        self._cancels = 0
        self._missed = 0
        self._ended = False
        self.stop = threading.Event()

    def run(self) -> None:
        """Send all of it. Raises LinkError when the device does not take it."""
        import xmodem  # noqa: PLC0415 - only for a device that needs it

        logging.getLogger("xmodem.XMODEM").setLevel(logging.CRITICAL)
        firmware = self._device.firmware
        make: Any = xmodem.XMODEM  # the library is not annotated
        modem = make(self.get, self.put, mode="xmodem1k" if firmware.chunk_bytes == 1024 else "xmodem")
        try:
            if firmware.enter:
                self.put(firmware.enter.encode("ascii") + b"\r\n")
            taken = modem.send(self, retry=_TRIES, timeout=firmware.ack_timeout_s, quiet=True, callback=self._count)
        except (_GoneError, OSError) as e:
            if self.stop.is_set():
                os.write(self._fd, 2 * _CAN)  # the device shall not wait for the rest
            raise LinkError(self._device.connector, str(e)) from e
        if not taken:
            why = "did not take it" if self._begun else "did not ask for the first block"
            raise LinkError(self._device.connector, f"the device {why}")

    def read(self, size: int) -> bytes:
        """The next bytes of the image, for the library."""
        data = self._image.read(self._offset, size)
        self._offset += len(data)
        return data

    def _count(self, _total: int, good: int, _errors: int) -> None:
        self._tell(min(good * self._device.firmware.chunk_bytes, self._image.size))

    def get(self, size: int, timeout: float = 1) -> bytes | None:
        """Bytes of the line; None when none come in time."""
        until = time.monotonic() + (max(timeout, _EOT_S) if self._ended else timeout)
        while (left := until - time.monotonic()) > 0:
            if self.stop.is_set():
                raise _GoneError("the transfer was stopped")
            if not select.select([self._fd], [], [], min(left, _LOOK_S))[0]:
                continue
            data = self._receive(size if self._begun else 256)
            if self._begun:
                self._missed = 0
                self._cancels = self._cancels + 1 if data == _CAN else 0
                if self._cancels > 1:
                    raise _GoneError("the device cancelled the transfer")
                return data
            alone = data[-1:] == _CRC and not select.select([self._fd], [], [], _QUIET_S)[0]
            if alone:
                self._begun = True
                return _CRC
        self._missed += 1
        if self._begun and self._missed >= _SILENT_TRIES:
            raise _GoneError(f"the device said nothing for {_SILENT_TRIES} x {timeout:g} s")
        return None

    def _receive(self, size: int) -> bytes:
        try:
            data = os.read(self._fd, size)
        except BlockingIOError:
            return b""
        if not data:
            raise _GoneError("the port went away")
        return data

    def put(self, data: bytes, _timeout: float = 1) -> int:
        """Write all of it, as fast as the line takes it."""
        self._ended = data == _EOT
        view = memoryview(data)
        while view:
            if self.stop.is_set():
                raise _GoneError("the transfer was stopped")
            if select.select([], [self._fd], [], _LOOK_S)[1]:
                view = view[os.write(self._fd, view) :]
        return len(data)
