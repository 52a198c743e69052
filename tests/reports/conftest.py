"""Fixtures of the tests of reviews and hazards: those of the cloud's tests, and a community of made-up data."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from cloud.db import SQLITE_FILE, open_database
from tests.cloud.conftest import cluster, configured, database_url, db, serve, service, sqlite_template
from tests.reports.reports_support import Town, grow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloud.db import Database

__all__ = ["cluster", "configured", "database_url", "db", "serve", "service", "sqlite_template"]


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
