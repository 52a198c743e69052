"""The embedded telemetry store: one SQLite file.

Owns the file's tables, its writes and its queries; `merge.py` moves runs into the clustered tables behind them. A batch
is committed as a run (WAL, `synchronous=FULL`) and is visible at once: queries unite runs, the raw table and its
rollups, in one snapshot. Any part may be killed at any point: a run is deleted in the transaction after the one that
merged it, and merging twice changes nothing. Several processes may write and read one file.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import apsw

from cloud.telemetry.merge import MergeLimits, Merger
from cloud.telemetry.query import SeriesQuery
from cloud.telemetry.rollup import RANK, to_cell
from cloud.telemetry.runs import blocks
from cloud.telemetry.store import DAY_MS, DEFAULT_LIMIT, History, checked_range, plain
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cloud.telemetry.runs import Entry
    from cloud.telemetry.store import Point, Retention, Series

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS series(
  id INTEGER PRIMARY KEY, gateway TEXT NOT NULL, device TEXT NOT NULL, metric TEXT NOT NULL,
  UNIQUE(gateway, device, metric)) STRICT;
CREATE TABLE IF NOT EXISTS unit(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS run(
  id INTEGER PRIMARY KEY AUTOINCREMENT, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
  data BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS run_span ON run(first, last);
CREATE TABLE IF NOT EXISTS raw(
  series INTEGER, at INTEGER, cell, meta INTEGER, PRIMARY KEY(series, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS minute(
  series INTEGER, at INTEGER, n INTEGER, total, low, high, last, meta INTEGER, PRIMARY KEY(series, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retained(id INTEGER PRIMARY KEY, until INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hour(
  series INTEGER, at INTEGER, n INTEGER, total, low, high, last, meta INTEGER, PRIMARY KEY(series, at)) WITHOUT ROWID;
"""
_ARRIVED: Final = """
CREATE TABLE IF NOT EXISTS arrived(
  series INTEGER, day INTEGER, at INTEGER NOT NULL, PRIMARY KEY(series, day)) STRICT, WITHOUT ROWID;
"""
"""Days of which readings came more than a day off, and when the last of them did: their age counts from then."""
_VERSION: Final = 1
_BUSY_TIMEOUT_MS: Final = 30_000
_CHECKPOINT_PAGES: Final = 4000
_WAL_BYTES_KEPT: Final = 64 * 1024 * 1024


def wall_ms() -> int:
    """Milliseconds UTC."""
    return time.time_ns() // 1_000_000


class SqliteStore:
    """A TelemetryStore in one file. Raises StoreError when the file cannot be used."""

    def __init__(
        self, path: Path, retention: Retention, limits: MergeLimits | None = None, clock: Callable[[], int] = wall_ms
    ) -> None:
        self.name = "telemetry sqlite"
        self._clock = clock
        self._path = path
        self._local = threading.local()
        self._open: list[apsw.Connection] = []
        self._lock = threading.Lock()
        self._series: dict[tuple[str, str, str], int] = {}
        self._units: dict[str, int] = {}
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            self._prepare()
        self._merger = Merger(path, self.connection, retention, limits or MergeLimits())

    def _prepare(self) -> None:
        version = self._writer.pragma("user_version")
        if version not in {0, _VERSION}:
            raise StoreError(self.name, f"{self._path} is of version {version}, newer than this program knows")
        if version == 0:
            with self._writer:
                self._writer.execute(_SCHEMA)
                self._writer.pragma("user_version", _VERSION)
        self._writer.execute(_ARRIVED)
        self._load_names()

    def _load_names(self) -> None:
        self._series = {
            (g, d, m): i for i, g, d, m in self._writer.execute("SELECT id, gateway, device, metric FROM series")
        }
        self._units = {name: i for i, name in self._writer.execute("SELECT id, name FROM unit")}

    def _connect(self) -> apsw.Connection:
        db = apsw.Connection(str(self._path))
        db.set_busy_timeout(_BUSY_TIMEOUT_MS)
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", "full")
        db.pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
        db.pragma("journal_size_limit", _WAL_BYTES_KEPT)
        db.pragma("cache_size", -32_000)
        with self._lock:
            self._open.append(db)
        return db

    def connection(self) -> apsw.Connection:
        """This thread's own connection."""
        db: apsw.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
        return db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (apsw.Error, OSError) as e:
            raise StoreError(
                self.name, f"{self._path}: {str(e).splitlines()[0] if str(e) else type(e).__name__}"
            ) from e

    def write(self, batch: Sequence[Point]) -> None:
        """See TelemetryStore: one transaction, one fsync."""
        if not batch:
            return
        self._merger.make_room()
        with self._merger.writer, self._errors():
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                count = self._write(batch)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                self._load_names()
                raise
        self._merger.added(count, len(batch), len(self._series))

    def _write(self, batch: Sequence[Point]) -> int:
        series, units = self._series, self._units
        entries: list[Entry] = []
        now_ms = self._clock()
        early, ahead = now_ms - DAY_MS, now_ms + DAY_MS
        strays: set[tuple[int, int]] = set()
        for gateway, reading in batch:
            key = (gateway, reading.device, reading.metric)
            number = series.get(key) or self._new_series(key)
            unit = units.get(reading.unit)
            if unit is None:
                unit = self._new_unit(reading.unit)
            value = reading.value
            cell = value if type(value) is float and value - value == 0 else to_cell(plain(value))
            at = reading.observed_at
            if not early < at < ahead:
                strays.add((number, at // DAY_MS))
            entries.append((number, at, cell, unit << 2 | RANK[reading.quality]))
        self._writer.executemany(
            "INSERT INTO arrived(series, day, at) VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
            [(*stray, now_ms) for stray in strays],
        )
        run = list(blocks(entries))
        self._writer.executemany("INSERT INTO run(first, last, count, data) VALUES(?, ?, ?, ?)", run)
        return len(run)

    def _new_series(self, key: tuple[str, str, str]) -> int:
        self._writer.execute("INSERT OR IGNORE INTO series(gateway, device, metric) VALUES(?, ?, ?)", key)
        number = self._series_number(self._writer, key)
        self._series[key] = number = number or 0
        return number

    def _new_unit(self, name: str) -> int:
        self._writer.execute(
            "INSERT OR IGNORE INTO unit(id, name) SELECT coalesce(max(id) + 1, 0), ? FROM unit", (name,)
        )
        number: int = self._writer.execute("SELECT id FROM unit WHERE name = ?", (name,)).get
        self._units[name] = number
        return number

    @staticmethod
    def _series_number(db: apsw.Connection, key: tuple[str, str, str] | Series) -> int | None:
        number: int | None = db.execute(
            "SELECT id FROM series WHERE gateway = ? AND device = ? AND metric = ?", key
        ).get
        return number

    def history(
        self, series: Series, from_ms: int, to_ms: int, step_ms: int | None = None, limit: int = DEFAULT_LIMIT
    ) -> History:
        """See TelemetryStore. Steps of whole hours or minutes are read from the rollups, others from the readings."""
        checked_range(from_ms, to_ms, step_ms, limit)
        found = History([])
        with self._errors():
            db = self.connection()
            with db:
                number = self._series_number(db, series)
                if number is not None:
                    query = SeriesQuery(db, number)
                    if step_ms is None:
                        found = query.raw(from_ms, to_ms, limit)
                    else:
                        found = query.stepped(from_ms, to_ms, step_ms, limit)
        return found

    def retain(self, now_ms: int) -> None:
        """See TelemetryStore."""
        with self._errors():
            self._merger.retain(now_ms)

    def stats(self) -> dict[str, float]:
        """Runs and readings not yet merged, series, bytes on disk, merges that failed since the last that did not."""
        with self._errors():
            figures = self._merger.stats()
        return figures | {"series": len(self._series)}

    @staticmethod
    def away_s() -> float:
        """See TelemetryStore: there is no server."""
        return 0.0

    def close(self) -> None:
        """Finish the merge under way and close every connection."""
        self._merger.close()
        with self._lock:
            for db in self._open:
                db.close()
            self._open.clear()
