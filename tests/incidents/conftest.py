"""Fixtures of the incidents' tests: the cloud's databases and service."""

from __future__ import annotations

from tests.cloud.conftest import cluster, configured, database_url, db, serve, service, sqlite_template

__all__ = ["cluster", "configured", "database_url", "db", "serve", "service", "sqlite_template"]
