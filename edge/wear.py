"""How much is written to the disk a day: what an SD card dies of.

Owns the day's count over restarts. The kernel counts from its start, or the process from its own; what was counted
when it was last looked at stands in `wear.json` with the run of the counter that it belongs to. Bytes of a counter that
began anew are all of today. A clock that went back by up to a day adds to the latest day; by more, it was ahead, and
what was counted ahead is of today. One that was never set adds to nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec
import structlog

from firmware_specs.durable import write_file
from firmware_specs.wire_vitals import MAX_DAYS

FILE: Final = "wear.json"
_DAY_MS: Final = 86_400_000
_SANE_DAY: Final = 20_454
"""2026-01-01: an earlier clock was never set."""
_KEEP_EVERY_MS: Final = 600_000
_SECTOR: Final = 512
_log: structlog.stdlib.BoundLogger = structlog.get_logger("wear")


class Counter(msgspec.Struct, frozen=True):
    """What was counted. by: `disk` or `process`. run: a counter of another run began at zero."""

    by: str
    run: str
    count: int


class Days(msgspec.Struct, frozen=True):
    """Bytes by day, the running day last, and the counter as it was when they were made."""

    days: tuple[tuple[int, int], ...] = ()
    last: Counter | None = None


def after(before: Days, counter: Counter, now_ms: int) -> Days:
    """The days after another look at the counter. Pure."""
    last = before.last
    if last is None or last.by != counter.by:
        gained = 0
    elif last.run != counter.run or counter.count < last.count:
        gained = counter.count
    else:
        gained = counter.count - last.count
    day = now_ms // _DAY_MS
    if day < _SANE_DAY:
        return Days(before.days, counter)
    ahead = sum(count for each, count in before.days if each > day + 1)
    days, gained = [each for each in before.days if each[0] <= day + 1], gained + ahead
    if not days or days[-1][0] < day:
        days.append((day, 0))
    days[-1] = (days[-1][0], days[-1][1] + gained)
    return Days(tuple(days[-MAX_DAYS:]), counter)


def read_counter(folder: Path, boot: str) -> Counter | None:
    """What the kernel counts of a folder's disk, else of this process; None where it tells neither."""
    try:
        device = folder.stat().st_dev
        wanted = [str(os.major(device)), str(os.minor(device))]
        for line in Path("/proc/diskstats").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[:2] == wanted and len(fields) > 9:
                return Counter("disk", boot, int(fields[9]) * _SECTOR)
        for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(":")
            if name == "write_bytes":
                began = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
                return Counter("process", f"{boot}-{began}", int(count))
    except (OSError, ValueError, IndexError):
        return None
    return None


class Wear:
    """See the module."""

    def __init__(self, state_dir: Path, boot: str) -> None:
        self._folder = state_dir
        self._boot = boot
        self._days: Days | None = None
        self._kept_at = 0

    def look(self, now_ms: int) -> Days:
        """The days as they are now; kept every ten minutes."""
        if self._days is None:
            self._days = self._load()
        counter = read_counter(self._folder, self._boot)
        if counter is None:
            return self._days
        self._days = after(self._days, counter, now_ms)
        if abs(now_ms - self._kept_at) >= _KEEP_EVERY_MS:
            self._kept_at = now_ms
            try:
                write_file(self._folder / FILE, msgspec.json.encode(self._days))
            except OSError as e:
                _log.warning("the count of bytes written cannot be kept", reason=e.strerror or str(e))
        return self._days

    def _load(self) -> Days:
        try:
            return msgspec.json.decode((self._folder / FILE).read_bytes(), type=Days)
        except (OSError, msgspec.DecodeError):
            return Days()
