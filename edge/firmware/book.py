"""What is kept of firmware over restarts: the jobs, how each stands, and which versions devices were heard to run.

Owns `state_dir/firmware/jobs.json`. A file that cannot be read is begun anew: the orders wait at the broker, and a
device says where it stands. Written beside the loop, the latest state only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from firmware_specs.durable import write_file
from firmware_specs.wire_fleet import FirmwareJob, FirmwareState, UpdatePhase, UpdateState

if TYPE_CHECKING:
    from pathlib import Path

_log: structlog.stdlib.BoundLogger = structlog.get_logger("firmware")
_RETRY_S: Final = 10.0


class Kept(msgspec.Struct):
    """A job and how it stands. sha256: of its image, once verified. back_by_ms: when a restarted device is due."""

    job: FirmwareJob
    state: UpdateState
    sha256: str = ""
    size: int = 0
    back_by_ms: int = 0


class _File(msgspec.Struct):
    metadata_url: str = ""
    targets_url: str = ""
    jobs: dict[str, Kept] = {}
    running: dict[str, str] = {}
    failed: int = 0


class Book:
    """See the module. jobs: the last of each device. running: versions by device."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "jobs.json"
        self._file = _File()
        self._changed = asyncio.Event()

    def open(self) -> None:
        """Read what is there."""
        try:
            self._file = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
            _log.error("the kept firmware jobs cannot be read and are begun anew", file=str(self._path), reason=str(e))

    @property
    def jobs(self) -> dict[str, Kept]:
        """The last job of each device."""
        return self._file.jobs

    @property
    def running(self) -> dict[str, str]:
        """Versions by device."""
        return self._file.running

    @property
    def failed(self) -> int:
        """Jobs that ended badly, ever."""
        return self._file.failed

    @property
    def urls(self) -> tuple[str, str]:
        """Where metadata and targets are."""
        return self._file.metadata_url, self._file.targets_url

    def use(self, metadata_url: str, targets_url: str) -> None:
        """Images come from there from now on."""
        self._file.metadata_url, self._file.targets_url = metadata_url, targets_url
        self._changed.set()

    def count_failure(self) -> None:
        """One more ended badly."""
        self._file.failed += 1

    def changed(self) -> None:
        """Have it written."""
        self._changed.set()

    async def keep(self) -> None:
        """Write what changes until cancelled; a disk that refuses is tried again."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await asyncio.to_thread(self._write, msgspec.json.encode(self._file))
            except OSError as e:
                _log.error("firmware jobs cannot be kept", file=str(self._path), reason=e.strerror)
                self._changed.set()
                await asyncio.sleep(_RETRY_S)

    def _write(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(self._path, data)

    def state(self) -> FirmwareState:
        """How it stands, for the cloud."""
        idle = {name: UpdateState(UpdatePhase.IDLE) for name in self.running if name not in self.jobs}
        states = {**{name: kept.state for name, kept in self.jobs.items()}, **idle}
        return FirmwareState({
            name: msgspec.structs.replace(state, running=self.running.get(name, "")) for name, state in states.items()
        })  # fmt: skip
