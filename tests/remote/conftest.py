"""Fixtures of the tests of remote: the cloud's databases and service."""

from __future__ import annotations

from tests.cloud.conftest import configured, database_url, db, serve, service

__all__ = ["configured", "database_url", "db", "serve", "service"]
