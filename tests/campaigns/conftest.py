"""The cloud's fixtures, for the tests of campaigns."""

from __future__ import annotations

from tests.cloud.conftest import configured, database_url, db, serve, service

__all__ = ["configured", "database_url", "db", "serve", "service"]
