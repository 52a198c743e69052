"""D3: an enrolment that is killed before each step that leaves something behind; strace counts and kills.

A step is any call that writes to a file or a socket, or changes a folder. A first run is only watched, which gives the
list of steps; then each of them is killed before it happens, which is after the one before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from cloud.devices.configs import service as configs
from cloud.devices.enrolment import service as enrolment
from cloud.org.rules import SYSTEM
from cloud.state import now_ms
from edge.config import load_config
from edge.enrol import enrol
from edge.identity import Identity
from firmware_specs.claims import text_of
from tests.cloud.cloud_support import know
from tests.enrol.enrol_support import enrolled, pair_in_force, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.enrol import Wanted
    from tests.broker.broker_support import Site

pytestmark = [pytest.mark.system, pytest.mark.timeout(170)]
CALLS = (
    "write,pwrite64,writev,sendto,sendmsg,fsync,fdatasync,rename,renameat,renameat2,symlink,symlinkat,mkdir,mkdirat,"
    "unlink,unlinkat,rmdir,chmod,fchmod,ftruncate,link,linkat"
)
ROOT = Path(__file__).resolve().parents[2]
FEWEST = 40
"""An enrolment has at least so many steps; fewer would mean that strace does not see them."""


class Step(NamedTuple):
    """The nth call of a name. strace counts each name by itself."""

    call: str
    nth: int


class Killer:
    """Enrols in a child, under strace."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "strace.log"
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.enrol.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def steps(self, what: Wanted) -> list[Step]:
        """Enrol to the end; what was done."""
        assert self._run(what, CALLS, "-o", str(self._log)) == 0
        seen = Counter(re.findall(r"^(\w+)\(", self._log.read_text(), re.MULTILINE))
        return [Step(call, nth) for call, count in sorted(seen.items()) for nth in range(1, count + 1)]

    def kill(self, what: Wanted, step: Step) -> None:
        """Enrol until a step, which does not happen any more."""
        inject = f"inject={step.call}:signal=KILL:when={step.nth}"
        assert self._run(what, step.call, "-o", os.devnull, "-e", inject) == -signal.SIGKILL, step

    def _run(self, what: Wanted, calls: str, *more: str) -> int:
        assert self._zygote.stdin
        assert self._zygote.stdout
        order = {"claim": text_of(what.claim), "config": str(what.config), "state": str(what.state_dir)}
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        child = int(self._zygote.stdout.readline())
        argv = ["strace", "-p", str(child), "-e", f"trace={calls}", *more]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr
            said = strace.stderr.readline()
            assert "attached" in said, said
            os.kill(child, signal.SIGCONT)
            return int(self._zygote.stdout.readline())

    def close(self) -> None:
        assert self._zygote.stdout
        self._zygote.communicate(timeout=20)


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[Killer]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: kills at every step need it")
    made = Killer(tmp_path)
    yield made
    made.close()


def in_force(cloud: Site, gateway: str) -> int:
    """How many certificates of a gateway are in force."""
    with cloud.db.read() as tx:
        return sum(each.in_force for each in enrolment.certificates(tx, gateway))


def configured(cloud: Site, gateway: str) -> str:
    """The text of a claim for a new gateway that has a configuration already."""
    know(cloud.db, gateway)
    with cloud.db.begin() as tx:
        configs.propose(tx, SYSTEM, gateway, f'location = "{gateway}"\n', now_ms())
    return cloud.claim(gateway).text


def test_D3_a_first_enrolment_that_is_killed_at_every_step(cloud: Site, killer: Killer) -> None:
    """Nothing is there, or what the same command goes on from, or all of it; and one claim gives one certificate."""
    steps = killer.steps(wanted(cloud, configured(cloud, "watched"), "watched"))
    assert len(steps) >= FEWEST
    for number, step in enumerate(steps):
        name = f"gw-{number}"
        what = wanted(cloud, configured(cloud, name), name)
        killer.kill(what, step)
        if what.config.exists():
            pair_in_force(what)  # it runs
        done = enrol(what)
        assert pair_in_force(what).life() == done.life
        assert load_config(what.config).config.location == name
        assert in_force(cloud, name) == 1


def test_D3_a_re_claim_that_is_killed_at_every_step(cloud: Site, killer: Killer) -> None:
    """The old pair is in force until the new one is; each with its own key."""
    enrolled(cloud, "gw-1")
    steps = killer.steps(wanted(cloud, cloud.claim("gw-1").text))
    assert len(steps) >= FEWEST
    for step in steps:
        what = wanted(cloud, cloud.claim("gw-1").text)
        old = pair_in_force(what).number
        killer.kill(what, step)
        assert pair_in_force(what).number in {old, old + 1}
        assert load_config(what.config).config.gateway == "gw-1"
        enrol(what)
        assert pair_in_force(what).number == old + 1
        left = {each.name for each in Identity(what.state_dir).folder.iterdir()}
        assert left == {"current", str(old + 1)}, "no key of another pair is left"
        assert in_force(cloud, "gw-1") == 1
