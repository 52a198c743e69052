"""What the shared fixtures hand out: a started process and a started broker.

Owns nothing but small handles; fixtures in `conftest.py` make them and end them. Waiting is by condition and
deadline, never by a fixed pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")
_POLL_S = 0.02


def mosquitto_path() -> str | None:
    """The broker's program, also where only root's path has it."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_for(test: Callable[[], T], timeout_s: float = 10, what: str = "the condition") -> T:
    """The first truthy value of `test`. Raises AssertionError, naming `what`, when the deadline passes."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (value := test()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        pause.wait(_POLL_S)
    return value


async def wait_until(test: Callable[[], T], timeout_s: float = 10, what: str = "the condition") -> T:
    """`wait_for` that lets the event loop run meanwhile."""
    deadline = time.monotonic() + timeout_s
    while not (value := test()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        await asyncio.sleep(_POLL_S)
    return value


def accepts(port: int) -> bool:
    """Whether something listens on the TCP port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False


class Running:
    """A child process in its own session, its output in a file."""

    def __init__(self, argv: list[str], log: Path, env: Mapping[str, str] | None, cwd: Path | None) -> None:
        self.argv = argv
        self.log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env=None if env is None else {**os.environ, **env}, cwd=cwd,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def text(self) -> str:
        """What it printed so far, both streams."""
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def stop(self, timeout_s: float = 10) -> int:
        """End it politely, then by force; its exit code."""
        self.signal(signal.SIGTERM)
        try:
            self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self.signal(signal.SIGKILL)
        return self.popen.returncode

    def kill(self) -> None:
        """`kill -9` of the whole group."""
        self.signal(signal.SIGKILL)
        self.popen.wait(10)


class StartProcess(Protocol):
    """The `start_process` fixture."""

    def __call__(
        self, *argv: str | Path, name: str = "", env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Running: ...


class Broker:
    """A mosquitto with its own configuration file; it can be killed and started again on the same port."""

    def __init__(self, start: Callable[[], Running], port: int, directory: Path) -> None:
        self._start = start
        self.port = port
        self.directory = directory
        self.running = start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def wait_ready(self) -> Broker:
        wait_for(lambda: accepts(self.port) or not self.running.alive, 10, f"mosquitto on port {self.port}")
        assert self.running.alive, f"mosquitto ended: {self.running.text()[-500:]}"
        return self

    def stop(self) -> None:
        self.running.stop()

    def kill(self) -> None:
        self.running.kill()

    def start(self) -> None:
        """Start it again after `stop` or `kill`."""
        self.running = self._start()
        self.wait_ready()


class StartMosquitto(Protocol):
    """The `mosquitto` fixture: lines come after the listener's own, so listener options apply to it."""

    def __call__(self, *lines: str, port: int = 0) -> Broker: ...
