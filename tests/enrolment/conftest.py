"""Fixtures of the enrolment's tests: those of the cloud, and an authority beside each database."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.cloud.conftest import configured, database_url, db, serve, service
from tests.enrolment.enrolment_support import make_authority

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.devices.enrolment.authority import Authority

__all__ = ["configured", "database_url", "db", "serve", "service"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority beside the fresh database, made at the tests' present."""
    return make_authority(tmp_path)


@pytest.fixture(autouse=True)
def _programs() -> None:
    for name in ("openssl", "curl"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed: enrolment is tested with clients that are not ours")
