"""D3, S10: `kill -9` at every system call that changes the disk, in every step of the agent's update.

The calls are counted by strace in a run that is left alone; then each is where a run ends. After each the launcher
starts the old or the new version, whole, and doing the step again leads to where it should.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from edge import update_record
from edge.slots import BASE, Slots
from firmware_specs.wire_fleet import UpdatePhase
from tests.releases.release_support import Served, World, bundle
from tests.support import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.system
ROOT: Final = Path(__file__).resolve().parents[2]
DRIVER: Final = Path(__file__).with_name("update_driver.py")
STRACE: Final = shutil.which("strace")
CALLS: Final = (
    "write,pwrite64,fsync,ftruncate,fchmod,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,unlink,unlinkat,"
    "rmdir,link,linkat"
)
NEW: Final = "1.1.0"
SCRIPT: Final = '#!/bin/sh\necho "{name} $PATROL_SLOT"\n'
Words = tuple[str | Path, ...]


class Driver:
    """The process that forks one for each step."""

    def __init__(self, log: Path) -> None:
        if STRACE is None:
            pytest.skip("strace is not installed: nothing else kills at a chosen system call")
        self.log = log
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with log.open("w") as err:
            self._running = subprocess.Popen(
                [sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True,
                env=environment,
            )  # fmt: skip

    def run(self, words: Words, *strace: str) -> int:
        """Do a step, traced when there are options for it; its exit code, negative for a signal."""
        assert self._running.stdin
        assert self._running.stdout
        self._running.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self._running.stdin.flush()
        pid = int(self._running.stdout.readline())
        tracer = None
        if strace:
            tracer = subprocess.Popen([str(STRACE), "-f", "-qq", "-p", str(pid), *strace], stderr=subprocess.DEVNULL)
            status = Path(f"/proc/{pid}/status")
            wait_for(lambda: "TracerPid:\t0\n" not in status.read_text(), 10, "strace to attach")
        os.kill(pid, signal.SIGCONT)
        code = int(self._running.stdout.readline())
        if tracer:
            tracer.wait(10)
        return code

    def does(self, words: Words) -> None:
        """Do a step that has to succeed."""
        assert self.run(words) == 0, f"{words}: {self.log.read_text()[-1500:]}"

    def started(self, place: Path) -> str:
        """What the launcher starts there: its name, and in which slot."""
        self.does(("launch", place / "install", place / "old", place / "out"))
        return (place / "out").read_text().strip()

    def killed_everywhere(self, folder: Path, prepare: Callable[[Path], Words]) -> Iterator[tuple[Path, Words]]:
        """For each call of a step: a place that was prepared, and in which the step was killed there."""
        whole = folder / "whole"
        whole.mkdir()
        log = folder / "strace.log"
        assert self.run(prepare(whole), "-o", str(log), "-e", f"trace={CALLS}") == 0, self.log.read_text()[-1500:]
        calls = calls_of(log)
        assert len(calls) > 2
        for name, which in calls:
            place = folder / f"{name}-{which}"
            place.mkdir()
            words = prepare(place)
            inject = f"inject={name}:signal=KILL:when={which}"
            assert self.run(words, "-o", "/dev/null", "-e", f"trace={name}", "-e", inject) == -9, place.name
            yield place, words
            shutil.rmtree(place)

    def end(self) -> None:
        assert self._running.stdin
        self._running.stdin.close()
        assert self._running.stdout
        self._running.stdout.close()
        self._running.wait(10)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A process that does steps."""
    made = Driver(tmp_path / "driver.log")
    yield made
    made.end()


def calls_of(log: Path) -> list[tuple[str, int]]:
    """Every call that was made, by its name and how manieth of that name it was."""
    seen: Counter[str] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"(?:\d+\s+)?(\w+)\(", line)
        if match:
            seen[match[1]] += 1
            found.append((match[1], seen[match[1]]))
    return found


def home(place: Path) -> Path:
    """A package's agent and a bundle of a newer one; gives the bundle."""
    old = place / "old"
    old.write_text(SCRIPT.format(name="old"))
    old.chmod(0o755)
    path = place / "bundle.zip"
    path.write_bytes(bundle({"bin/patrol-edge": (SCRIPT.format(name="new"), 0o755), "lib/data": ("x" * 100, 0o644)}))
    return path


def install(place: Path) -> Words:
    path = home(place)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return "install", place / "state", place / "install", path, digest, NEW


def trial(driver: Driver, verb: str) -> Callable[[Path], Words]:
    """A place where the new version is on trial; the step commits or leaves it."""

    def prepare(place: Path) -> Words:
        driver.does(install(place))
        assert driver.started(place) == f"new {NEW}"
        return verb, place / "state", place / "install", NEW, NEW

    return prepare


def test_kill_at_every_write_of_the_install_D3_S10(tmp_path: Path, driver: Driver) -> None:
    for place, words in driver.killed_everywhere(tmp_path, install):
        assert driver.started(place) in {"old base", f"new {NEW}"}, place.name
        if Slots(place / "install").current == BASE:
            driver.does(words)
        assert driver.started(place) == f"new {NEW}", place.name
        assert (place / "install" / "versions" / NEW / "lib" / "data").read_text() == "x" * 100


def test_kill_at_every_write_of_the_commit_D3_S10(tmp_path: Path, driver: Driver) -> None:
    for place, words in driver.killed_everywhere(tmp_path, trial(driver, "commit")):
        assert driver.started(place) == f"new {NEW}", place.name
        driver.does(words)
        slots = Slots(place / "install")
        assert (slots.current, slots.committed, slots.previous, slots.trial()) == (NEW, NEW, BASE, None), place.name
        record = update_record.load(place / "state" / "updates" / "record.json")
        assert record.phase is UpdatePhase.COMMITTED
        assert record.previous
        assert record.previous.version == "1.0.0"


def test_kill_at_every_write_of_going_back_D3_S10(tmp_path: Path, driver: Driver) -> None:
    for place, words in driver.killed_everywhere(tmp_path, trial(driver, "leave")):
        assert driver.started(place) in {"old base", f"new {NEW}"}, place.name
        if Slots(place / "install").current != BASE:
            driver.does(words)
        assert driver.started(place) == "old base", place.name


def test_kill_at_every_write_of_the_launcher_D3_S10(tmp_path: Path, driver: Driver) -> None:
    def prepare(place: Path) -> Words:
        driver.does(install(place))
        return "launch", place / "install", place / "old", place / "out"

    for place, _ in driver.killed_everywhere(tmp_path, prepare):
        for _ in range(4):
            assert driver.started(place) in {"old base", f"new {NEW}"}, place.name
        assert driver.started(place) == "old base", f"{place.name}: three starts without a commit"


def test_kill_at_every_write_of_the_download_D3_S10(
    tmp_path: Path, driver: Driver, world: World, served: Served
) -> None:
    root = tmp_path / "root.json"
    root.write_bytes(world.whole(b"b" * 2000))

    def prepare(place: Path) -> Words:
        return "fetch", place / "state", root, served.metadata_url, served.targets_url, "agent/agent-1.1.0.zip"

    for place, words in driver.killed_everywhere(tmp_path, prepare):
        downloads = place / "state" / "downloads"
        whole = [path for path in downloads.glob("*") if path.suffix != ".part"] if downloads.exists() else []
        assert all(path.read_bytes() == b"b" * 2000 for path in whole), place.name
        driver.does(words)
        assert [path.read_bytes() for path in downloads.iterdir()] == [b"b" * 2000], place.name


def test_kill_at_every_write_of_a_publication_leaves_readers_the_old_or_the_new_D3_S10(
    tmp_path: Path, driver: Driver
) -> None:
    def prepare(place: Path) -> Words:
        world = World(place)
        (place / "root.json").write_bytes(world.whole(b"old"))
        world.add(b"new")
        return "publish", world.repository.folder, world.targets_vault

    served = Served(tmp_path)
    try:
        for place, words in driver.killed_everywhere(tmp_path, prepare):
            base = f"{served.url}/{place.name}/updates"
            fetched = (
                "fetch", place / "gateway", place / "root.json", f"{base}/metadata", f"{base}/targets",
                "agent/agent-1.1.0.zip",
            )  # fmt: skip
            driver.does(fetched)
            assert next(path.read_bytes() for path in (place / "gateway" / "downloads").iterdir()) in {b"old", b"new"}
            driver.does(words)
            driver.does(fetched)
            assert b"new" in {path.read_bytes() for path in (place / "gateway" / "downloads").iterdir()}, place.name
    finally:
        served.close()
