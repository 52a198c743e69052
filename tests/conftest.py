"""Fixtures that every area shares: real brokers, real processes, free ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.cloud.cloud_support import Cluster


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that names a free TCP port on loopback."""
    return support.free_port


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[support.StartProcess]:
    """Start programs, their output in files; each whole process group is ended afterwards."""
    started: list[support.Running] = []

    def start(
        *argv: str | Path, name: str = "", env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> support.Running:
        log = tmp_path / f"{len(started):02d}-{name or str(argv[0]).rpartition('/')[2]}.log"
        running = support.Running([str(part) for part in argv], log, env, cwd)
        started.append(running)
        return running

    yield start
    for running in reversed(started):
        running.stop()


@pytest.fixture
def mosquitto(start_process: support.StartProcess, tmp_path: Path) -> support.StartMosquitto:
    """Start real mosquitto brokers on free loopback ports."""
    program = support.mosquitto_path()
    if program is None:
        pytest.skip("mosquitto is not installed: this test needs a real broker")

    def start(*lines: str, port: int = 0) -> support.Broker:
        port = port or support.free_port()
        directory = tmp_path / f"mosquitto-{port}"
        directory.mkdir(exist_ok=True)
        config = directory / "mosquitto.conf"
        anonymous = [] if any(line.startswith("allow_anonymous") for line in lines) else ["allow_anonymous true"]
        # As root, mosquitto becomes another user, who cannot read a private test directory.
        text = ["user root", f"listener {port} 127.0.0.1", *anonymous, *lines]
        config.write_text("\n".join(text) + "\n")
        return support.Broker(
            lambda: start_process(program, "-c", config, name=f"mosquitto-{port}"), port, directory
        ).wait_ready()

    return start


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for the whole session and every area."""
    from tests.cloud.cloud_support import Cluster, initdb_path

    initdb = initdb_path()
    if initdb is None:
        pytest.skip("PostgreSQL's server is not installed: what it stores is tested on SQLite only")
    made = Cluster(initdb)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy, for every area."""
    from cloud import schema
    from cloud.db import SQLITE_FILE, open_database

    folder = tmp_path_factory.mktemp("template")
    made = open_database("sqlite", folder)
    schema.migrate(made)
    made.close()
    return folder / SQLITE_FILE
