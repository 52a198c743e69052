"""Backup and restore of the embedded databases.

A backup is a directory with a copy of each database and a manifest. It is taken while the service runs, the relational
database first: whatever it says is committed is then in the telemetry copy too. PostgreSQL and external time-series
stores have their own tools, and are named when they are left out.
"""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Final

from cloud.db import SQLITE_FILE, sqlite_module
from cloud.state import now_ms
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.config import Config

FILES: Final = (SQLITE_FILE, "telemetry.db")
KEYS: Final = ("notify.key",)
"""What the databases cannot be read without; a backup is as secret as they are."""
MANIFEST: Final = "manifest.json"
FORMAT: Final = 1


def left_out(config: Config) -> list[str]:
    """Stores that this configuration keeps elsewhere, each with what to use instead."""
    notes = []
    if config.database.url != "sqlite":
        notes.append("database: kept in PostgreSQL, back it up with pg_dump")
    if config.telemetry.url != "sqlite":
        notes.append("telemetry: kept in its own store, back it up with that store's tool")
    return notes


def backup(config: Config, target: Path) -> list[Path]:
    """Copy the embedded databases into a new directory. Gives the files. Raises StoreError."""
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        raise StoreError(str(target), "exists and is not an empty directory")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    copied = [_copy(config.data_dir / name, target / name) for name in FILES if (config.data_dir / name).exists()]
    if not copied:
        raise StoreError(str(config.data_dir), "no embedded database to back up")
    copied += [_copy_key(config.data_dir / name, target / name) for name in KEYS if (config.data_dir / name).exists()]
    manifest = {"format": FORMAT, "taken_at_ms": now_ms(), "files": [path.name for path in copied]}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return copied


def _copy(source: Path, target: Path) -> Path:
    sqlite = sqlite_module()
    try:
        with closing(sqlite.connect(str(source), timeout=10)) as here, closing(sqlite.connect(str(target))) as there:
            here.backup(there, pages=2000, sleep=0.005)
            there.execute("PRAGMA journal_mode=WAL")
            found = there.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite.Error as e:
        raise StoreError(str(source), str(e)) from e
    if found != "ok":
        raise StoreError(str(target), f"the copy is damaged: {found}")
    return target


def _copy_key(source: Path, target: Path) -> Path:
    try:
        target.touch(mode=0o600)
        target.write_bytes(source.read_bytes())
    except OSError as e:
        raise StoreError(str(source), e.strerror or str(e)) from e
    return target


def restore(config: Config, source: Path, *, force: bool) -> list[Path]:
    """Put a backup in place of the embedded databases. The caller holds the data directory alone.

    Raises StoreError when the backup is none, or when databases exist and force is not given.
    """
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise StoreError(str(source), f"no backup: {MANIFEST} cannot be read") from e
    names = [name for name in FILES if isinstance(manifest, dict) and name in manifest.get("files", ())]
    missing = [name for name in names if not (source / name).is_file()]
    if not names or missing:
        raise StoreError(str(source), f"no backup: {', '.join(missing) or 'no database'} is missing")
    present = [name for name in FILES if (config.data_dir / name).exists()]
    if present and not force:
        raise StoreError(str(config.data_dir), f"{present[0]} exists; --force replaces it")
    staged = [(_copy(source / name, config.data_dir / f"{name}.restoring"), config.data_dir / name) for name in names]
    for part, place in staged:
        for suffix in ("-wal", "-shm"):
            place.with_name(place.name + suffix).unlink(missing_ok=True)
            part.with_name(part.name + suffix).unlink(missing_ok=True)
        shutil.move(part, place)
    keys = [name for name in KEYS if (source / name).is_file()]
    return [place for _, place in staged] + [_copy_key(source / name, config.data_dir / name) for name in keys]
