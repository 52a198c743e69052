"""Backup and restore on both databases, while the service writes: what was committed before it comes back."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from cloud import backup, schema
from cloud.db import open_database
from cloud.devices import service as devices
from cloud.devices.store import gateways
from cloud.org.rules import SYSTEM
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloud.config import Config
    from cloud.db import Database


def names(db: Database) -> list[str]:
    with db.read() as tx:
        return list(tx.execute(sa.select(gateways.c.id).order_by(gateways.c.id)).scalars())


def add(db: Database, name: str) -> None:
    with db.begin() as tx:
        devices.add_gateway(tx, SYSTEM, name, 1)


def remove(db: Database, name: str) -> None:
    with db.begin() as tx:
        devices.remove_gateway(tx, SYSTEM, name, 2)


@pytest.fixture
def config(configured: Callable[..., Config]) -> Config:
    return configured()


@pytest.fixture
def secrets(config: Config) -> dict[str, bytes]:
    """Files that go with the databases."""
    kept = {"notify.key": b"seal", "authority/intermediate-key.pem": b"key", "updates/metadata/timestamp.json": b"{}"}
    for name, content in kept.items():
        path = config.data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)
    return kept


def test_what_was_committed_before_a_backup_comes_back_whatever_is_written_meanwhile(
    db: Database, config: Config, tmp_path: Path, secrets: dict[str, bytes]
) -> None:
    for n in range(20):
        add(db, f"before-{n:02}")
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            add(db, f"during-{n:04}")
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copied = backup.backup(config, tmp_path / "copy")
    finally:
        stop.set()
        writer.join()
    assert {str(path.relative_to(tmp_path / "copy")) for path in copied} >= secrets.keys()
    assert (tmp_path / "copy/authority/intermediate-key.pem").stat().st_mode & 0o777 == 0o600
    for n in range(20):
        remove(db, f"before-{n:02}")
    (config.data_dir / "notify.key").unlink()
    (config.data_dir / "authority/intermediate-key.pem").write_bytes(b"another")
    with pytest.raises(StoreError, match="--force replaces"):
        backup.restore(config, tmp_path / "copy", force=False)
    db.close()
    backup.restore(config, tmp_path / "copy", force=True)
    again = open_database(config.database.url, config.data_dir)
    assert [name for name in names(again) if name.startswith("before")] == [f"before-{n:02}" for n in range(20)]
    for name, content in secrets.items():
        assert (config.data_dir / name).read_bytes() == content
    add(again, "after")  # keys that count up and everything else still works
    again.close()


def test_a_backup_that_is_damaged_foreign_or_newer_is_refused_and_nothing_is_changed(
    db: Database, config: Config, tmp_path: Path, secrets: dict[str, bytes]
) -> None:
    add(db, "kept")
    copy = tmp_path / "copy"
    backup.backup(config, copy)
    manifest = copy / backup.MANIFEST
    good = json.loads(manifest.read_text(encoding="utf-8"))

    def refused(text: str, **changes: object) -> None:
        manifest.write_text(json.dumps({**good, **changes}), encoding="utf-8")
        with pytest.raises(StoreError, match=text):
            backup.restore(config, copy, force=True)
        assert names(db) == ["kept"]

    refused(r"newer program \(revision 9999\)", revision="9999")
    other = "postgresql" if good["database"] == "sqlite" else "sqlite"
    refused(f"is of a {other} database", database=other)
    refused("names no files", files=[])
    refused("is missing", files=[{"name": "../notify.key"}])
    refused("is missing", files=[{"name": "authority/../../x"}])
    (copy / "notify.key").write_bytes(b"flip")
    refused("notify.key: is damaged: its hash is not that of the manifest")
    assert (config.data_dir / "notify.key").read_bytes() == secrets["notify.key"]


def test_the_key_of_the_authoritys_root_is_in_no_backup_and_outlives_a_restore(
    db: Database, config: Config, tmp_path: Path, secrets: dict[str, bytes]
) -> None:
    root = config.data_dir / "authority/root"
    root.mkdir()
    (root / "root.pem").write_bytes(b"root")
    (root / "root-key.pem").write_bytes(b"the root's key")
    (config.data_dir / "authority/.half.pem.new").write_bytes(b"a file that is just being written")
    copied = {str(path.relative_to(tmp_path / "copy")) for path in backup.backup(config, tmp_path / "copy")}
    assert copied & {"authority/root/root.pem", "authority/intermediate-key.pem"} != set()
    assert not [name for name in copied if "root-key" in name or "half" in name]
    assert all(b"the root's key" not in path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file())
    (told,) = backup.left_out(config)
    assert told.startswith(f"{root / 'root-key.pem'}: the key of the authority's root; move it off this machine")
    (config.data_dir / "authority/later.pem").write_bytes(b"made after the backup")
    db.close()
    backup.restore(config, tmp_path / "copy", force=True)
    there = {path.name: path.read_bytes() for path in (config.data_dir / "authority").rglob("*.pem")}
    assert there == {
        "root-key.pem": b"the root's key", "root.pem": b"root",
        "intermediate-key.pem": secrets["authority/intermediate-key.pem"],
    }  # fmt: skip


def test_every_revision_of_ours_can_be_restored() -> None:
    assert schema.knows(None)
    assert schema.knows("0001")
    assert schema.knows(schema.head())
    assert not schema.knows("0000-other")


def test_a_postgresql_server_that_is_used_or_away_is_said(
    db: Database, config: Config, tmp_path: Path, configured: Callable[..., Config]
) -> None:
    if db.sqlite:
        gone = configured(database={"url": "postgresql://patrol@127.0.0.1:9/none"})
        with pytest.raises(StoreError, match=r"postgresql://patrol@127\.0\.0\.1:9/none"):
            backup.backup(gone, tmp_path / "copy")
        return
    backup.backup(config, tmp_path / "copy")
    service = open_database(config.database.url, tmp_path)
    with service.read() as tx:
        tx.execute(sa.text("SELECT 1"))
        with pytest.raises(StoreError, match="connections of a running service; stop it first"):
            backup.restore(config, tmp_path / "copy", force=True)
    service.close()
