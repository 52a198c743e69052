"""What the tests of the cloud share: a PostgreSQL cluster, fresh databases, a served application, small builders."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import psycopg
import sqlalchemy as sa
from httpx import Client

from cloud import schema
from cloud.app import Role, create_app
from cloud.db import Database, open_database
from cloud.devices import service as devices
from cloud.org import service as org
from cloud.org.rules import ROOT, SYSTEM, Principal
from cloud.org.rules import Role as UserRole
from cloud.serve import listening, server_of
from firmware_specs.readings import AlarmEvent, AlarmPhase, Clock, Quality, Reading, Severity, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from cloud.config import Config

NOW = 1_800_000_000_000
"""A fixed wall clock of 2027, for rules that take one."""
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) if Path("/usr/lib/postgresql").is_dir() else []


def initdb_path() -> Path | None:
    """PostgreSQL's initdb, when it is installed."""
    found = shutil.which("initdb")
    return Path(found) if found else BINARIES[-1] if BINARIES else None


class Cluster:
    """A PostgreSQL server of its own, on a Unix socket, without durability."""

    def __init__(self, initdb: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="patrol-pg-"))
        self._names = itertools.count()
        self._template = ""
        root = os.geteuid() == 0
        self._as: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if root else {}
        owner = pwd.getpwnam("postgres") if root else pwd.getpwuid(os.geteuid())
        os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self._user = owner.pw_name
        data = self._folder / "data"
        self._run(initdb, "-D", data, "-A", "trust", "-U", self._user, "--no-sync", "-E", "UTF8", "--locale", "C")
        options = (
            f"-c listen_addresses= -c unix_socket_directories={self._folder} -c fsync=off -c full_page_writes=off "
            "-c synchronous_commit=off -c max_connections=200 -c shared_buffers=32MB"
        )
        self._ctl = initdb.with_name("pg_ctl")
        self._data = data
        self._run(self._ctl, "-D", data, "-w", "-l", self._folder / "log", "-o", options, "start")

    def _run(self, *argv: str | Path) -> None:
        subprocess.run(
            [str(part) for part in argv], check=True, cwd=self._folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, **self._as,
        )  # fmt: skip

    def url(self, name: str) -> str:
        return f"postgresql://{self._user}@/{name}?host={self._folder}"

    def fresh(self, *, migrated: bool = True) -> str:
        """The URL of a new database."""
        if migrated and not self._template:
            self._template = "patrol_template"
            self._create(self._template)
            db = open_database(self.url(self._template), self._folder)
            schema.migrate(db)
            db.close()
        name = f"t{next(self._names)}"
        self._create(name, self._template if migrated else "")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Delete a database; who is still connected is cut off."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def _create(self, name: str, template: str = "") -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))

    def stop(self) -> None:
        self._run(self._ctl, "-D", self._data, "-m", "immediate", "stop")
        shutil.rmtree(self._folder)


def reading(
    device: str, metric: str, value: Value, at: int = NOW, *, received: int | None = None,
    quality: Quality = Quality.GOOD, clock: Clock = Clock.SYNCED,
) -> Reading:  # fmt: skip
    return Reading(device, metric, value, "", at, at if received is None else received, quality=quality, clock=clock)


def raised(occurrence: str, device: str = "smk-1", at: int = NOW, **more: object) -> AlarmEvent:
    event = AlarmEvent(
        occurrence,
        device,
        "fire",
        Severity.CRITICAL,
        AlarmPhase.RAISED,
        "generic-smoke-senml/smoke-high",
        "1.0",
        at,
        at,
    )
    return msgspec.structs.replace(event, **more)


def cleared(occurrence: str, device: str = "smk-1", at: int = NOW, **more: object) -> AlarmEvent:
    return raised(occurrence, device, at, phase=AlarmPhase.CLEARED, **more)


def know(db: Database, *names: str, node: str = ROOT) -> None:
    """Make gateways known."""
    actor = Principal("system", 0, "tests", UserRole.ADMINISTRATOR, node)
    with db.begin() as tx:
        for name in names:
            devices.add_gateway(tx, actor, name, NOW)


class Served(NamedTuple):
    """A running service."""

    url: str
    app: FastAPI
    db: Database

    def anonymous(self) -> Client:
        return Client(base_url=self.url, timeout=20)

    def token(self, role: UserRole = UserRole.DISPATCHER, node: str = ROOT) -> str:
        actor = Principal("system", 0, "tests", UserRole.ADMINISTRATOR, node)
        with self.db.begin() as tx:
            return org.add_token(tx, actor, f"t{time.monotonic_ns()}", role, now_ms=NOW)

    def client(self, role: UserRole = UserRole.DISPATCHER, node: str = ROOT) -> Client:
        headers = {"Authorization": f"Bearer {self.token(role, node)}"}
        return Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=20)

    def user(self, name: str, role: UserRole = UserRole.DISPATCHER) -> str:
        with self.db.begin() as tx:
            return org.add_user(tx, SYSTEM, name, role, NOW)


@contextlib.contextmanager
def serving(config: Config, role: Role = Role.API) -> Iterator[Served]:
    """Serve over real HTTP from a thread of this process."""
    with listening("127.0.0.1:0") as sock:
        app = create_app(config, role)
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="served")
        thread.start()
        try:
            wait_for(lambda: server.started or not thread.is_alive(), 20, "the server")
            assert server.started
            yield Served(f"http://127.0.0.1:{sock.getsockname()[1]}", app, app.state.patrol.db)
        finally:
            app.state.patrol.broadcaster.close()
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def wait_for(test: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until something holds; fail by its name when it does not."""
    done = threading.Event()
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        done.wait(0.02)


def waits(db: Database) -> bool:
    """Whether somebody waits for another's transaction."""
    if db.sqlite:
        return bool(db._writer and db._writer._waiting)
    with db.read() as tx:
        return bool(tx.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


class Event(NamedTuple):
    """One server-sent event."""

    id: int | None
    kind: str
    data: dict[str, Any]


def events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events of the lines of a response; comments are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith((":", "retry:")):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            number = int(fields["id"]) if "id" in fields else None
            yield Event(number, fields["event"], json.loads(fields["data"]))
            fields = {}


@contextlib.contextmanager
def streaming(served: Served, last: int | None = None, *, token: str = "") -> Iterator[Iterator[Event]]:
    """An open stream. It is registered when this gives it."""
    clients = served.app.state.patrol.broadcaster.clients
    before = set(clients)
    headers = {"Authorization": f"Bearer {token or served.token()}"}
    if last is not None:
        headers["Last-Event-ID"] = str(last)
    with (
        Client(timeout=20) as client,
        client.stream("GET", f"{served.url}/api/v1/stream", headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        wait_for(lambda: clients - before, 10, "the client to be registered")
        yield events(response.iter_lines())
