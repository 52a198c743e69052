"""History of one series of the embedded store: runs, readings and rollups united.

Owns the choice of the table that answers. It reads within one snapshot that the caller holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from cloud.telemetry.rollup import BY_RANK, Bucket, Row, fold_buckets, fold_rows, to_value
from cloud.telemetry.runs import rows_of, united
from cloud.telemetry.store import HOUR_MS, MINUTE_MS, History, HistoryPoint

if TYPE_CHECKING:
    import apsw

_ROLLUPS: Final = {MINUTE_MS: "minute", HOUR_MS: "hour"}


class SeriesQuery:
    """Queries of one series. number: its id in the file."""

    def __init__(self, db: apsw.Connection, number: int) -> None:
        self._db = db
        self._number = number
        self._units: dict[int, str] = dict(db.execute("SELECT id, name FROM unit"))
        self._horizon: int = db.execute("SELECT coalesce(max(until), -(1 << 62)) FROM retained").get
        """Readings before it may be deleted already; their rollups stand."""
        self._hot: dict[int, Row] | None = None

    def raw(self, from_ms: int, to_ms: int, limit: int) -> History:
        """Readings as stored."""
        rows = self._rows(from_ms, to_ms, limit + 1)
        points = [
            HistoryPoint(at, to_value(cell), BY_RANK[meta & 3], self._units[meta >> 2])
            for at, cell, meta in rows[:limit]
        ]
        return History(points, rows[limit][0] if len(rows) > limit else None)

    def stepped(self, from_ms: int, to_ms: int, step_ms: int, limit: int) -> History:
        """Buckets; a page that could be too long is first asked for only as far as `limit` full buckets reach."""
        from_ms -= from_ms % step_ms
        near = min(to_ms, from_ms + (limit + 1) * step_ms)
        buckets = self._buckets(from_ms, near, step_ms)
        if near < to_ms and len(buckets) <= limit:
            buckets = self._buckets(from_ms, to_ms, step_ms)
        points = [
            HistoryPoint(
                b.at, to_value(b.last) if b.total is None else b.total / b.n, BY_RANK[b.meta & 3],
                self._units[b.meta >> 2], b.low, b.high, b.n,
            )
            for b in buckets[:limit]
        ]  # fmt: skip
        return History(points, buckets[limit].at if len(buckets) > limit else None)

    def _buckets(self, from_ms: int, to_ms: int, step_ms: int) -> list[Bucket]:
        for width in (HOUR_MS, MINUTE_MS):
            if step_ms % width == 0:
                small = self._rollup(width, from_ms, to_ms)
                return small if step_ms == width else fold_buckets(small, step_ms)
        return fold_rows(self._rows(from_ms, to_ms), step_ms)

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
        touched = {at - at % width for at in self._unmerged() if from_ms <= at < to_ms}
        if to_ms % width:
            touched.add(to_ms - to_ms % width)
        for at in touched:
            if at < self._horizon and at in found:
                continue
            until = min(at + width, to_ms)
            if width == HOUR_MS:
                part = fold_buckets(self._rollup(MINUTE_MS, at, until), width)
            else:
                part = fold_rows(self._rows(at, until), width)
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
        hot = {at: row for at, row in self._unmerged().items() if from_ms <= at < to_ms}
        return united(cast("list[Row]", stored.fetchall()), hot)

    def _unmerged(self) -> dict[int, Row]:
        """All that runs hold of the series, read once."""
        if self._hot is None:
            runs = self._db.execute(
                "SELECT data FROM run WHERE first <= ? AND last >= ? ORDER BY id", (self._number, self._number)
            )
            self._hot = rows_of(self._number, (data for (data,) in runs))
        return self._hot
