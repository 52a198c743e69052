"""Tests of this folder may be coroutines: each gets an event loop of its own and half a minute."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

from tests.cloud.conftest import configured, database_url, db, serve, service
from tests.firmware.firmware_support import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["configured", "database_url", "db", "repository", "serve", "service"]

LIMIT_S = 30.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test to its end."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    test = pyfuncitem.obj

    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await test(**arguments)

    asyncio.run(limited())
    return True


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """A signed repository, served over HTTP on loopback."""
    made = Repository(tmp_path / "repository")
    yield made
    made.close()
