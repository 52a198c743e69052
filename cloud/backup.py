"""Backup and restore of the cloud: its database, the embedded time series, and the files that go with them.

A backup is a directory with a copy of each store, the files that nothing can be read or trusted without, and a manifest
with their sizes and hashes. It is taken while the service runs, the relational database first: whatever it says is
committed is then in the telemetry copy too. What is left out is named: a time-series store of its own has its own
tools, and the key of the authority's root belongs offline, so it is neither copied nor replaced. A restore looks at all
of it before it replaces anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloud import backup_postgres as postgres
from cloud import schema
from cloud.db import SQLITE_FILE, open_database, sqlite_module
from cloud.devices.enrolment.making import ROOT_KEY
from cloud.state import now_ms
from firmware_specs.durable import write_file
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloud.config import Config
    from cloud.db import Database

    Progress = Callable[[str, int], None]
    """Told the name of a store and how many percent of it are copied."""

SERIES: Final = ("telemetry.db", "telemetry-side.db", "telemetry-journal.db", "telemetry-journal-influx.db")
KEYS: Final = ("notify.key",)
TREES: Final = ("authority", "updates")
"""Folders below the data directory: keys and certificates, the update repository."""
MANIFEST: Final = "manifest.json"
FORMAT: Final = 2
_CHUNK: Final = 1 << 20


def left_out(config: Config) -> list[str]:
    """What a backup of this configuration does not hold, each with what to do instead."""
    left = [] if config.telemetry.url == "sqlite" else ["telemetry: kept in its own store, back it up with its tool"]
    if config.authority.key != "file":
        left.append("the authority's key: kept in its token, back it up with its tool")
    keys = sorted(path for tree in TREES for path in (config.data_dir / tree).rglob(ROOT_KEY))
    return [
        *left,
        *(f"{path}: the key of the authority's root; move it off this machine, it is in no backup" for path in keys),
    ]


def _silent(_name: str, _percent: int) -> None:
    """Nobody watches."""


def backup(config: Config, target: Path, progress: Progress = _silent) -> list[Path]:
    """Copy everything into a new directory. Gives the files. Raises StoreError."""
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        raise StoreError(str(target), "exists and is not an empty directory")
    embedded = config.database.url == "sqlite"
    if embedded and not (config.data_dir / SQLITE_FILE).exists():
        raise StoreError(str(config.data_dir), "no database to back up")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = open_database(config.database.url, config.data_dir, config.database.password())
    try:
        with database.read() as tx:
            revision = schema.current(tx)
    finally:
        database.close()
    if embedded:
        copied = [_copy(config.data_dir / SQLITE_FILE, target / SQLITE_FILE, progress)]
    else:
        copied = [postgres.dump(config.database, target / postgres.DUMP)]
    copied += [_copy(config.data_dir / n, target / n, progress) for n in SERIES if (config.data_dir / n).exists()]
    copied += [_copy_file(config.data_dir / n, target / n) for n in _files(config.data_dir)]
    manifest = {
        "format": FORMAT, "taken_at_ms": now_ms(), "database": "sqlite" if embedded else "postgresql",
        "revision": revision, "files": [_entry(path, target) for path in copied],
    }  # fmt: skip
    _write(target / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return copied


def _files(folder: Path) -> Iterator[str]:
    """The names of the files that go with the databases, below a folder.

    An update repository's timestamp comes first: what it refers to is never taken away, so it is in the copy too.
    """
    yield from (name for name in KEYS if (folder / name).is_file())
    for tree in TREES:
        found = [path for path in (folder / tree).rglob("*") if path.is_file() and not path.is_symlink()]
        # A file that is just being written bears a dot until it is whole.
        found = [path for path in found if path.name != ROOT_KEY and not path.name.startswith(".")]
        for path in sorted(found, key=lambda path: (path.name != "timestamp.json", path)):
            yield str(path.relative_to(folder))


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    return {"name": str(path.relative_to(folder)), "bytes": path.stat().st_size, "sha256": _hash(path)}


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _copy(source: Path, target: Path, progress: Progress = _silent) -> Path:
    sqlite = sqlite_module()

    def told(_status: int, remaining: int, total: int) -> None:
        progress(source.name, 100 * (total - remaining) // max(total, 1))

    try:
        with closing(sqlite.connect(str(source), timeout=10)) as here, closing(sqlite.connect(str(target))) as there:
            here.backup(there, pages=2000, sleep=0.005, progress=told)
            there.execute("PRAGMA journal_mode=WAL")
            found = there.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite.Error as e:
        raise StoreError(str(source), str(e)) from e
    if found != "ok":
        raise StoreError(str(target), f"the copy is damaged: {found}")
    target.chmod(0o600)
    return target


def _copy_file(source: Path, target: Path) -> Path:
    """A file, for our eyes only: a backup is as secret as what it is of."""
    try:
        if not target.parent.exists():
            target.parent.mkdir(parents=True, mode=0o700)
        write_file(target, source.read_bytes())
    except OSError as e:
        raise StoreError(str(source), e.strerror or str(e)) from e
    return target


def restore(config: Config, source: Path, *, force: bool) -> list[str]:
    """Put a backup in place of what is there. The caller holds the data directory alone. Gives what was put back.

    Raises StoreError when the backup is none, is damaged, is of another kind of database or of a newer program, or when
    databases exist and force is not given: nothing is changed then.
    """
    manifest = _manifest(source)
    names = _intact(source, manifest)
    embedded = config.database.url == "sqlite"
    kept_in = manifest.get("database", "sqlite")
    if kept_in != ("sqlite" if embedded else "postgresql"):
        raise StoreError(str(source), f"is of a {kept_in} database, and [database] url is {config.database.url!r}")
    if not schema.knows(manifest.get("revision")):
        raise StoreError(str(source), f"was made by a newer program (revision {str(manifest['revision'])[:32]})")
    present = [name for name in (SQLITE_FILE, *SERIES) if (config.data_dir / name).exists()]
    if present and not force:
        raise StoreError(str(config.data_dir), f"{present[0]} exists; --force replaces it")
    stores = [name for name in names if name in {SQLITE_FILE, *SERIES}]
    staged = [(_copy(source / name, config.data_dir / f"{name}.restoring"), config.data_dir / name) for name in stores]
    if not embedded:
        _restore_postgres(config, source, force=force)
    for part, place in staged:
        for suffix in ("-wal", "-shm"):
            place.with_name(place.name + suffix).unlink(missing_ok=True)
            part.with_name(part.name + suffix).unlink(missing_ok=True)
        shutil.move(part, place)
    files = [name for name in names if name not in {*stores, postgres.DUMP}]
    for tree in {name.partition("/")[0] for name in files if "/" in name}:
        _clear(config.data_dir / tree)
    placed = [str(_copy_file(source / name, config.data_dir / name)) for name in files]
    return [*([] if embedded else [config.database.url]), *(str(place) for _, place in staged), *placed]


def _clear(folder: Path) -> None:
    """Take away what a backup's files take the place of; the key of the authority's root is in none."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_symlink() or not path.is_dir():
            if path.name != ROOT_KEY:
                path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def _restore_postgres(config: Config, source: Path, *, force: bool) -> None:
    database: Database = open_database(config.database.url, config.data_dir, config.database.password())
    try:
        if (there := postgres.occupied(database)) and not force:
            raise StoreError(config.database.url, f"{there}; --force replaces them")
        if busy := postgres.users(database):
            raise StoreError(config.database.url, f"{busy} connections of a running service; stop it first")
    finally:
        database.close()
    postgres.put_back(config.database, source / postgres.DUMP)


def _manifest(source: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise StoreError(str(source), f"no backup: {MANIFEST} cannot be read") from e
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), list) or not manifest["files"]:
        raise StoreError(str(source), f"no backup: {MANIFEST} names no files")
    return manifest


def _intact(source: Path, manifest: dict[str, Any]) -> list[str]:
    """The names of the files, each looked at. Raises StoreError that names the one that is wrong."""
    names = []
    for entry in manifest["files"]:
        known = entry if isinstance(entry, dict) else {"name": entry}
        name = str(known.get("name", ""))
        path = source / name
        allowed = name in {SQLITE_FILE, postgres.DUMP, *SERIES, *KEYS} or name.partition("/")[0] in TREES
        if not allowed or ".." in Path(name).parts or not path.is_file():
            raise StoreError(str(source), f"no backup: {name[:200] or 'a file'} is missing")
        if "sha256" in known and _hash(path) != known["sha256"]:
            raise StoreError(str(path), "is damaged: its hash is not that of the manifest")
        names.append(name)
    return names
