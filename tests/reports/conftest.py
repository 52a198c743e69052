"""Fixtures of the tests of reviews and hazards: those of the cloud's tests, and a community of made-up data."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from cloud.app import Role
from cloud.config import Config
from cloud.db import SQLITE_FILE, open_database
from tests.cloud.cloud_support import serving
from tests.cloud.conftest import configured, database_url, db, serve, service
from tests.reports.reports_support import Town, grow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cloud.db import Database
    from tests.cloud.cloud_support import Served

__all__ = ["configured", "database_url", "db", "serve", "service"]


@pytest.fixture
def town(db: Database) -> Town:
    """A small tree in a fresh database."""
    return grow(db)


@pytest.fixture
def sqlite_db(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """A fresh database on SQLite only, for what does not touch the database's own ways."""
    shutil.copy(sqlite_template, tmp_path / SQLITE_FILE)
    made = open_database("sqlite", tmp_path)
    yield made
    made.close()


@pytest.fixture
def serve_sqlite(tmp_path: Path) -> Callable[[], AbstractContextManager[Served]]:
    """A function that runs the worker role on the database of `sqlite_db`."""
    config = Config.model_validate({"data_dir": tmp_path, "database": {"url": "sqlite"}})
    return lambda: serving(config, Role.WORKER)
