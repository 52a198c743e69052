"""Fixtures of the tests of releases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cloud.conftest import configured, database_url, db, serve, service
from tests.releases.release_support import Served, World
from tests.system.conftest import make_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["configured", "database_url", "db", "make_stack", "serve", "service"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A repository without a root, and those who sign."""
    return World(tmp_path / "cloud")


@pytest.fixture
def served(world: World) -> Iterator[Served]:
    """The repository over HTTP."""
    made = Served(world.repository.folder)
    yield made
    made.close()
