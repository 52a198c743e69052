"""Databases to commit into: SQLite, and a real PostgreSQL where its programs are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud.telemetry.store import open_store
from tests.cloud.conftest import database_url, db
from tests.ingest.ingest_packs import Cloud, on_sqlite, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloud.db import Database

__all__ = ["database_url", "db"]


@pytest.fixture
def database(db: Database) -> Database:
    """A migrated database that knows GATEWAYS."""
    prepare(db)
    return db


@pytest.fixture
def cloud(database: Database, tmp_path: Path) -> Iterator[Cloud]:
    """Both stores and a committer on them."""
    telemetry = open_store("sqlite", tmp_path)
    yield Cloud(database, telemetry)
    telemetry.close()


@pytest.fixture
def lite(tmp_path: Path, sqlite_template: Path) -> Iterator[Cloud]:
    """The same on SQLite only, for what does not touch the database's own ways."""
    with on_sqlite(sqlite_template, tmp_path) as made:
        yield made
