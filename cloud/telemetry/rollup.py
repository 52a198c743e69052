"""Down-sampling: readings into buckets, small buckets into larger ones. Pure.

Owns the one meaning of a bucket that every store gives (HistoryPoint says it). A cell is a value as SQLite keeps it:
float a number, int a boolean, str a text, bytes a position. `meta` is unit number * 4 + quality rank.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from cloud.telemetry.store import History, HistoryPoint
from firmware_specs.readings import Position, Quality, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Cell = float | int | str | bytes
RANK: Final = {Quality.GOOD: 0, Quality.UNCERTAIN: 1, Quality.BAD: 2}
BY_RANK: Final = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)
_BAD: Final = 2
_PLACE: Final = struct.Struct("<dd")
_PLACE_WITH_ACCURACY: Final = struct.Struct("<ddd")


class Row(NamedTuple):
    """One reading of a known series; a plain tuple of the same parts serves where there are many."""

    at: int
    cell: Cell
    meta: int


class Bucket(NamedTuple):
    """Readings between `at` and the next bucket. total, low, high: None unless numbers, else of the `n` counted."""

    at: int
    n: int
    total: float | None
    low: float | None
    high: float | None
    last: Cell
    meta: int


T = TypeVar("T", Row, Bucket)


def to_cell(value: Value) -> Cell:
    """A plain value as a cell."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, str)):
        return value
    if isinstance(value, Position):
        if value.accuracy_m is None:
            return _PLACE.pack(value.lat, value.lon)
        return _PLACE_WITH_ACCURACY.pack(value.lat, value.lon, value.accuracy_m)
    return float(value)


def to_value(cell: Cell) -> Value:
    """The value of a cell."""
    if isinstance(cell, (float, str)):
        return cell
    if isinstance(cell, int):
        return bool(cell)
    if len(cell) == _PLACE.size:
        return Position(*_PLACE.unpack(cell))
    return Position(*_PLACE_WITH_ACCURACY.unpack(cell))


def _grouped(items: Iterable[T], step_ms: int) -> Iterator[tuple[int, list[T]]]:
    """What ascends in time, by the bucket in which it lies, as it is read."""
    group: list[T] = []
    end = -(2**63)
    for item in items:
        if item[0] >= end:
            if group:
                yield end - step_ms, group
                group = []
            end = item[0] - item[0] % step_ms + step_ms
        group.append(item)
    if group:
        yield end - step_ms, group


def fold_rows(rows: Iterable[Row], step_ms: int) -> Iterator[Bucket]:
    """Buckets of readings that ascend in time."""
    return (_of_rows(at, group) for at, group in _grouped(rows, step_ms))


def _of_rows(at: int, rows: list[Row]) -> Bucket:
    if len(rows) == 1:
        _, cell, meta = rows[0]
        number = cell if type(cell) is float else None
        return Bucket(at, 1, number, number, number, cell, meta)
    _, last, last_meta = rows[-1]
    if type(last) is float and all(row[2] == last_meta and type(row[1]) is float for row in rows):
        plain: list[float] = [row[1] for row in rows]  # type: ignore[misc] # just seen to be floats
        return Bucket(at, len(plain), sum(plain), min(plain), max(plain), last, last_meta)
    usable = [row for row in rows if row[2] & 3 < _BAD] or rows
    _, last, last_meta = usable[-1]
    unit = last_meta >> 2
    worst = max(row[2] & 3 for row in usable)
    meta = unit << 2 | worst
    if type(last) is not float:
        return Bucket(at, len(usable), None, None, None, last, meta)
    numbers = [row[1] for row in usable if type(row[1]) is float and row[2] >> 2 == unit]
    return Bucket(at, len(numbers), sum(numbers), min(numbers), max(numbers), last, meta)


def fold_buckets(small: Iterable[Bucket], step_ms: int) -> Iterator[Bucket]:
    """Larger buckets of small ones that ascend in time; step_ms: a multiple of the small width."""
    return (_of_buckets(at, group) for at, group in _grouped(small, step_ms))


def _of_buckets(at: int, group: list[Bucket]) -> Bucket:
    if len(group) == 1:
        return group[0]._replace(at=at)
    usable = [bucket for bucket in group if bucket.meta & 3 < _BAD] or group
    last = usable[-1]
    unit = last.meta >> 2
    meta = unit << 2 | max(bucket.meta & 3 for bucket in usable)
    if last.total is None:
        return Bucket(at, sum(bucket.n for bucket in usable), None, None, None, last.last, meta)
    same = [
        b for b in usable if b.total is not None and b.low is not None and b.high is not None and b.meta >> 2 == unit
    ]
    return Bucket(
        at, sum(b.n for b in same), sum(b.total or 0.0 for b in same), min(b.low or 0.0 for b in same),
        max(b.high or 0.0 for b in same), last.last, meta,
    )  # fmt: skip


def page_of_rows(rows: Sequence[Row], units: Mapping[int, str], limit: int) -> History:
    """The first readings as a page. units: names by number."""
    points = [HistoryPoint(at, to_value(cell), BY_RANK[meta & 3], units[meta >> 2]) for at, cell, meta in rows[:limit]]
    return History(points, rows[limit][0] if len(rows) > limit else None)


def page_of_buckets(buckets: Sequence[Bucket], units: Mapping[int, str], limit: int) -> History:
    """The first buckets as a page. units: names by number."""
    points = [
        HistoryPoint(
            b.at, to_value(b.last) if b.total is None else b.total / b.n, BY_RANK[b.meta & 3], units[b.meta >> 2],
            b.low, b.high, b.n,
        )
        for b in buckets[:limit]
    ]  # fmt: skip
    return History(points, buckets[limit].at if len(buckets) > limit else None)
