"""Fixtures of the cloud's tests: every test that takes `db` or `service` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from cloud.app import Role
from cloud.config import Config
from cloud.db import SQLITE_FILE, Database, open_database
from tests.cloud.cloud_support import Served, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.cloud.cloud_support import Cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database, which goes with the test."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / SQLITE_FILE)
        yield "sqlite"
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.fresh()
    yield url
    cluster.drop(url)


@pytest.fixture
def db(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """A fresh database with our schema."""
    made = open_database(database_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def configured(database_url: str, tmp_path: Path) -> Callable[..., Config]:
    """A function that makes a configuration for the fresh database; tables as keywords."""

    def make(**tables: dict[str, Any]) -> Config:
        return Config.model_validate({"data_dir": tmp_path, "database": {"url": database_url}, **tables})

    return make


@pytest.fixture
def serve(configured: Callable[..., Config]) -> Callable[..., AbstractContextManager[Served]]:
    """A function that serves the API on the fresh database; configuration tables as keywords."""

    def run(role: Role = Role.API, **tables: dict[str, Any]) -> AbstractContextManager[Served]:
        return serving(configured(**tables), role)

    return run


@pytest.fixture
def service(serve: Callable[..., AbstractContextManager[Served]]) -> Iterator[Served]:
    """The API, served over HTTP."""
    with serve() as served:
        yield served
