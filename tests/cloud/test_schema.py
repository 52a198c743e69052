"""Migrations give the schema that the code declares, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from cloud import schema
from cloud.db import open_database
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.db import Database
    from tests.cloud.cloud_support import Cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "sqlite"
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.fresh(migrated=False)


def test_migrated_schema_is_the_declared_one(db: Database) -> None:
    with db.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []


def test_sqlite_gives_no_id_twice(tmp_path: Path) -> None:
    """Of a table that a migration made anew, too: a link to what is gone must not lead to what came later."""
    db = open_database("sqlite", tmp_path)
    schema.migrate(db)
    with db.read() as tx:
        rows = tx.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        made = {row.name: row.sql for row in rows}
    db.close()
    counted = [
        table.name for table in schema.metadata.tables.values() if table.dialect_options["sqlite"]["autoincrement"]
    ]
    assert [name for name in counted if "AUTOINCREMENT" not in made[name]] == []


def test_migrating_twice_does_nothing(db: Database) -> None:
    assert not schema.migrate(db)


def test_processes_that_migrate_at_the_same_time_do_it_once(empty_url: str, tmp_path: Path) -> None:
    databases = [open_database(empty_url, tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(schema.migrate, databases))
    assert sorted(done) == [False, False, False, True]
    for database in databases:
        database.close()


def test_a_database_of_a_newer_program_is_refused(db: Database) -> None:
    with db.begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="database: revision 9999 is of a newer program"):
        schema.migrate(db)


def test_sqlite_is_durable_and_current(tmp_path: Path) -> None:
    db = open_database("sqlite", tmp_path)
    with db.read() as tx:
        assert tx.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert tx.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert tx.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        version = str(tx.exec_driver_sql("SELECT sqlite_version()").scalar())
    db.close()
    assert tuple(map(int, version.split("."))) >= (3, 51, 3), "an older SQLite has the WAL-reset bug"


def test_a_block_that_raises_leaves_nothing(db: Database) -> None:
    def fail() -> None:
        with db.begin() as tx:
            tx.execute(sa.text("DELETE FROM alembic_version"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with db.read() as tx:
        assert schema.current(tx) == schema.head()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://nobody@127.0.0.1:1/none", r"postgresql://nobody@127\.0\.0\.1:1/none: .*(refused|failed)"),
        ("postgresql://h:port/x", "not a database URL"),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as e:
        open_database(url, tmp_path)
    assert "\n" not in str(e.value)


def test_a_data_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/below: Not a directory"):
        open_database("sqlite", tmp_path / "file" / "below")


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "patrolgrid.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match=r"patrolgrid\.db: file is not a database"):
        open_database("sqlite", tmp_path)
