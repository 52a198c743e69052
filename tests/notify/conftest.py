"""Fixtures of the notification tests: the cloud's database on both stores, and receivers that really listen."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from cloud.db import SQLITE_FILE, open_database
from tests.cloud.conftest import (
    configured,
    database_url,
    db,
    serve,
    service,
)
from tests.notify.receivers import Hooks, Mail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloud.db import Database

__all__ = ["configured", "database_url", "db", "serve", "service"]


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    """A receiver of webhooks on loopback."""
    made = Hooks()
    yield made
    made.close()


@pytest.fixture
def mail() -> Iterator[Mail]:
    """A receiver of mail on loopback."""
    made = Mail()
    yield made
    made.close()


@pytest.fixture
def sqlite_db(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """A fresh database for what no database decides."""
    shutil.copy(sqlite_template, tmp_path / SQLITE_FILE)
    made = open_database("sqlite", tmp_path)
    yield made
    made.close()
