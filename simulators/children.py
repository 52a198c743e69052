"""Child processes that cannot outlive us: started in sessions of their own, watched, and ended by pid.

Owns their log files and their end. On Linux the kernel ends them when we are killed without a chance to; elsewhere
only an orderly end reaches them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from firmware_specs.errors import PatrolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

STOP_S: Final = 3.0
"""A child that has not ended this long after SIGTERM is killed: nothing that it accepted is lost by that."""
_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.02


class Child(NamedTuple):
    """A started process. stage: children of a lower stage are ended first."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stage: int


class ChildEnded(PatrolError):  # noqa: N818 - reads as what happened
    """A child ended that should not have."""

    def __init__(self, child: Child) -> None:
        self.child = child
        code = child.process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        super().__init__(f"{child.name} ended with {how}; the end of {child.log}:\n{tail(child.log)}")


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log file."""
    with contextlib.suppress(OSError):
        return "\n".join(f"    {line[:300]}" for line in log.read_text(errors="replace").splitlines()[-lines:])
    return ""


def _tie_to_parent() -> tuple[ctypes.CDLL, int] | None:
    return (ctypes.CDLL(None, use_errno=True), os.getpid()) if sys.platform == "linux" else None


class Children:
    """The processes of one run; a context manager that leaves none behind."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def start(self, name: str, argv: Sequence[str | Path], *, stage: int, env: Mapping[str, str]) -> Child:
        """Start a program, its output in `<name>.log`. Raises PatrolError when it cannot be started."""
        log = self._logs / f"{name}.log"
        tie = _tie_to_parent()

        def in_child() -> None:
            if tie is not None:
                libc, parent = tie
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)

        try:
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [str(part) for part in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                    start_new_session=True, env={**os.environ, **env},
                    preexec_fn=in_child,  # noqa: PLW1509 - we have one thread, and it only makes two system calls
                )  # fmt: skip
        except OSError as e:
            raise PatrolError(f"{argv[0]}: {e.strerror or e}") from e
        child = Child(name, process, log, stage)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raises ChildEnded for the first child that is no more."""
        for child in self._children:
            if child.process.poll() is not None:
                raise ChildEnded(child)

    def stop(self) -> None:
        """End all of them, stage by stage; together this takes no longer than STOP_S and a little."""
        deadline = time.monotonic() + STOP_S
        for stage in sorted({child.stage for child in self._children}):
            group = [child for child in self._children if child.stage == stage]
            for child in group:
                _signal(child, signal.SIGTERM)
            _wait(group, deadline)
        for child in self._children:
            _signal(child, signal.SIGKILL)
        _wait(self._children, time.monotonic() + 1)
        self._children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _signal(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, number)


def _wait(children: Sequence[Child], deadline: float) -> None:
    while any(child.process.poll() is None for child in children) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
