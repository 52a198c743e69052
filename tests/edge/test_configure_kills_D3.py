"""D3: `kill -9` at every write of a configuration's life, found by strace; the old or the new one runs after each.

A life has four files that are replaced durably: the document that is staged, and the state when it is tried, confirmed
or gone back from. Each is written, synced, renamed, and its folder synced: sixteen moments. strace is attached when the
file before has been replaced, and kills at the first call of the kind on the path.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from edge.configure_keep import Keep, install
from edge.configure_rules import Version
from firmware_specs.gateway_document import hash_of
from tests.edge.configured import Cloud, write_base
from tests.support import free_port, wait_for

if TYPE_CHECKING:
    from tests.support import Running, StartMosquitto, StartProcess

EDGE: Final = str(Path(sys.executable).with_name("patrol-edge"))
STRACE: Final = shutil.which("strace")
OLD: Final = 'location = "old"\n'
NEW: Final = 'location = "new"\n'
WRONG: Final = f'{NEW}[uplink]\nurl = "mqtt://127.0.0.1:{free_port()}"\n'
pytestmark = [
    pytest.mark.system,
    pytest.mark.peer,
    pytest.mark.timeout(240),
    pytest.mark.skipif(STRACE is None, reason="strace is not installed: it finds the writes"),
]


class File(StrEnum):
    """Which replacement the agent dies in."""

    STAGED = "staged"
    TRIED = "tried"
    CONFIRMED = "confirmed"
    LEFT = "left"


class Moment(NamedTuple):
    """A call on the way of a replacement: `folder` is the sync of the folder."""

    file: File
    call: str

    @property
    def name(self) -> str:
        return f"{self.file}-{self.call}"

    def argv(self, config: Path, pid: int) -> list[str]:
        """Strace that kills there."""
        draft = config / (".2.toml.new" if self.file is File.STAGED else ".state.json.new")
        calls = {"write": "write", "sync": "fsync", "rename": "rename,renameat,renameat2", "folder": "fsync"}[self.call]
        path = str(config if self.call == "folder" else draft)
        inject = f"inject={calls}:signal=KILL:when=1+"
        return [str(STRACE), "-f", "-qq", "-p", str(pid), "-P", path, "-e", f"trace={calls}", "-e", inject]


class Rig(NamedTuple):
    """What a life needs."""

    cloud: Cloud
    port: int
    start: StartProcess
    folder: Path

    def life(self, moment: Moment) -> None:
        """Order a document, kill at a moment, look at what is on disk, start again, and wait for the end."""
        name = moment.name
        path = write_base(self.folder / name, name, self.port)
        state_dir = path.parent / "state"
        install(state_dir, 1, OLD)
        text = WRONG if moment.file is File.LEFT else NEW
        if moment.file is File.TRIED:
            Keep(state_dir).stage(Version(2, hash_of(text)), text)
        agent = self.start(EDGE, "run", "--config", path, name=f"{name}-killed")
        self._come_to(moment, agent, state_dir, text)
        agent.popen.wait(5)
        for document in (kept := Keep(state_dir).read()).committed, kept.running, kept.previous:
            assert document is None or Keep(state_dir).text(document) in {OLD, text}, name
        assert kept.committed, name
        self.cloud.silent.discard(name)
        again = self.start(EDGE, "run", "--config", path, name=name)
        self._end(name, "reverted 2" if moment.file is File.LEFT else "in-force 2", again)
        again.kill()

    def _come_to(self, moment: Moment, agent: Running, state_dir: Path, text: str) -> None:
        """Attach strace when all before the moment is over, and let the agent go on to its death there."""
        name, early = moment.name, moment.file in {File.STAGED, File.TRIED}
        wait_for(lambda: self.cloud.phases.get(name), 25, f"{name}: the agent")
        self.cloud.silent.add(name)
        if not early:
            self.cloud.order(name, 2, text, 8 if moment.file is File.LEFT else 60)
            wait_for(lambda: "trial 2" in self.cloud.phases[name], 25, f"{name}: the trial")
        argv = moment.argv(state_dir / "config", agent.pid)
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracer:
            wait_for(lambda: _traced(agent.pid) or tracer.poll() is not None, 10, f"{name}: strace")
            if early:
                self.cloud.order(name, 2, text, 60)
            elif moment.file is File.CONFIRMED:
                self.cloud.silent.discard(name)
            try:
                wait_for(lambda: not agent.alive, 25, f"{name}: the kill")
            finally:
                tracer.kill()

    def _end(self, name: str, ends: str, agent: Running) -> None:
        def over() -> bool:
            state = self.cloud.states.get(name)
            return state is not None and f"{state.phase} {state.version}" == ends

        wait_for(lambda: over() or not agent.alive, 25, f"{name}: {ends}")
        state = self.cloud.states[name]
        assert over(), f"{name}: {state}; {agent.text()[-600:]}"
        runs = "new" if state.running_version == 2 else "old"
        wait_for(lambda: self.cloud.locations[name] == runs, 10, f"{name}: {runs} to run")


def _traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return "TracerPid:\t0\n" not in status


def test_a_kill_at_any_write_leaves_the_old_or_the_new_configuration_D3(
    mosquitto: StartMosquitto, start_process: StartProcess, tmp_path: Path
) -> None:
    broker = mosquitto()
    moments = [Moment(file, call) for file in reversed(File) for call in ("write", "sync", "rename", "folder")]
    with Cloud(broker.port) as cloud, ThreadPoolExecutor(5) as pool:
        rig = Rig(cloud, broker.port, start_process, tmp_path)
        for life in [pool.submit(rig.life, moment) for moment in moments]:
            life.result()
