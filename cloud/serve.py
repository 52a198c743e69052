"""Run the service: take the port, serve, end cleanly.

Owns the listening socket, so that a port that is taken is one line, and the lock that tells `restore` that somebody
serves from this data directory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn

from cloud import logs
from cloud.app import Role, create_app
from cloud.devices.enrolment import listener as enrolment
from firmware_specs.errors import LinkError, PatrolError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from fastapi import FastAPI

    from cloud.broadcast import Broadcaster
    from cloud.config import Config

LOCK_FILE: Final = "serve.lock"
STOP_WITHIN_S: Final = 5
log: Final = structlog.get_logger("cloud")


class ServiceFailed(PatrolError):  # noqa: N818 - states what happened
    """A part of the service ended by an error that nobody foresaw; it was logged."""


class _Server(uvicorn.Server):
    """Ends event streams before it waits for open requests."""

    broadcaster: Broadcaster

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.broadcaster.close()
        super().handle_exit(sig, frame)


def server_of(app: FastAPI) -> uvicorn.Server:
    """The HTTP server of an application."""
    settings: dict[str, Any] = {
        "log_config": None, "access_log": False, "server_header": False,
        "timeout_graceful_shutdown": STOP_WITHIN_S, "timeout_keep_alive": 30,
    }  # fmt: skip
    server = _Server(uvicorn.Config(app, **settings))
    server.broadcaster = app.state.patrol.broadcaster
    return server


@contextmanager
def data_lock(data_dir: Path, *, alone: bool) -> Iterator[None]:
    """Hold the data directory: shared by everyone who serves from it, alone to replace what is in it.

    Raises StoreError when that is not possible now.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(data_dir / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as e:
        os.close(handle)
        why = "a service is running on it; stop it first" if alone else "it is being restored"
        raise StoreError(str(data_dir), why) from e
    try:
        yield
    finally:
        os.close(handle)


def listening(bind: str) -> socket.socket:
    """A listening socket. Raises LinkError when the port is taken or the address is not ours."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio would not switch Nagle off: 40 ms more for every answer and event.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, int(port)))
        made.listen(512)
    except OSError as e:
        made.close()
        reason = "port taken" if e.errno == errno.EADDRINUSE else e.strerror or str(e)
        raise LinkError(bind, reason) from e
    made.set_inheritable(True)
    return made


def run(config: Config, role: Role) -> None:
    """Serve until SIGTERM or SIGINT. Raises LinkError, StoreError, ConfigError, Invalid, ServiceFailed."""
    logs.configure(config.log_level)
    if role in {Role.ALL, Role.API}:
        enrolment.check(config)
    failures: list[str] = []
    with data_lock(config.data_dir, alone=False), listening(config.http.bind) as sock:

        def failed(name: str, error: BaseException) -> None:
            failures.append(f"{name}: {error!r}")
            server.should_exit = True

        app = create_app(config, role, failed)
        server = server_of(app)
        log.info("serving", address=f"http://{config.http.host}:{sock.getsockname()[1]}", role=role.value)
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn raises the signal again once it has ended; ending by a signal is success.
            signal.signal(number, lambda *_: None)
        server.run(sockets=[sock])
    if failures:
        raise ServiceFailed(failures[0])
