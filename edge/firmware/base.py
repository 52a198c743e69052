"""What firmware modules share: the device, the image, the way into the device, and how fast it may be used.

Owns the protocol of a sender. A sender moves bytes and knows nothing of jobs, windows or outcomes.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from firmware_specs.device_firmware import image_id
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from firmware_specs.schema import FirmwareChannel

    Progress = Callable[[int], None]
    """Takes the offset up to which the device has everything."""

BYTES_A_SECOND: Final = 128 * 1024
"""That firmware may take of one connector: readings and alarms have the rest."""


class FirmwareDevice(NamedTuple):
    """A device that we know how to update."""

    id: str
    connector: str
    address: str
    firmware: FirmwareChannel


class Image:
    """A verified image on disk, read in pieces. Close it, or use it as a context."""

    def __init__(self, path: Path, size: int, sha256: str, version: str) -> None:
        """Raises StoreError when it cannot be read."""
        self.size = size
        self.sha256 = sha256
        self.version = version
        self.id = image_id(sha256)
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise StoreError(str(path), (e.strerror or str(e)).lower()) from e

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from an offset on, fewer at the end. Raises StoreError."""
        try:
            return os.pread(self._fd, size, offset)
        except OSError as e:
            raise StoreError(str(self._path), (e.strerror or str(e)).lower()) from e

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class Sender(Protocol):
    """A way into devices of one connector."""

    async def send(self, device: FirmwareDevice, image: Image, tell: Progress) -> None:
        """Bring the image into the device, going on where it stands; return when it has all of it and says so.

        Raises LinkError when it does not answer: call again. UpdateRejected when it refuses the image.
        """

    async def ask(self, device: FirmwareDevice) -> None:
        """Have the device say which version it runs, where it can be asked. Raises LinkError."""


class Listener(Protocol):
    """Who learns what devices say of their firmware. Quick, never raises."""

    def runs(self, device: str, version: str, *, live: bool = True) -> None:
        """A device runs a version. live: it says so now; a retained word is none."""

    def left(self, device: str, reason: str) -> None:
        """A device could not take an image over and left it again."""


class Pace:
    """How fast firmware may go over one connector, all its devices together; waits for those who have readings."""

    def __init__(self, ready: Callable[[], Awaitable[None]], bytes_a_second: int = BYTES_A_SECOND) -> None:
        """ready: returns when the gateway takes readings."""
        self._ready = ready
        self._rate = bytes_a_second
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Return when so many bytes may go out."""
        await self._ready()
        loop = asyncio.get_running_loop()
        begin = max(self._free_at, loop.time())
        self._free_at = begin + size / self._rate
        await asyncio.sleep(begin - loop.time())
