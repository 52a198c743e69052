"""Faults of one process, made from outside: another clock, a disk that refuses to grow.

Owns the ways to start and treat a process so; Linux only, no root.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.harness import Part

_FAKETIME = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


class FakeClock:
    """The wall clock of one part, by libfaketime; its monotonic clock stays true."""

    def __init__(self, part: Part, folder: Path) -> None:
        found = [file for pattern in _FAKETIME for file in Path("/").glob(pattern[1:])]
        if not found:
            pytest.skip("libfaketime is not installed: the wall clock of a process cannot be set (package faketime)")
        self._file = folder / "clock"
        self.shift(0)
        part.env = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def shift(self, seconds: int) -> None:
        """Let the clock run this far from the truth from now on."""
        temporary = self._file.with_suffix(".new")
        temporary.write_text(f"{seconds:+d}\n")
        temporary.replace(self._file)


def log_through_pipe(part: Part) -> None:
    """Let the part write its log through `cat`, so that a limit on its own files does not stop its log."""
    part.argv = ["bash", "-c", 'exec "$@" > >(exec cat) 2>&1', "bash", *part.argv]


def refuse_growth(part: Part) -> None:
    """From now on no file of the process can grow beyond one byte: every write to disk fails."""
    hard = resource.prlimit(part.running.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(part.running.pid, resource.RLIMIT_FSIZE, (1, hard))


def allow_growth(part: Part) -> None:
    """The disk has room again."""
    hard = resource.prlimit(part.running.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(part.running.pid, resource.RLIMIT_FSIZE, (hard, hard))
