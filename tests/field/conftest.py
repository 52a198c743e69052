"""Fixtures of the tests of field work: the cloud's."""

from __future__ import annotations

from tests.cloud.conftest import configured, database_url, db, serve, service

__all__ = ["configured", "database_url", "db", "serve", "service"]
