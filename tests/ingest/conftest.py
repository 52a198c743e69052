"""Databases to commit into: SQLite, and a real PostgreSQL where its programs are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloud.db import open_database
from cloud.telemetry.store import open_store
from firmware_specs.errors import StoreError
from tests import support
from tests.ingest.ingest_packs import Cloud, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud.db import Database


def postgres_programs() -> Path | None:
    """Where `initdb` is: on the path, or where Debian puts it."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((place for place in reversed(places) if (place / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL cluster for the session; `postgresql://user@host:port`."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL programs (initdb) are installed")
    directory = Path(tempfile.mkdtemp(prefix="patrol-pg-"))
    # PostgreSQL refuses to run as root.
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if become:
        shutil.chown(directory, "postgres", "postgres")
    data, port = directory / "data", support.free_port()
    subprocess.run(
        [*become, programs / "initdb", "-D", data, "-U", "patrol", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, cwd=directory,
    )  # fmt: skip
    server = [
        str(programs / "postgres"),
        "-D",
        str(data),
        "-p",
        str(port),
        "-k",
        str(directory),
        "-h",
        "127.0.0.1",
        "-F",
    ]
    log = directory.parent / f"{directory.name}.log"
    running = support.Running([*become, *server], log, None, directory)
    url = f"postgresql://patrol@127.0.0.1:{port}"
    try:
        support.wait_for(lambda: not running.alive or answers(f"{url}/postgres"), 20, "postgres")
        assert running.alive, running.text()[-500:]
        yield url
    finally:
        running.kill()  # nothing of it is to be kept
        shutil.rmtree(directory, ignore_errors=True)
        log.unlink(missing_ok=True)


def answers(url: str) -> bool:
    """Whether a database can be opened now."""
    try:
        open_database(url, Path()).close()
    except StoreError:
        return False
    return True


def new_database(server: str) -> str:
    """The URL of a fresh database on the server."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = open_database(f"{server}/postgres", Path())
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.close()
    return f"{server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database that knows GATEWAYS."""
    url = "sqlite"
    if request.param == "postgresql":
        url = new_database(request.getfixturevalue("postgres_server"))
    opened = open_database(url, tmp_path / "cloud")
    prepare(opened)
    yield opened
    opened.close()


@pytest.fixture
def cloud(database: Database, tmp_path: Path) -> Iterator[Cloud]:
    """Both stores and a committer on them."""
    telemetry = open_store("sqlite", tmp_path / "cloud")
    yield Cloud(database, telemetry)
    telemetry.close()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Cloud]:
    """The same on SQLite only, for what does not touch the database's own ways."""
    database = open_database("sqlite", tmp_path / "cloud")
    prepare(database)
    telemetry = open_store("sqlite", tmp_path / "cloud")
    yield Cloud(database, telemetry)
    telemetry.close()
    database.close()
