"""History of one series of the embedded store: runs, readings and rollups united.

Owns the choice of the table that answers. It reads within one snapshot that the caller holds, and from a range no more
than its page needs: it leaps over what is empty and reads as far as `limit` full buckets reach.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, cast

from cloud.telemetry.rollup import Bucket, Row, fold_buckets, fold_rows, page_of_buckets, page_of_rows
from cloud.telemetry.runs import rows_of, united
from cloud.telemetry.store import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    import apsw

    from cloud.telemetry.store import History

_ROLLUPS: Final = {HOUR_MS: "hour", MINUTE_MS: "minute"}


class SeriesQuery:
    """Queries of one series. number: its id in the file."""

    def __init__(self, db: apsw.Connection, number: int) -> None:
        self._db = db
        self._number = number
        self._units: dict[int, str] = dict(db.execute("SELECT id, name FROM unit"))
        self._horizon: int = db.execute("SELECT coalesce(max(until), -(1 << 62)) FROM retained").get
        """Readings before it may be deleted already; their rollups stand."""
        runs = db.execute("SELECT data FROM run WHERE first <= ? AND last >= ? ORDER BY id", (number, number))
        self._hot = rows_of(number, (data for (data,) in runs))
        """All that runs hold of the series."""
        self._hot_times = sorted(self._hot)

    def raw(self, from_ms: int, to_ms: int, limit: int) -> History:
        """Readings as stored."""
        return page_of_rows(self._rows(from_ms, to_ms, limit + 1), self._units, limit)

    def stepped(self, from_ms: int, to_ms: int, step_ms: int, limit: int) -> History:
        """Buckets."""
        buckets: list[Bucket] = []
        width = next((width for width in _ROLLUPS if step_ms % width == 0), 0)
        while len(buckets) <= limit and (first := self._first(from_ms, to_ms, width)) is not None:
            from_ms = first - first % step_ms
            until = min(to_ms, from_ms + (limit + 1) * step_ms)
            if width:
                buckets += fold_buckets(self._rollup(width, from_ms, until), step_ms)
            else:
                buckets += fold_rows(self._rows(from_ms, until), step_ms)
            from_ms = until
        return page_of_buckets(buckets, self._units, limit)

    def _first(self, from_ms: int, to_ms: int, width: int) -> int | None:
        """The first time of which the readings, or a rollup, know anything."""
        stored: int | None = self._db.execute(
            f"SELECT min(at) FROM {_ROLLUPS.get(width, 'raw')} WHERE series = ? AND at >= ? AND at < ?",  # noqa: S608 - constants
            (self._number, from_ms, to_ms),
        ).get
        return min([*self._hot_between(from_ms, to_ms)[:1], *([] if stored is None else [stored])], default=None)

    def _rollup(self, width: int, from_ms: int, to_ms: int) -> list[Bucket]:
        """Buckets of a rollup table; those that runs or the end of the range touch are made from what is finer."""
        found = {
            row[0]: Bucket(*row)
            for row in self._db.execute(
                f"SELECT at, n, total, low, high, last, meta FROM {_ROLLUPS[width]} "  # noqa: S608 - a constant
                "WHERE series = ? AND at >= ? AND at < ? ORDER BY at",
                (self._number, from_ms, to_ms),
            )
        }
        touched = {at - at % width for at in self._hot_between(from_ms, to_ms)}
        if to_ms % width:
            touched.add(to_ms - to_ms % width)
        for at in touched:
            if at < self._horizon and at in found:
                continue
            until = min(at + width, to_ms)
            if width == HOUR_MS:
                part = list(fold_buckets(self._rollup(MINUTE_MS, at, until), width))
            else:
                part = list(fold_rows(self._rows(at, until), width))
            if part:
                found[at] = part[0]
            else:
                found.pop(at, None)
        return [found[at] for at in sorted(found)]

    def _rows(self, from_ms: int, to_ms: int, limit: int = -1) -> list[Row]:
        stored = self._db.execute(
            "SELECT at, cell, meta FROM raw WHERE series = ? AND at >= ? AND at < ? ORDER BY at LIMIT ?",
            (self._number, from_ms, to_ms, limit),
        )
        hot = {at: self._hot[at] for at in self._hot_between(from_ms, to_ms)}
        return united(cast("list[Row]", stored.fetchall()), hot)

    def _hot_between(self, from_ms: int, to_ms: int) -> list[int]:
        return self._hot_times[bisect_left(self._hot_times, from_ms) : bisect_left(self._hot_times, to_ms)]
