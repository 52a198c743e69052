"""Images on disk: fetched once for however many devices, verified, and thrown away when no job wants them.

Owns `state_dir/firmware/images/<sha256>`. What is signed about a target is asked for each job anew while the cloud can
be reached; a job that had its image verified before a restart goes on with the bytes on disk, by their hash.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from edge import VERSION
from edge.firmware.base import Image
from edge.threads import in_thread
from edge.update_root import trusted
from firmware_specs.device_firmware import MAX_IMAGE_BYTES
from firmware_specs.errors import StoreError, UpdateRejected
from firmware_specs.release import ReleaseKind, check_fits, is_older

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from firmware_specs.release import Target
    from firmware_specs.wire_fleet import FirmwareJob

FRESH_S: Final = 600.0
"""How long what was signed about a target is believed without asking again: all devices of a wave share it."""
_PIECE: Final = 1024 * 1024


class Source(NamedTuple):
    """Where images come from. ca: who signs for the repository's server, None for whom the system trusts."""

    metadata_url: str
    targets_url: str
    ca: Path | None


class Images:
    """See the module."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._folder = state_dir / "firmware" / "images"
        self._locks: dict[str, asyncio.Lock] = {}
        self._signed: dict[str, tuple[float, Target]] = {}
        """By target: when it was asked for, and what is signed about it; its bytes are here."""

    async def get(
        self, source: Source, job: FirmwareJob, model: str, running: str, progress: Callable[[int, int], None]
    ) -> Image:
        """The image of a job. Raises UpdateRejected when it must not be used; LinkError, StoreError: try again."""
        loop = asyncio.get_running_loop()
        async with self._locks.setdefault(job.target, asyncio.Lock()):
            target = self._believed(job, model, running)
            if target is None:
                target = await self._fetch(source, job, model, running, progress)
                self._signed[job.target] = loop.time(), target
        return Image(self._folder / target.sha256, target.size, target.sha256, job.version)

    def _believed(self, job: FirmwareJob, model: str, running: str) -> Target | None:
        """What was signed about a job's target of late, while its bytes are here and it is what was ordered."""
        asked_at, target = self._signed.pop(job.target, (0.0, None))
        old = asyncio.get_running_loop().time() - asked_at > FRESH_S
        if target is None or old or not (self._folder / target.sha256).exists():
            return None
        try:
            _accept(target, job, model, running)
        except UpdateRejected:
            return None  # another may be signed under the same path by now
        self._signed[job.target] = asked_at, target
        return target

    async def _fetch(
        self, source: Source, job: FirmwareJob, model: str, running: str, progress: Callable[[int, int], None]
    ) -> Target:
        from edge.tufclient import fetch  # noqa: PLC0415 - loads python-tuf, which most runs never need

        loop = asyncio.get_running_loop()
        accepted: list[Target] = []

        def accept(target: Target) -> None:
            _accept(target, job, model, running)
            accepted.append(target)

        def fetch_it(check: Callable[[], None]) -> Target:
            def tell(done: int, size: int) -> None:
                check()
                loop.call_soon_threadsafe(progress, done, size)

            fetch(
                self._state_dir, trusted(self._state_dir), source.metadata_url, source.targets_url, job.target,
                self._folder, ca=source.ca, accept=accept, progress=tell,
            )  # fmt: skip
            return accepted[-1]

        return await in_thread(fetch_it, "firmware-fetch")

    async def kept(self, sha256: str, size: int, version: str) -> Image | None:
        """An image that was verified before a restart, if its bytes are still what they were."""
        path = self._folder / sha256
        if not sha256 or await asyncio.to_thread(_digest, path) != sha256:
            return None
        return Image(path, size, sha256, version)

    def clean(self, wanted: Collection[str]) -> None:
        """Throw away what no job wants. Raises StoreError."""
        try:
            for path in self._folder.iterdir() if self._folder.exists() else ():
                if path.name.removesuffix(".part") not in wanted:
                    path.unlink(missing_ok=True)
        except OSError as e:
            raise StoreError(str(self._folder), (e.strerror or str(e)).lower()) from e


def _accept(target: Target, job: FirmwareJob, model: str, running: str) -> None:
    """Raises UpdateRejected: not for this model, not the version that was ordered, too large, older than what runs."""
    try:
        check_fits(target.release, kind=ReleaseKind.FIRMWARE, model=model, version=job.version, agent=VERSION)
    except ValueError as e:
        raise UpdateRejected(str(e)) from e
    if target.size > MAX_IMAGE_BYTES or not target.size:
        raise UpdateRejected(f"{target.size} bytes; an image has 1 to {MAX_IMAGE_BYTES}")
    if running and not job.back and older(job.version, running):
        raise UpdateRejected(f"version {job.version} is older than {running}, which runs")


def older(version: str, than: str) -> bool:
    """Whether a version comes before another; what is no version is never older."""
    try:
        return is_older(version, than)
    except ValueError:
        return False


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as data:
            while piece := data.read(_PIECE):
                digest.update(piece)
    except OSError:
        return ""
    return digest.hexdigest()
