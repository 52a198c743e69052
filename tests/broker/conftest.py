"""Fixtures of the broker's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import support
from tests.broker.broker_support import Site
from tests.cloud.conftest import configured, database_url, db, serve, service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["configured", "database_url", "db", "serve", "service"]


@pytest.fixture
def site(tmp_path: Path, sqlite_template: Path, start_process: support.StartProcess) -> Iterator[Site]:
    """A cloud's authority and database, and a mosquitto that runs by the folder that is kept for it."""
    program = support.mosquitto_path()
    if program is None:
        pytest.skip("mosquitto is not installed: this test needs a real broker")
    made = Site(tmp_path, sqlite_template, start_process, program)
    yield made
    made.close()
