"""Fixtures of the tests of reviews and hazards: those of the cloud's tests, and a community of made-up data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cloud.conftest import cluster, configured, database_url, db, serve, service, sqlite_template
from tests.reports.reports_support import Town, grow

if TYPE_CHECKING:
    from cloud.db import Database

__all__ = ["cluster", "configured", "database_url", "db", "serve", "service", "sqlite_template"]


@pytest.fixture
def town(db: Database) -> Town:
    """A small tree in a fresh database."""
    return grow(db)
