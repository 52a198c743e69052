"""Fixtures of the notification tests: the cloud's database on both stores, and receivers that really listen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cloud.conftest import (
    cluster,
    configured,
    database_url,
    db,
    serve,
    service,
    sqlite_template,
)
from tests.notify.receivers import Hooks, Mail

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cluster", "configured", "database_url", "db", "serve", "service", "sqlite_template"]


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
