"""The gateway's clocks: wall time with its quality, monotonic time, and the boot that the latter belongs to.

Owns the question whether a time source disciplines the wall clock. Everything else is handed its times.
"""

from __future__ import annotations

import ctypes
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.readings import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

_ASK_EVERY_S: Final = 10.0
_JUMP_MS: Final = 1000
_DOUBT_S: Final = 60.0
_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 256
_STA_NANO: Final = 0x2000
_OFFSET_AT: Final = 8
_STATUS_AT: Final = 40
"""Bytes before `status` in struct timex on 64-bit Linux: modes, offset, freq, maxerror, esterror (4 + 4 + 4 x 8)."""


class Moment(NamedTuple):
    """When something was received: wall clock, its quality, and the monotonic clock."""

    wall_ms: int
    monotonic_ms: int
    clock: Clock


def boot_id() -> str:
    """The kernel's id of this boot; a random one where the kernel gives none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")
    except OSError:
        return uuid.uuid4().hex


class GatewayClock:
    """Reads the clocks of the machine; asks the kernel every 10 s whether they are disciplined.

    A wall clock that jumps against the monotonic one is doubted for a minute whatever the kernel says: who set it
    may have set it wrong. The readings between a jump and the kernel's word must not pass for well timed.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        disciplined: Callable[[], bool] | None = None,
    ) -> None:
        """The clocks of this machine unless others are given."""
        self.boot = boot_id()
        self._wall_ns = wall_ns
        self._monotonic = monotonic
        self._disciplined = disciplined or is_disciplined
        self._ask_at = 0.0
        self._quality = Clock.UNSYNCED
        self._apart_ms: int | None = None
        self._doubted_until = 0.0

    def now_ms(self) -> int:
        """Wall clock, ms UTC."""
        return self._wall_ns() // 1_000_000

    def now(self) -> Moment:
        """All of it."""
        monotonic = self._monotonic()
        wall_ms, monotonic_ms = self._wall_ns() // 1_000_000, int(monotonic * 1000)
        apart_ms, before_ms = wall_ms - monotonic_ms, self._apart_ms
        if before_ms is not None and abs(apart_ms - before_ms) > _JUMP_MS:
            self._doubted_until = monotonic + _DOUBT_S
        self._apart_ms = apart_ms
        if monotonic >= self._ask_at:
            self._ask_at = monotonic + _ASK_EVERY_S
            self._quality = Clock.SYNCED if self._disciplined() else Clock.UNSYNCED
        return Moment(wall_ms, monotonic_ms, Clock.UNSYNCED if monotonic < self._doubted_until else self._quality)


def is_disciplined() -> bool:
    """Whether the kernel says that a time source disciplines the wall clock."""
    told = _adjtimex()
    if told is None:
        return Path("/run/systemd/timesync/synchronized").exists()
    state, status, _ = told
    return state >= 0 and state != _TIME_ERROR and not status & _STA_UNSYNC


def offset_ms() -> float | None:
    """What the kernel is still correcting, ms; None when no time source disciplines the clock."""
    told = _adjtimex()
    if told is None or told[0] < 0 or told[0] == _TIME_ERROR or told[1] & _STA_UNSYNC:
        return None
    _, status, offset = told
    return offset / (1e6 if status & _STA_NANO else 1e3)


def _adjtimex() -> tuple[int, int, int] | None:
    """The kernel's clock state, status and offset; None when it cannot be asked."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return None
    status = int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], "little")
    return state, status, int.from_bytes(timex.raw[_OFFSET_AT : _OFFSET_AT + 8], "little", signed=True)
