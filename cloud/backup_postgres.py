"""Copies of a PostgreSQL database, by PostgreSQL's own tools: `pg_dump`, and a script that puts a dump in place.

Owns where the tools are, how they are called, and that a restore replaces everything or nothing. The password goes by
the environment, never on a command line. Source: PostgreSQL documentation, "SQL Dump".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from cloud.config import DatabaseConfig
    from cloud.db import Database

DUMP: Final = "patrolgrid.dump"
_DEBIAN: Final = Path("/usr/lib/postgresql")


def _tool(name: str) -> str:
    """A tool on the path, or where Debian puts the newest. Raises StoreError that says what to install."""
    found = shutil.which(name)
    places = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]), reverse=True)
    if not found and not places:
        raise StoreError(name, "not installed (Debian package postgresql-client); it must not be older than the server")
    return found or str(places[0])


def _run(config: DatabaseConfig, tool: str, *arguments: str) -> None:
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
    if password := config.password():
        environment["PGPASSWORD"] = password
    done = subprocess.run(
        [_tool(tool), *arguments], capture_output=True, text=True, check=False, env=environment,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise StoreError(config.url, f"{tool}: {said[0].removeprefix(f'{tool}: ')}")


def dump(config: DatabaseConfig, target: Path) -> Path:
    """One consistent copy, taken while the database is used. Raises StoreError."""
    target.touch(mode=0o600)
    _run(config, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}", config.url)
    return target


def occupied(database: Database) -> str:
    """What stands in the way of putting a dump in place without force, in one line; empty when nothing does."""
    with database.read() as tx:
        tables = sa.inspect(tx).get_table_names()
    return f"has {len(tables)} tables" if tables else ""


def users(database: Database) -> int:
    """How many connections of our services there are beside this one."""
    counted = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'patrol-cloud'"
        " AND pid <> pg_backend_pid()"
    )
    with database.read() as tx:
        return int(tx.execute(counted).scalar_one())


def put_back(config: DatabaseConfig, source: Path) -> None:
    """Replace the database's tables by those of a dump, in one transaction. Raises StoreError: nothing is changed."""
    with tempfile.TemporaryDirectory(prefix="patrol-restore-") as folder:
        script, clear = Path(folder) / "dump.sql", Path(folder) / "clear.sql"
        clear.write_text("DROP SCHEMA public CASCADE;\nCREATE SCHEMA public;\n", encoding="utf-8")
        _run(config, "pg_restore", "--no-owner", "--no-privileges", f"--file={script}", str(source))
        _run(
            config, "psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1",
            f"--file={clear}", f"--file={script}", config.url,
        )  # fmt: skip
