"""Real processes: a cloud with an authority, its mosquitto by TLS, a broker of sensors, a box that knows nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from httpx import Client

from firmware_specs.load import load_profiles
from firmware_specs.readings import Sample
from simulators.device import encoder
from simulators.peers.mqtt import MqttPeer
from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

BIN = Path(sys.executable).parent
SMOKE = "generic-smoke-senml"


@dataclass
class Stopwatch:
    """How long each step took. Steps are what somebody does; waits are for the machines."""

    rows: list[tuple[str, str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, what: str, kind: str = "step") -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.rows.append((kind, what, time.monotonic() - begin))

    @property
    def total_s(self) -> float:
        return sum(seconds for _, _, seconds in self.rows)

    def table(self) -> str:
        lines = ["| | what | seconds |", "|---|---|---:|"]
        lines += [f"| {kind} | {what} | {seconds:.1f} |" for kind, what, seconds in self.rows]
        return "\n".join([*lines, f"| | **all** | **{self.total_s:.1f}** |"])


def _elsewhere(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine in a thread of its own: the browser's driver has the loop of this one."""
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join(20)


class FieldSite:
    """See the module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.est_port, self.north, self.cloud_port, self.south = (support.free_port() for _ in range(5))
        self.running: list[support.Running] = []
        self.password = ""
        self._profile = load_profiles()[0][SMOKE]
        self._encode = encoder(self._profile)
        self._peer = MqttPeer(f"mqtt://127.0.0.1:{self.south}", "detectors")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self, name: str, *argv: str | Path) -> support.Running:
        made = support.Running([str(each) for each in argv], self.folder / f"{name}.log", None, None)
        self.running.append(made)
        return made

    def verb(self, program: str, *argv: str | Path) -> str:
        """A verb to its end; what it printed."""
        command = [str(BIN / program), *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def start(self) -> None:
        """Everything but the box."""
        program = support.mosquitto_path()
        assert program, "mosquitto is not installed: the technician's way needs real brokers"
        config, kept, pid = self.folder / "cloud.toml", self.folder / "broker", self.folder / "mosquitto.pid"
        config.write_text(
            f"""data_dir = "{self.folder / "data"}"
[http]
bind = "127.0.0.1:{self.port}"
[broker]
url = "mqtt://127.0.0.1:{self.cloud_port}"
[est]
bind = "127.0.0.1:{self.est_port}"
[enrolment]
broker_url = "mqtts://localhost:{self.north}"
[mosquitto]
dir = "{kept}"
reload = "signal:{pid}"
user = "root"
bind = "127.0.0.1:{self.north}"
cloud_bind = "127.0.0.1:{self.cloud_port}"
"""
        )
        self.verb("patrol-cloud", "init", "--config", config)
        self.verb("patrol-cloud", "authority", "init", "--config", config, "--root-dir", self.folder / "root")
        made = self.verb("patrol-cloud", "user", "add", "zhao", "--role", "technician", "--json", "--config", config)
        self.password = json.loads(made)["password"]
        token = self.verb("patrol-cloud", "token", "add", "setup", "--role", "administrator", "--json", "-c", config)
        self.verb("patrol-cloud", "broker", "write", kept, "--config", config)
        self._run("mosquitto", program, "-c", kept / "mosquitto.conf")
        (self.folder / "south.conf").write_text(f"user root\nlistener {self.south} 127.0.0.1\nallow_anonymous true\n")
        self._run("south", program, "-c", self.folder / "south.conf")
        self._run("cloud", BIN / "patrol-cloud", "serve", "--config", config)
        for port in (self.north, self.cloud_port, self.south, self.est_port, self.port):
            support.wait_for(partial(support.accepts, port), 30, f"port {port}")
        headers = {"Authorization": f"Bearer {json.loads(token)['token']}"}
        line = (
            f'[[connectors]]\nname = "sensors"\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{self.south}"\n'
            'discover = ["sensors/#"]\n'
        )
        with Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=20) as api:
            answer = api.put("/config-templates", json={"kind": "node", "key": "/", "text": line})
            assert answer.is_success, answer.text

    def box(self, *argv: str | Path) -> str:
        """A verb at the gateway."""
        return self.verb("patrol-edge", *argv)

    def run_box(self) -> None:
        """Its agent."""
        self._run("edge", BIN / "patrol-edge", "run", "--config", self.folder / "gateway.toml")

    def connect_detectors(self) -> None:
        _elsewhere(self._peer.start)

    def say(self, names: Sequence[str], *, alarm: bool = False) -> None:
        """Detectors report, as their profile says; `alarm` while the test button is pressed."""
        samples = [
            Sample("smoke", 0.1), Sample("temperature", 21.5), Sample("battery", 88.0), Sample("alarm", alarm),
        ]  # fmt: skip
        for name in names:
            self._peer.publish(f"sensors/{name}", self._encode(name, samples, time.time_ns() // 1_000_000))

    def stop(self) -> None:
        _elsewhere(self._peer.stop)
        for each in reversed(self.running):
            each.stop()
