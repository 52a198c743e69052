"""S10: the launcher goes back from a version that does not prove itself, and never has nothing to start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.launch import ATTEMPTS, choose
from edge.slots import BASE, Slots, Trial

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    """An install folder without versions."""
    folder = tmp_path / "install"
    folder.mkdir()
    return Slots(folder)


@pytest.fixture
def install(slots: Slots) -> Callable[[str], None]:
    """Make a version that prints its slot, or does what is given."""

    def make(name: str, script: str = 'echo "$PATROL_SLOT $*"') -> None:
        slots.entry(name).parent.mkdir(parents=True)
        slots.entry(name).write_text(f"#!/bin/sh\n{script}\n")
        slots.entry(name).chmod(0o755)

    return make


def start(slots: Slots, *, grace_s: float = 30) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from pathlib import Path; from edge.launch import launch\n"
        f"launch(Path({str(slots.folder)!r}), ['run', '-c', 'x'], base=['/bin/echo', 'base'], grace_s={grace_s})"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False, env=environment
    )


def test_without_versions_the_packages_agent_is_started(slots: Slots) -> None:
    assert start(slots).stdout == "base run -c x\n"


def test_what_is_committed_is_started_and_not_counted(slots: Slots, install: Callable[[str], None]) -> None:
    install("1.0")
    slots.point("current", "1.0")
    slots.point("committed", "1.0")
    for _ in range(ATTEMPTS + 2):
        assert choose(slots) == "1.0"
    assert slots.trial() is None
    assert start(slots).stdout == "1.0 run -c x\n"


def test_S10_three_starts_without_a_commit_lead_back(slots: Slots, install: Callable[[str], None]) -> None:
    install("1.0")
    install("2.0")
    slots.point("committed", "1.0")
    slots.point("current", "2.0")
    slots.write_trial(Trial("2.0", 0, 60))
    for number in range(ATTEMPTS):
        assert choose(slots) == "2.0"
        trial = slots.trial()
        assert trial
        assert trial.attempts == number + 1
    assert choose(slots) == "1.0"
    assert slots.current == "1.0"
    trial = slots.trial()
    assert trial
    assert trial.reason == "3 starts, and it never proved healthy"


@pytest.mark.parametrize("held", [b"", b"{}", b"[1]", b"\xff", json.dumps({"name": "old", "attempts": 9}).encode()])
def test_S10_a_trial_that_cannot_be_read_begins_anew_and_still_ends(
    slots: Slots, install: Callable[[str], None], held: bytes
) -> None:
    install("2.0")
    slots.point("current", "2.0")
    (slots.folder / "trial").write_bytes(held)
    assert [choose(slots) for _ in range(ATTEMPTS + 1)] == ["2.0"] * ATTEMPTS + [BASE]


def test_S10_a_version_whose_program_is_gone_is_left_at_once(slots: Slots, install: Callable[[str], None]) -> None:
    install("1.0")
    slots.point("committed", "1.0")
    slots.point("current", "2.0")
    assert choose(slots) == "1.0"
    slots.point("previous", "1.0")
    slots.point("committed", "3.0")
    slots.point("current", "3.0")
    assert choose(slots) == "1.0", "a committed one that is gone leads to the one before"
    slots.entry("1.0").unlink()
    assert choose(slots) == BASE


def test_S10_a_program_that_cannot_be_started_is_left(slots: Slots, install: Callable[[str], None]) -> None:
    install("2.0")
    slots.entry("2.0").write_text("#!/no/such/interpreter\n")
    slots.point("current", "2.0")
    done = start(slots)
    assert done.stdout == "base run -c x\n"
    trial = slots.trial()
    assert trial
    assert "cannot be started" in trial.reason


def test_S10_a_version_that_hangs_is_ended_by_the_guard(slots: Slots, install: Callable[..., None]) -> None:
    install("2.0", "exec sleep 60")
    slots.point("current", "2.0")
    slots.write_trial(Trial("2.0", 0, 0))
    began = time.monotonic()
    done = start(slots, grace_s=0.5)
    assert done.returncode == -9
    assert time.monotonic() - began < 20
    assert start(slots).stdout == "base run -c x\n"
    trial = slots.trial()
    assert trial
    assert "hung" in trial.reason


def test_S10_the_guard_leaves_what_is_committed_alone(slots: Slots, install: Callable[..., None]) -> None:
    install("2.0", f'ln -sfn versions/2.0 "{slots.folder}/committed"; sleep 1; echo "$PATROL_SLOT still there"')
    slots.point("current", "2.0")
    slots.write_trial(Trial("2.0", 0, 0))
    assert start(slots, grace_s=0.4).stdout == "2.0 still there\n"


def test_slots_that_nothing_names_are_swept(slots: Slots, install: Callable[[str], None]) -> None:
    for name in ("1.0", "2.0", "3.0", "4.0"):
        install(name)
    slots.point("current", "3.0")
    slots.point("committed", "3.0")
    slots.point("previous", "2.0")
    slots.fresh()
    slots.sweep()
    assert sorted(path.name for path in slots.versions.iterdir()) == ["2.0", "3.0"]
