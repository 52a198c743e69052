"""The embedded store: merges, rollups, retention, and `kill -9` at random moments."""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.telemetry.merge import MergeLimits
from cloud.telemetry.rollup import BY_RANK, Row, fold_buckets, fold_rows, to_cell, to_value
from cloud.telemetry.sqlite import SqliteStore
from cloud.telemetry.store import DAY_MS, HOUR_MS, MINUTE_MS, History, Retention, Series, open_store
from firmware_specs.errors import StoreError
from firmware_specs.readings import Position, Quality, Value
from tests import support
from tests.telemetry.telemetry_points import point

if TYPE_CHECKING:
    from cloud.telemetry.store import Point

START = 1_795_000_000_000 // DAY_MS * DAY_MS
SERIES = Series("gw-1", "dev-1", "temperature")
TINY = MergeLimits(rows_per_series=2, least=8, rows=16, runs=4, slice_rows=3)

values = st.one_of(
    st.floats(-1e6, 1e6),
    st.booleans(),
    st.text(max_size=5),
    st.builds(Position, st.floats(-90, 90), st.floats(-180, 180)),
)
points = st.builds(
    lambda v, at, device, quality, unit: point(
        "gw-1", v, START + at, device=f"dev-{device}", quality=quality, unit=unit
    ),
    values, st.integers(0, 3 * HOUR_MS // 7919).map(lambda n: n * 7919), st.integers(1, 4), st.sampled_from(Quality),
    st.sampled_from(["Cel", "K"]),
)  # fmt: skip


def expected(told: list[Point], device: str, step_ms: int | None) -> list[tuple[object, ...]]:
    """What a history must be, from all that was ever written."""
    last = {p.reading.observed_at: p.reading for p in told if p.reading.device == device}
    units: list[str] = sorted({r.unit for r in last.values()})
    if step_ms is None:
        return [(at, last[at].value, last[at].quality, last[at].unit, None, None, 1) for at in sorted(last)]
    rows = [
        Row(at, to_cell(r.value), units.index(r.unit) << 2 | BY_RANK.index(r.quality))
        for at, r in sorted(last.items())
    ]  # fmt: skip
    return [
        (b.at, to_value(b.last) if b.total is None else pytest.approx(b.total / b.n, abs=1e-6), BY_RANK[b.meta & 3],
         units[b.meta >> 2], b.low, b.high, b.n)
        for b in fold_rows(rows, step_ms)
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(points, min_size=1, max_size=12), max_size=12), st.sets(st.integers(0, 12)))
def test_d7_histories_are_right_before_within_and_after_merges(told: list[list[Point]], merges: set[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        store = SqliteStore(Path(name) / "t.db", Retention(), MergeLimits(least=10**9, runs=10**9))
        for number, batch in enumerate(told):
            store.write(batch)
            if number in merges:
                store._merger.merge()
        flat = [p for batch in told for p in batch]
        for device in ("dev-1", "dev-2", "dev-3", "dev-4"):
            for step_ms in (None, 1000, MINUTE_MS, 7 * MINUTE_MS, HOUR_MS):
                found = store.history(Series("gw-1", device, "temperature"), 0, 2 * START, step_ms).points
                wanted = expected(flat, device, step_ms)
                if step_ms in {None, 1000, MINUTE_MS}:
                    assert [tuple(p) for p in found] == wanted
                else:
                    assert [(p.at_ms, p.quality) for p in found] == [(w[0], w[2]) for w in wanted]
        store.close()


@given(st.lists(st.tuples(st.integers(0, 10**7), st.floats(-1e6, 1e6)), max_size=60, unique_by=lambda t: t[0]))
def test_buckets_of_buckets_are_buckets_of_readings(told: list[tuple[int, float]]) -> None:
    rows = [Row(at, value, 0) for at, value in sorted(told)]
    small = list(fold_buckets(fold_rows(rows, MINUTE_MS), HOUR_MS))
    large = list(fold_rows(rows, HOUR_MS))
    assert [b._replace(total=None) for b in small] == [b._replace(total=None) for b in large]
    assert [b.total for b in small] == pytest.approx([b.total for b in large], abs=1e-3)


@given(values)
def test_a_cell_gives_its_value_back(value: Value) -> None:
    assert to_value(to_cell(value)) == value


def test_merging_goes_on_behind_the_writer(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "t.db", Retention(), TINY)
    for i in range(200):
        store.write([point("gw-1", float(i), START + i * 1000, device=f"dev-{i % 7}") for _ in range(2)])
    support.wait_for(lambda: store.stats()["hot_rows"] < 20, what="the merge")
    found = [store.history(Series("gw-1", f"dev-{d}", "temperature"), 0, 2 * START).points for d in range(7)]
    assert sorted(p.value for part in found for p in part if isinstance(p.value, float)) == [
        float(i) for i in range(200)
    ]
    assert store.stats()["merge_failures"] == 0
    store.close()


def test_retention_deletes_by_age_and_what_a_wrong_clock_dated_by_when_it_came(tmp_path: Path) -> None:
    clock = [0]
    kept_days = Retention(raw_days=2, minute_days=4, hour_days=10, track_days=1)
    store = SqliteStore(tmp_path / "t.db", kept_days, clock=lambda: clock[0])
    for age in (12, 6, 3, 0):
        clock[0] = at = START - age * DAY_MS
        store.write([point("gw-1", float(age), at), point("gw-1", Position(float(age), 0.0), at, metric="position")])
    store.write([point("gw-1", 20_000.0, START - 20_000 * DAY_MS)])
    store._merger.merge()
    store.retain(START + 1)

    def kept(series: Series, step_ms: int | None) -> list[Value]:
        return [p.value for p in store.history(series, 0, 2 * START, step_ms).points]

    assert kept(SERIES, None) == [20_000.0, 0.0]
    assert kept(SERIES, MINUTE_MS) == [20_000.0, 3.0, 0.0]
    assert kept(SERIES, HOUR_MS) == [20_000.0, 6.0, 3.0, 0.0]
    for step_ms in (None, MINUTE_MS, HOUR_MS):
        assert kept(SERIES._replace(metric="position"), step_ms) == [Position(0.0, 0.0)]
    store.retain(START + 3 * DAY_MS)
    assert (kept(SERIES, None), kept(SERIES, MINUTE_MS)) == ([], [20_000.0, 0.0])
    store.retain(START + 11 * DAY_MS)
    assert kept(SERIES, HOUR_MS) == []
    store.close()


@pytest.mark.parametrize("step_ms", [1000, MINUTE_MS])
def test_a_page_reads_no_more_than_it_needs(tmp_path: Path, step_ms: int) -> None:
    store = SqliteStore(tmp_path / "t.db", Retention())
    store.write([point("gw-1", 1.0, START - 50 * DAY_MS)])
    store.write([point("gw-1", float(i), START + i * step_ms) for i in range(40_000)])
    store._merger.merge()
    store.history(SERIES, 0, 1, step_ms)  # the connection's own memory
    tracemalloc.start()
    page = store.history(SERIES, 0, 2 * START, step_ms, 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [p.value for p in page.points] == [1.0, *map(float, range(19))]
    assert page.next_ms == START + 19 * step_ms
    assert peak < 500_000
    store.close()


def test_a_recording_that_is_replayed_is_kept_from_when_it_came(tmp_path: Path) -> None:
    clock = [START]
    store = SqliteStore(tmp_path / "t.db", Retention(), clock=lambda: clock[0])
    observed = (START - 20_000 * DAY_MS, START - 900 * DAY_MS, START - 8 * DAY_MS, START, START + 900 * DAY_MS)
    for at in observed:
        store.write([point("gw-1", Position(1.0, 2.0), at, metric="position")])
    store._merger.merge()

    def kept() -> list[int]:
        series = SERIES._replace(metric="position")
        return [p.at_ms for p in store.history(series, 0, 2 * START).points]

    for days in (0, 6):
        store.retain(START + days * DAY_MS)
        assert kept() == list(observed)
    store.retain(START + 8 * DAY_MS)
    assert kept() == []
    store.close()


def test_a_reading_later_than_the_raw_retention_leaves_rollups_as_they_are(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "t.db", Retention(raw_days=2))
    store.write([point("gw-1", float(i), START - 3 * DAY_MS + i * 1000) for i in range(10)])
    store._merger.merge()
    store.retain(START)
    store.write([point("gw-1", 99.0, START - 3 * DAY_MS + 500), point("gw-1", 5.0, START - 3 * DAY_MS + MINUTE_MS)])
    for _ in range(2):
        minutes = store.history(SERIES, START - 4 * DAY_MS, START, MINUTE_MS).points
        assert [(p.value, p.readings) for p in minutes] == [(4.5, 10), (5.0, 1)]
        store._merger.merge()
    store.close()


def test_two_processes_may_share_a_file(tmp_path: Path) -> None:
    first, second = (SqliteStore(tmp_path / "t.db", Retention(), TINY) for _ in range(2))

    def fill(store: SqliteStore, start: int) -> None:
        for i in range(start, 300, 2):
            store.write([point("gw-1", float(i), START + i * 1000, device=f"dev-{i % 50}")])

    threads = [threading.Thread(target=fill, args=(store, i)) for i, store in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [
        p for d in range(50) for p in first.history(Series("gw-1", f"dev-{d}", "temperature"), 0, 2 * START).points
    ]
    assert len(found) == 300
    first.close()
    second.close()


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.telemetry.telemetry_points import point
from cloud.telemetry.merge import MergeLimits
from cloud.telemetry.sqlite import SqliteStore
from cloud.telemetry.store import Retention
limits = MergeLimits(rows_per_series=2, least=200, rows=200, runs=8, slice_rows=20)
store = SqliteStore(Path(sys.argv[1]), Retention(), limits)
i = int(sys.argv[2])
while True:
    store.write([point("gw-1", float(i), {start} + i * 100 + d, device=f"dev-{{d}}") for d in range(30)])
    print(i, flush=True)
    i += 1
"""


@pytest.mark.system
def test_d3_kill_9_of_a_writer_loses_nothing_that_was_accepted(
    tmp_path: Path, start_process: support.StartProcess
) -> None:
    chance = random.Random(3)
    program = tmp_path / "writer.py"
    program.write_text(WRITER.format(tests=str(Path(__file__).parents[2]), start=START))
    accepted = -1
    for _ in range(8):
        writer = start_process(sys.executable, program, tmp_path / "t.db", str(accepted + 1))
        target = chance.randrange(3, 60)
        support.wait_for(lambda: writer.text().count("\n") >= target or not writer.alive, 60, "the writer")  # noqa: B023
        writer.kill()
        lines = writer.text().split("\n")[:-1]
        assert lines, writer.text()
        accepted = int(lines[-1])
    store = SqliteStore(tmp_path / "t.db", Retention())
    for device in range(30):
        series = Series("gw-1", f"dev-{device}", "temperature")
        found = store.history(series, 0, 2 * START).points
        assert [p.value for p in found[: accepted + 1]] == [float(i) for i in range(accepted + 1)]
        assert sum(p.readings for p in store.history(series, 0, 2 * START, HOUR_MS).points) == len(found)
    assert apsw.Connection(str(tmp_path / "t.db")).pragma("integrity_check") == "ok"
    store.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "telemetry.db").write_bytes(b"not a database at all" * 300)
    with pytest.raises(StoreError) as refused:
        open_store("sqlite", tmp_path)
    assert str(refused.value) == f"telemetry sqlite: {tmp_path}/telemetry.db: file is not a database"


def test_a_file_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "telemetry.db", Retention()).close()
    db = apsw.Connection(str(tmp_path / "telemetry.db"))
    db.pragma("user_version", 9)
    db.close()
    with pytest.raises(StoreError, match=r"telemetry\.db is of version 9, newer than this program knows"):
        open_store("sqlite", tmp_path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"telemetry sqlite: .*telemetry\.db: .*Not a directory"):
        open_store("sqlite", tmp_path / "file" / "below")


def test_a_page_of_an_unknown_series_is_empty(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "t.db", Retention())
    assert store.history(SERIES, 0, 1) == History([])
    store.close()
