"""Why the agent had to start: a note of each run, and what its absence says at the next start.

Owns `starts.json` in the state folder: the run that goes on, the boot it belongs to and how it ended, and the latest
starts with their reasons. The rule is pure: a run that noted its end ended that way; one that did not ended with its
machine when the boot is another one, else it was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from firmware_specs.durable import write_file
from firmware_specs.wire_vitals import MAX_STARTS, Start, StartReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FILE: Final = "starts.json"
_log: structlog.stdlib.BoundLogger = structlog.get_logger("starts")


class Run(msgspec.Struct, frozen=True):
    """A run of the agent. ended: empty while it goes on, and after an end that it could not note."""

    boot: str
    ended: StartReason | None = None
    detail: str = ""


class _Book(msgspec.Struct):
    run: Run | None = None
    starts: list[Start] = []


def reason_of(run: Run | None, boot: str) -> tuple[StartReason, str]:
    """Why a start was needed, by the note of the run before and the boot id of now."""
    if run is None:
        return StartReason.FIRST, ""
    if run.ended is not None:
        return run.ended, run.detail
    return (StartReason.KILL if run.boot == boot else StartReason.POWER), ""


class Starts:
    """See the module. A disk that refuses loses a reason, never a start."""

    def __init__(self, state_dir: Path, boot: str, now_ms: Callable[[], int]) -> None:
        self._file = state_dir / FILE
        self._boot = boot
        self._now_ms = now_ms
        self._book = _Book()

    @property
    def latest(self) -> tuple[Start, ...]:
        """The latest starts, the oldest first."""
        return tuple(self._book.starts)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Note the start, and how the block ends; the service manager's watchdog ends it by SIGABRT."""
        self._begin()
        before = signal.signal(signal.SIGABRT, self._aborted)
        try:
            yield
        except asyncio.CancelledError:
            self._end(StartReason.STOP)
            raise
        except BaseException as e:
            self._end(StartReason.CRASH, _class_of(e))
            raise
        else:
            self._end(StartReason.STOP)
        finally:
            signal.signal(signal.SIGABRT, before)

    def _begin(self) -> None:
        if self._file.exists():
            try:
                self._book = msgspec.json.decode(self._file.read_bytes(), type=_Book)
            except (OSError, msgspec.DecodeError) as e:
                _log.warning("the note of the last run cannot be read", reason=str(e)[:200])
        reason, detail = reason_of(self._book.run, self._boot)
        start = Start(max(0, self._now_ms()), reason, detail)
        self._book = _Book(Run(self._boot), [*self._book.starts, start][-MAX_STARTS:])
        self._write()
        _log.info("agent started", reason=reason.value, detail=detail)

    def _end(self, reason: StartReason, detail: str = "") -> None:
        self._book.run = Run(self._boot, reason, detail)
        self._write()

    def _aborted(self, _signal: int, _frame: object) -> None:
        self._end(StartReason.WATCHDOG)
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGABRT)

    def _write(self) -> None:
        try:
            write_file(self._file, msgspec.json.encode(self._book))
        except OSError as e:
            _log.warning("the note of this run cannot be written", reason=e.strerror or str(e))


def _class_of(error: BaseException) -> str:
    """The class of what went wrong; of a group its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__[:100]
