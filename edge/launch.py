"""The launcher: starts the version of the agent that may run, and goes back when a new one does not prove itself.

Owns the count of starts of a version that is not committed: it is on the disk before the version is started. After
three starts without a commit, or once the trial's time is over, the committed version is started again and the reason
is kept for it to report. The launcher becomes the agent (exec), so a service manager sees one process; only while a
trial lasts a guard stands beside it, which ends an agent that hangs. Knows nothing of what an update is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final, NoReturn

from edge.slots import BASE, GUARD, INSTALL_DIR, SLOT, Slots, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ATTEMPTS: Final = 3
GRACE_S: Final = 30
"""Beyond the trial's time, in which the agent itself may still go back and say why."""
_PR_SET_PDEATHSIG: Final = 1


def launch(folder: Path, arguments: Sequence[str], *, base: Sequence[str] = (), grace_s: float = GRACE_S) -> NoReturn:
    """Become the agent. arguments: its verb and options. base: what starts the package's own agent."""
    folder = folder.absolute()
    slots = Slots(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    while True:
        name = choose(slots)
        trial = slots.trial() if name != slots.committed else None
        environment = {**os.environ, INSTALL_DIR: str(folder), SLOT: name}
        environment.pop(GUARD, None)
        if trial:
            environment[GUARD] = str(_guard(slots, trial, trial.trial_s + grace_s))
        start = [*(base or _package())] if name == BASE else [str(slots.entry(name))]
        try:
            os.execve(start[0], [*start, *arguments], environment)  # noqa: S606 - the agent itself, no shell
        except OSError as e:
            _say(f"{start[0]}: {(e.strerror or str(e)).lower()}")
            if trial is None:
                sys.exit(1)
            _end(int(environment[GUARD]))
            slots.write_trial(trial._replace(reason=f"it cannot be started: {(e.strerror or str(e)).lower()}"))


def choose(slots: Slots) -> str:
    """The version to start now; its start is counted when it is on trial."""
    current, committed = slots.current, slots.committed
    if current == committed:
        return _safe(slots, committed)
    trial = slots.trial()
    if trial is None or trial.name != current:
        trial = Trial(current)
    if not trial.reason and not slots.runnable(current):
        trial = trial._replace(reason="its program is not there")
    if not trial.reason and trial.attempts >= ATTEMPTS:
        trial = trial._replace(reason=f"{trial.attempts} starts, and it never proved healthy")
    if trial.reason:
        slots.write_trial(trial)
        slots.point("current", committed)
        _say(f"version {current} is left for {committed}: {trial.reason}")
        return _safe(slots, committed)
    slots.write_trial(trial._replace(attempts=trial.attempts + 1))
    return current


def _safe(slots: Slots, name: str) -> str:
    """A version that can be started: the one that is meant, else the one before it, else the package's."""
    for each in (name, slots.previous):
        if slots.runnable(each):
            return each
        _say(f"version {each} cannot be started: its program is not there")
    return BASE


def _package() -> list[str]:
    return [sys.executable, "-P", "-m", "edge"]


def _guard(slots: Slots, trial: Trial, within_s: float) -> int:
    """A process that ends this one when it is not committed in time, and goes with it."""
    agent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    until = time.monotonic() + within_s
    while os.getppid() == agent and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))
        if slots.committed == trial.name:
            os._exit(0)
    if os.getppid() == agent and slots.committed != trial.name:
        held = slots.trial() or trial
        slots.write_trial(held._replace(reason=held.reason or f"not committed within {within_s:g} s, and it hung"))
        os.kill(agent, signal.SIGKILL)
    os._exit(0)


def _end(guard: int) -> None:
    os.kill(guard, signal.SIGKILL)
    os.waitpid(guard, 0)


def _say(text: str) -> None:
    print(f"patrol-edge: {text}", file=sys.stderr, flush=True)  # noqa: T201 - before there is a log
