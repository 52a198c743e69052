"""Runs: how the embedded store keeps a batch before it is merged into the clustered tables.

A batch over many series would dirty one page of the clustered table for each of them, so it is written as a run
instead: its readings sorted by series and cut into blocks of columns, each one row. Owns the block format (MessagePack
of four columns: series, time, cell, meta) and the union of runs with stored rows. Later runs win.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from cloud.telemetry.rollup import Cell, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BLOCK_ROWS: Final = 512
Entry = tuple[int, int, Cell, int]
"""series, time, cell, meta."""
_Columns = tuple[list[int], list[int], list[Any], list[int]]  # a decoder cannot tell str from bytes in one union
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode
_series_of = itemgetter(0)


class Block(NamedTuple):
    """One row of a run: the least and the greatest series in it, its readings, and their columns."""

    first: int
    last: int
    rows: int
    data: bytes


def blocks(entries: list[Entry]) -> Iterator[Block]:
    """A run of the entries, in blocks. Entries of one series and time keep their order: the later one wins."""
    entries.sort(key=_series_of)
    rest = iter(entries)
    while chunk := list(islice(rest, BLOCK_ROWS)):
        yield Block(chunk[0][0], chunk[-1][0], len(chunk), _encode(tuple(zip(*chunk, strict=True))))


def rows_of(series: int, runs: Iterable[bytes]) -> dict[int, Row]:
    """What blocks, oldest first, hold of one series: time to row."""
    found: dict[int, Row] = {}
    for data in runs:
        which, times, cells, metas = _decode(data)
        begin = bisect_left(which, series)
        for i in range(begin, bisect_right(which, series, begin)):
            found[times[i]] = Row(times[i], cells[i], metas[i])
    return found


def entries_of(runs: Iterable[bytes], first: int, last: int) -> dict[tuple[int, int], Entry]:
    """What blocks, oldest first, hold of the series from `first` to `last`: (series, time) to entry."""
    found: dict[tuple[int, int], Entry] = {}
    for data in runs:
        which, times, cells, metas = _decode(data)
        for i in range(bisect_left(which, first), bisect_right(which, last)):
            found[which[i], times[i]] = (which[i], times[i], cells[i], metas[i])
    return found


def united(stored: Sequence[Row], hot: dict[int, Row]) -> list[Row]:
    """Stored rows and rows of runs in one ascending list; the run's wins."""
    if not hot:
        return list(stored)
    both = {row[0]: row for row in stored}
    both.update(hot)
    return [both[at] for at in sorted(both)]
