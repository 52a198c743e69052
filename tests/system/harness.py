"""A whole PatrolGrid of real processes in a folder: two brokers, the cloud, one gateway, on free loopback ports.

Owns starting, killing and asking them. Everything goes through what a user has: command lines, configuration
files, MQTT, CoAP and the HTTP API. Waiting is for events with deadlines.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest

from tests.support import Running, accepts, free_port, mosquitto_path, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

BIN = Path(sys.executable).parent
PROFILES = Path(__file__).parent / "profiles"
EPOCH_START = "1960-01-01T00:00:00Z"
EPOCH_END = "2150-01-01T00:00:00Z"
Json = dict[str, Any]


def now_ms() -> int:
    """The wall clock in milliseconds UTC."""
    return time.time_ns() // 1_000_000


def iso(ms: int) -> str:
    """Milliseconds UTC as RFC 3339."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def ms_of(text: str) -> int:
    """RFC 3339 as milliseconds UTC."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


class Device(NamedTuple):
    """One `[[devices]]` entry."""

    id: str
    profile: str
    connector: str
    address: str

    def toml(self) -> str:
        return "[[devices]]\n" + "".join(f'{key} = "{value}"\n' for key, value in self._asdict().items())


def counter(name: str) -> Device:
    """An MQTT device of the `test-counter` profile on topic `sensors/<name>`."""
    return Device(name, "test-counter", "sensors", f"sensors/{name}")


def coap_counter(name: str) -> Device:
    """A CoAP device of the `test-counter-coap` profile on path `s/<name>`."""
    return Device(name, "test-counter-coap", "coap", f"s/{name}")


def counter_frame(number: float, at_ms: int, *, fire: bool = False) -> bytes:
    """What a `test-counter` or `test-held` device publishes."""
    return json.dumps({"n": number, "fire": fire, "ts": at_ms}).encode()


class Part:
    """One process of the stack that can be killed and started again."""

    def __init__(self, name: str, argv: Iterable[str | Path], log: Path, ready: Callable[[], bool]) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.log = log
        self.env: Mapping[str, str] | None = None
        self.ready = ready
        self.kills = 0
        self._running: Running | None = None

    @property
    def running(self) -> Running:
        assert self._running is not None, f"{self.name} was never started"
        return self._running

    def start(self) -> None:
        self._running = Running(self.argv, self.log, self.env, None)

    def wait_ready(self, timeout_s: float = 30) -> None:
        wait_for(
            lambda: self.ready() or not self.running.alive, timeout_s, f"{self.name} ready; its log:\n{self.tail()}"
        )
        assert self.running.alive, f"{self.name} ended with {self.running.popen.returncode}:\n{self.tail()}"

    def kill(self) -> None:
        """`kill -9`."""
        self.running.kill()
        self.kills += 1

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""


class Stack:
    """Two brokers, cloud and gateway. The cloud's and the gateway's files are written when it is made.

    edge_lines: what is added to the tables of gateway.toml, by table: `uplink`, `outbox`. profiles: folders of more
    profiles than this one's own.
    """

    gateway = "gw-1"

    def __init__(
        self, folder: Path, devices: Iterable[Device] = (), *, edge_lines: Mapping[str, str] | None = None,
        cloud_lines: str = "", uplink_port: int | None = None,
        profiles: Iterable[Path] = (),
    ) -> None:  # fmt: skip
        self.folder = folder
        self.profiles = folder / "profiles"
        self.profiles.mkdir()
        for file in (file for source in (PROFILES, *profiles) for file in source.glob("*.toml")):
            shutil.copy(file, self.profiles)
        self.south_port, self.north_port, self.http_port = free_port(), free_port(), free_port()
        self.coap_port = free_port(socket.SOCK_DGRAM)
        self.cloud_toml = folder / "cloud.toml"
        self.edge_toml = folder / "gateway.toml"
        self.state_dir = folder / "edge"
        self.cloud_toml.write_text(
            f'data_dir = "{folder}/cloud"\nprofiles_dir = "{self.profiles}"\n[http]\n'
            f'bind = "127.0.0.1:{self.http_port}"\n'
            f'[broker]\nurl = "mqtt://127.0.0.1:{self.north_port}"\n[telemetry]\nurl = "sqlite"\n'
            f'[database]\nurl = "sqlite"\n{cloud_lines}'
        )
        self.write_edge_toml(list(devices), edge_lines or {}, uplink_port or self.north_port)
        self.south = self._broker("south", self.south_port)
        self.north = self._broker("north", self.north_port)
        self.cloud = Part(
            "cloud", (BIN / "patrol-cloud", "serve", "--config", self.cloud_toml), folder / "cloud.log", self.cloud_up
        )
        self.edge = Part(
            "edge", (BIN / "patrol-edge", "run", "--config", self.edge_toml), folder / "edge.log", self.edge_up
        )
        self.parts = (self.south, self.north, self.cloud, self.edge)
        self._token = ""

    def write_edge_toml(self, devices: list[Device], lines: Mapping[str, str], uplink_port: int) -> None:
        self.edge_toml.write_text(
            f'gateway = "{self.gateway}"\nstate_dir = "{self.state_dir}"\nprofiles_dir = "{self.profiles}"\n'
            f'[uplink]\nurl = "mqtt://127.0.0.1:{uplink_port}"\nack_timeout_s = 2.0\nbackoff_max_s = 0.5\n'
            f"{lines.get('uplink', '')}\n"
            f"[outbox]\n{lines.get('outbox', '')}\n"
            f'[[connectors]]\nname = "sensors"\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{self.south_port}"\n'
            f"backoff_max_s = 0.5\n"
            f'[[connectors]]\nkind = "coap"\nbind = "127.0.0.1:{self.coap_port}"\nbackoff_max_s = 0.5\n'
            + "".join(device.toml() for device in devices)
        )

    def _broker(self, name: str, port: int) -> Part:
        program = mosquitto_path()
        if program is None:
            pytest.skip("mosquitto is not installed: system tests need a real broker")
        config = self.folder / f"{name}.conf"
        config.write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        return Part(name, (program, "-c", config), self.folder / f"{name}.log", lambda: accepts(port))

    def start(self, *parts: Part) -> Self:
        """Start the brokers, the cloud and the gateway, or only those named, and wait until each serves."""
        chosen = parts or self.parts
        for part in chosen:
            if part is self.cloud and not self._token:
                self.init_cloud()
            part.start()
            part.wait_ready()
        return self

    def init_cloud(self) -> None:
        self.cloud_verb("init")
        self.cloud_verb("gateway", "add", self.gateway)
        self._token = self.cloud_verb("token", "add", "tests").split()[-1]

    def cloud_verb(self, *words: str) -> str:
        """Run `patrol-cloud` with the stack's configuration; what it printed. It must succeed."""
        argv = [str(BIN / "patrol-cloud"), *words, "--config", str(self.cloud_toml)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"patrol-cloud {' '.join(words)}: {done.stderr[-800:]}"
        return done.stdout

    def stop(self) -> None:
        for part in reversed(self.parts):
            part.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def get(self, path: str, timeout_s: float = 10, *, token: str = "") -> Any:  # noqa: ANN401 - JSON
        """GET below `/api/v1`."""
        return self.request("GET", path, None, timeout_s, token=token)

    def request(self, method: str, path: str, body: Json | None, timeout_s: float = 10, *, token: str = "") -> Any:  # noqa: ANN401 - JSON
        """One request below `/api/v1`; the decoded answer. token: another one than the tests' own."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token or self._token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 - loopback
            text = answer.read()
            return json.loads(text) if text else None

    def stream(self, timeout_s: float = 60) -> Any:  # noqa: ANN401 - the standard library types it so
        """The open event stream, to read line by line."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/api/v1/stream",
            headers={"Authorization": f"Bearer {self._token}", "Accept": "text/event-stream"},
        )
        return urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310 - loopback

    def try_get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """`get`, or None when the cloud cannot answer now or does not know the thing."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            return self.get(path, 5)
        return None

    def try_post(self, path: str, body: Json, *, token: str = "") -> Json | None:
        """A POST; None when the cloud is away or refuses. Whether it took effect is then unknown."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            answer: Json = self.request("POST", path, body, 3, token=token)
            return answer
        return None

    def items(self, path: str, *, token: str = "") -> list[Json]:
        """Every item of a paged list."""
        out: list[Json] = []
        cursor: str | None = ""
        join = "&" if "?" in path else "?"
        while cursor is not None:
            page = self.get(f"{path}{join}limit=200" + (f"&cursor={cursor}" if cursor else ""), token=token)
            out += page["items"]
            cursor = page["next_cursor"] or None
        return out

    def cloud_up(self) -> bool:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=5) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def edge_up(self) -> bool:
        """Whether the gateway serves: by the cloud's word when it is there, else when it bound its CoAP port."""
        if self.cloud._running is not None and self.cloud.running.alive:
            return self.online()
        return _udp_taken(self.coap_port)

    def online(self) -> bool:
        view = self.try_get(f"/gateways/{self.gateway}")
        return bool(view and view["online"])

    def ledger(self) -> dict[str, int]:
        """The gateway's loss ledger: received, late, thinned, lost."""
        ledger: dict[str, int] = self.get(f"/gateways/{self.gateway}")["ledger"]
        return ledger

    def raw(self, device: str, metric: str = "n", gateway: str = "") -> list[tuple[int, float]]:
        """Every stored reading of a series: (milliseconds, value), oldest first."""
        out: list[tuple[int, float]] = []
        start = EPOCH_START
        base = f"/devices/{gateway or self.gateway}/{device}/telemetry?metric={metric}&step=raw&limit=5000"
        while True:
            page = self.get(f"{base}&from={start}&to={EPOCH_END}")
            points = [(ms_of(at), value) for at, value in page["points"]]
            fresh = [point for point in points if not out or point[0] > out[-1][0]]
            out += fresh
            if len(points) < 5000 or not fresh:
                return out
            start = iso(out[-1][0] + 1).replace("+00:00", "Z")


def _udp_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
