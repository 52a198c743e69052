"""Moving runs into the clustered tables, and deleting what is too old.

Owns the background thread of the embedded store. A merge takes the runs up to a cut in slices of series; each slice is
one short transaction that writes the raw rows and recomputes every minute and hour that they touch, so late readings
count. The runs are deleted after the last slice. One process merges at a time (a lock file); the others write on.
"""

from __future__ import annotations

import fcntl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import apsw
import structlog

from cloud.telemetry.rollup import Bucket, Row, fold_buckets, fold_rows
from cloud.telemetry.runs import entries_of
from cloud.telemetry.store import DAY_MS, HOUR_MS, MINUTE_MS, TRACK_METRIC, WRONG_CLOCK_BEFORE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from cloud.telemetry.runs import Entry
    from cloud.telemetry.store import Retention

_log: Final = structlog.get_logger("telemetry")
_RETAIN_SERIES: Final = 500
"""Series a transaction of `retain` covers."""
_RETRY_S: Final = 5.0


class MergeLimits(NamedTuple):
    """When a merge begins and how large its steps are.

    rows_per_series: begin at so many waiting readings for each series, but between `least` and `rows` in all: what
    a merge costs grows with the series, what a query of unmerged runs costs with the readings.
    runs: begin at so many waiting blocks. slice_rows: about so many readings in one transaction.
    full: a writer waits for the merge when `full` times `rows` wait.
    """

    rows_per_series: int = 32
    least: int = 50_000
    rows: int = 1_000_000
    runs: int = 2048
    slice_rows: int = 20_000
    full: int = 4


class Merger:
    """Merges one file's runs behind its writers."""

    def __init__(
        self, path: Path, connection: Callable[[], apsw.Connection], retention: Retention, limits: MergeLimits
    ) -> None:
        self.writer = threading.Lock()
        """Held around every write transaction of this process: SQLite's own waiting polls."""
        self._path = path
        self._connection = connection
        self._retention = retention
        self._limits = limits
        self._wake = threading.Event()
        self._done = threading.Condition()
        self._closing = False
        self._failed = 0
        self._series = 0
        self._runs: int
        self._rows: int
        self._runs, self._rows = connection().execute("SELECT count(*), coalesce(sum(count), 0) FROM run").get
        self._thread = threading.Thread(target=self._work, name="telemetry-merge", daemon=True)
        self._thread.start()

    def added(self, runs: int, rows: int, series: int) -> None:
        """A batch was committed, and so many series are known; wake the merge when enough waits."""
        with self._done:
            self._series = series
            self._runs += runs
            self._rows += rows
        if self._due():
            self._wake.set()

    def _due(self) -> bool:
        limits = self._limits
        enough = min(limits.rows, max(limits.least, limits.rows_per_series * self._series))
        return self._rows >= enough or self._runs >= limits.runs

    def make_room(self) -> None:
        """Wait while far more waits than a merge takes, unless merging fails."""
        with self._done:
            self._done.wait_for(
                lambda: self._rows < self._limits.full * self._limits.rows or self._failed or self._closing, 60
            )

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait(_RETRY_S if self._failed else None)
            self._wake.clear()
            try:
                while self._due() and not self._closing:
                    self.merge()
                self._failed = 0
            except (apsw.Error, OSError) as e:
                self._failed += 1
                _log.warning(
                    "merge failed, will be tried again", file=str(self._path), cause=str(e), times=self._failed
                )
            with self._done:
                self._done.notify_all()

    def merge(self) -> None:
        """Merge every run that is there now. Raises apsw.Error or OSError; merging again is always right."""
        db = self._connection()
        with self._alone():
            cut = db.execute("SELECT max(id) FROM run").get
            if cut is not None:
                horizon = self._horizon(db)
                for first, last in self._slices(db, cut):
                    if self._closing:
                        return
                    self._slice(db, cut, first, last, horizon)
                with self._transaction(db):
                    db.execute("DELETE FROM run WHERE id <= ?", (cut,))
            runs, rows = db.execute("SELECT count(*), coalesce(sum(count), 0) FROM run").get
        with self._done:
            self._runs, self._rows = runs, rows
            self._done.notify_all()

    @staticmethod
    def _horizon(db: apsw.Connection) -> int:
        """Raw rows before it may be deleted already, so rollups before it are only filled, never recomputed."""
        horizon: int | None = db.execute("SELECT until FROM retained WHERE id = 1").get
        return -(2**62) if horizon is None else horizon

    def _slices(self, db: apsw.Connection, cut: int) -> list[tuple[int, int]]:
        """Ranges of series that hold about `slice_rows` readings each; blocks tell how they are spread."""
        spread: dict[int, int] = {}
        for first, last, count in db.execute("SELECT first, last, count FROM run WHERE id <= ?", (cut,)):
            spread[last] = spread.get(last, 0) + count
            spread.setdefault(first, 0)
        slices: list[tuple[int, int]] = []
        size = 0
        begin = min(spread)
        for series in sorted(spread):
            size += spread[series]
            if size >= self._limits.slice_rows:
                slices.append((begin, series))
                begin, size = series + 1, 0
        slices.append((begin, max(spread)))
        return slices

    def _slice(self, db: apsw.Connection, cut: int, first: int, last: int, horizon: int) -> None:
        found = entries_of(
            (data for (data,) in db.execute(
                "SELECT data FROM run WHERE first <= ? AND last >= ? AND id <= ? ORDER BY id", (last, first, cut)
            )), first, last,
        )  # fmt: skip
        if not found:
            return
        entries = [found[key] for key in sorted(found)]
        with self._transaction(db):
            db.executemany("INSERT OR REPLACE INTO raw(series, at, cell, meta) VALUES(?, ?, ?, ?)", entries)
            for series, minutes in _touched(entries, horizon):
                self._roll(db, series, minutes)
            fill = [entry for entry in entries if entry[1] < horizon]
            if fill:
                self._fill(db, fill)

    def _roll(self, db: apsw.Connection, series: int, minutes: list[int]) -> None:
        """Recompute minutes (ascending) of a series from its readings, and the hours that hold them."""
        for begin, end in _ranges(minutes, MINUTE_MS):
            rows = db.execute(
                "SELECT at, cell, meta FROM raw WHERE series = ? AND at >= ? AND at < ? ORDER BY at",
                (series, begin, end),
            )
            _put(db, "minute", series, fold_rows(map(Row._make, rows), MINUTE_MS))
        hours = sorted({at - at % HOUR_MS for at in minutes})
        for begin, end in _ranges(hours, HOUR_MS):
            small = db.execute(
                "SELECT at, n, total, low, high, last, meta FROM minute "
                "WHERE series = ? AND at >= ? AND at < ? ORDER BY at",
                (series, begin, end),
            )
            _put(db, "hour", series, fold_buckets(map(Bucket._make, small), HOUR_MS))

    @staticmethod
    def _fill(db: apsw.Connection, entries: list[Entry]) -> None:
        """Readings older than the raw retention make a bucket only where there is none: the others are gone."""
        by_series: dict[int, list[Row]] = {}
        for series, at, cell, meta in entries:
            by_series.setdefault(series, []).append(Row(at, cell, meta))
        for series, rows in by_series.items():
            minutes = list(fold_rows(rows, MINUTE_MS))
            _put(db, "minute", series, minutes, "IGNORE")
            _put(db, "hour", series, fold_buckets(minutes, HOUR_MS), "IGNORE")

    @contextmanager
    def _transaction(self, db: apsw.Connection) -> Iterator[None]:
        with self.writer:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread or process merges or deletes meanwhile."""
        with self._path.with_name(self._path.name + ".merge-lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def retain(self, now_ms: int) -> None:
        """Delete what is older than the retention, a few hundred series a transaction.

        Of what came more than a day after it was observed, such as a recording that is replayed or an outage's
        backlog, the age counts from when it came.
        """
        keep = self._retention
        raw, minute, hour, track = (now_ms - days * DAY_MS for days in keep)
        db = self._connection()
        with self._alone():
            with self._transaction(db):
                db.execute("INSERT OR REPLACE INTO retained(id, until) VALUES(1, ?)", (raw - raw % HOUR_MS,))
            top = db.execute("SELECT coalesce(max(id), 0) FROM series").get
            for begin in range(1, top + 1, _RETAIN_SERIES):
                with self._transaction(db):
                    for series, metric in db.execute(
                        "SELECT id, metric FROM series WHERE id >= ? AND id < ?", (begin, begin + _RETAIN_SERIES)
                    ).fetchall():
                        least = track if metric == TRACK_METRIC else -(2**62)
                        for table, until in (("raw", raw), ("minute", minute), ("hour", hour)):
                            _forget(db, table, series, max(until, least), now_ms)
            with self._transaction(db):
                db.execute("DELETE FROM arrived WHERE at < ?", (min(raw, minute, hour, track),))

    def stats(self) -> dict[str, float]:
        """What waits to be merged, and how often merging failed in a row."""
        size = self._path.stat().st_size
        return {"hot_rows": self._rows, "hot_blocks": self._runs, "bytes": size, "merge_failures": self._failed}

    def close(self) -> None:
        """End the thread; a merge under way stops after its slice."""
        self._closing = True
        self._wake.set()
        self._thread.join()


def _forget(db: apsw.Connection, table: str, series: object, until: int, now_ms: int) -> None:
    """Delete what was observed, and came, before a time; of what a wrong clock dated only when it came counts."""
    arrived = f"(SELECT at FROM arrived WHERE series = ?1 AND day = {table}.at / {DAY_MS})"  # noqa: S608 - constants
    for begin, end, came in (
        (WRONG_CLOCK_BEFORE_MS, until, f"coalesce({arrived}, ?2)"),
        (0, WRONG_CLOCK_BEFORE_MS, arrived),
        (now_ms + 2 * DAY_MS, 2**62, arrived),
    ):
        db.execute(
            f"DELETE FROM {table} WHERE series = ?1 AND at >= ?2 AND at < ?3 AND {came} < ?4",  # noqa: S608 - constants
            (series, begin, end, until),
        )


def _touched(entries: list[Entry], horizon: int) -> Iterator[tuple[int, list[int]]]:
    """Series and their minutes that sorted entries fall in, less those before the horizon."""
    series, minutes = 0, list[int]()
    for number, at, _, _ in entries:
        if number != series:
            if minutes:
                yield series, minutes
            series, minutes = number, []
        minute = at - at % MINUTE_MS
        if minute >= horizon and (not minutes or minutes[-1] != minute):
            minutes.append(minute)
    if minutes:
        yield series, minutes


def _ranges(begins: list[int], width: int) -> Iterator[tuple[int, int]]:
    """Ascending buckets joined into ranges, across gaps of at most ten buckets."""
    begin = end = begins[0]
    for at in begins:
        if at > end + 10 * width:
            yield begin, end
            begin = at
        end = at + width
    yield begin, end


def _put(db: apsw.Connection, table: str, series: int, buckets: Iterable[Bucket], clash: str = "REPLACE") -> None:
    db.executemany(
        f"INSERT OR {clash} INTO {table}(series, at, n, total, low, high, last, meta) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        [(series, *bucket) for bucket in buckets],
    )
