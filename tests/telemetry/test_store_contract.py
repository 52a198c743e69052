"""What every telemetry store must do, on real stores."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from cloud.telemetry.store import DAY_MS, MINUTE_MS, Series
from firmware_specs.readings import Position, Quality
from tests.telemetry.telemetry_points import point, visible

if TYPE_CHECKING:
    from cloud.telemetry.store import TelemetryStore
    from firmware_specs.readings import Value

START = time.time_ns() // 1_000_000 // 3_600_000 * 3_600_000 - 7_200_000
"""A full hour, at least two hours ago."""


def values(store: TelemetryStore, series: Series, step_ms: int | None = None) -> list[Value]:
    return [p.value for p in store.history(series, START - 10**9, START + 10**9, step_ms).points]


@pytest.mark.peer
@pytest.mark.parametrize(
    "value",
    [
        21.5, -0.0, 0.1 + 0.2, 1e-7, 123_456_789.123, 1e300, -1e300, True, False, "", "nan",
        '穿 过,\n"=\\ % é', "x" * 9000,
        Position(49.902457123, -119.393407987, 6.25), Position(-90.0, 180.0), Position(0.0, 0.0, 0.0),
    ],
    ids=lambda value: str(value)[:12].encode("ascii", "replace").decode(),
)  # fmt: skip
def test_a_value_comes_back_as_it_was(store: TelemetryStore, gateway: str, value: Value) -> None:
    store.write([point(gateway, value, START + 1, quality=Quality.UNCERTAIN)])
    visible(store)
    (found,) = store.history(Series(gateway, "dev-1", "temperature"), START, START + 10).points
    assert (found.at_ms, found.unit, found.quality, found.readings) == (START + 1, "Cel", Quality.UNCERTAIN, 1)
    assert (found.low, found.high) == (None, None)
    assert type(found.value) is type(value)
    if isinstance(value, Position) and isinstance(found.value, Position):
        assert abs(found.value.lat - value.lat) < 1e-9
        assert abs(found.value.lon - value.lon) < 1e-9
        assert found.value.accuracy_m == value.accuracy_m
    elif isinstance(value, float):
        assert found.value == pytest.approx(value, rel=1e-14)
    else:
        assert found.value == value


@pytest.mark.peer
@pytest.mark.parametrize("unit", ["", "%RH", "%obs/m", "m/s", 'a b,c="d"\\'])
def test_units_come_back(store: TelemetryStore, gateway: str, unit: str) -> None:
    store.write([point(gateway, 1.0, START, unit=unit)])
    visible(store)
    assert store.history(Series(gateway, "dev-1", "temperature"), START, START + 1).points[0].unit == unit


@pytest.mark.peer
def test_a_range_may_begin_and_end_at_midnight(store: TelemetryStore, gateway: str) -> None:
    midnight = START // DAY_MS * DAY_MS
    times = [midnight - 1, midnight, midnight + 1]
    store.write([point(gateway, float(n), at) for n, at in enumerate(times)])
    visible(store)
    series = Series(gateway, "dev-1", "temperature")
    for n, at in enumerate(times):
        assert [(p.at_ms, p.value) for p in store.history(series, at, at + 1).points] == [(at, float(n))]
    assert [p.at_ms for p in store.history(series, midnight - DAY_MS, midnight).points] == [midnight - 1]
    assert [p.at_ms for p in store.history(series, midnight, midnight + DAY_MS).points] == times[1:]
    minutes = store.history(series, midnight - DAY_MS, midnight + 1, 60_000).points
    assert [(p.at_ms, p.readings) for p in minutes] == [(midnight - 60_000, 1), (midnight, 1)]


@pytest.mark.peer
@pytest.mark.parametrize("at", [0, 1000, 946_684_800_000, 4_070_908_800_000])
def test_d8_a_time_from_1970_to_2099_is_kept(store: TelemetryStore, gateway: str, at: int) -> None:
    store.write([point(gateway, 1.0, at), point(gateway, 2.0, START)])
    visible(store)
    found = store.history(Series(gateway, "dev-1", "temperature"), 0, 5_000_000_000_000).points
    assert [(p.at_ms, p.value) for p in found] == sorted([(at, 1.0), (START, 2.0)])
    hours = store.history(Series(gateway, "dev-1", "temperature"), 0, 5_000_000_000_000, 3_600_000).points
    assert [(p.at_ms, p.value) for p in hours] == sorted([(at - at % 3_600_000, 1.0), (START, 2.0)])


@pytest.mark.peer
def test_d7_writing_again_changes_nothing(store: TelemetryStore, gateway: str) -> None:
    batch = [point(gateway, float(i), START + i * 1000) for i in range(100)]
    series = Series(gateway, "dev-1", "temperature")
    store.write(batch)
    store.write(batch[40:])
    store.write(batch[:60] + batch[:60])
    visible(store)
    assert values(store, series) == [float(i) for i in range(100)]
    minutes = store.history(series, START, START + 120_000, MINUTE_MS).points
    assert [(p.value, p.low, p.high, p.readings) for p in minutes] == [(29.5, 0.0, 59.0, 60), (79.5, 60.0, 99.0, 40)]


@pytest.mark.peer
def test_one_time_holds_one_value(store: TelemetryStore, gateway: str) -> None:
    store.write([point(gateway, 1.0, START)])
    visible(store)
    store.write([point(gateway, 2.0, START)])
    visible(store)
    found = values(store, Series(gateway, "dev-1", "temperature"))
    assert len(found) == 1
    assert found == [2.0] or (store.name.startswith("telemetry victoria") and found == [1.0])


@pytest.mark.peer
def test_late_readings_take_their_place(store: TelemetryStore, gateway: str) -> None:
    series = Series(gateway, "dev-1", "temperature")
    store.write([point(gateway, 30.0, START + 30_000)])
    store.write([point(gateway, 10.0, START + 10_000), point(gateway, 20.0, START + 20_000)])
    visible(store)
    assert values(store, series) == [10.0, 20.0, 30.0]
    (minute,) = store.history(series, START, START + MINUTE_MS, MINUTE_MS).points
    assert (minute.value, minute.low, minute.high, minute.readings) == (20.0, 10.0, 30.0, 3)


@pytest.mark.peer
def test_series_do_not_mix(store: TelemetryStore, gateway: str) -> None:
    store.write([
        point(gateway, 1.0, START), point(gateway, 2.0, START, metric="humidity"),
        point(gateway, 3.0, START, device="dev-2"),
        point(gateway + "x", 4.0, START),
    ])  # fmt: skip
    visible(store)
    assert values(store, Series(gateway, "dev-1", "temperature")) == [1.0]
    assert values(store, Series(gateway, "dev-1", "humidity")) == [2.0]
    assert values(store, Series(gateway, "dev-2", "temperature")) == [3.0]
    assert values(store, Series(gateway + "x", "dev-1", "temperature")) == [4.0]
    assert values(store, Series(gateway, "dev-1", 'x"} or {__name__!="')) == []


@pytest.mark.peer
def test_pages_join_to_the_whole(store: TelemetryStore, gateway: str) -> None:
    series = Series(gateway, "dev-1", "temperature")
    store.write([point(gateway, float(i), START + i * 7000) for i in range(50)])
    visible(store)
    for step_ms in (None, 10_000, MINUTE_MS):
        whole = store.history(series, START, START + 10**6, step_ms)
        assert whole.next_ms is None
        pages, begin = list(whole.points[:0]), START
        while True:
            page = store.history(series, begin, START + 10**6, step_ms, limit=4)
            assert len(page.points) <= 4
            pages += page.points
            if page.next_ms is None:
                break
            begin = page.next_ms
        assert pages == whole.points


@pytest.mark.peer
@pytest.mark.parametrize("step_ms", [1000, 45_000, MINUTE_MS, 86_400, 5 * MINUTE_MS, 3_600_000])
def test_buckets_begin_at_multiples_and_count_all(store: TelemetryStore, gateway: str, step_ms: int) -> None:
    series = Series(gateway, "dev-1", "temperature")
    store.write([point(gateway, float(i % 13), START + i * 9973) for i in range(400)])
    visible(store)
    raw = store.history(series, START, START + 10**7).points
    buckets = store.history(series, START, START + 10**7, step_ms).points
    wanted: dict[int, list[float]] = {}
    for p in raw:
        assert isinstance(p.value, float)
        wanted.setdefault(p.at_ms - p.at_ms % step_ms, []).append(p.value)
    assert [b.at_ms for b in buckets] == list(wanted)
    for b in buckets:
        numbers = wanted[b.at_ms]
        assert (b.low, b.high, b.readings) == (min(numbers), max(numbers), len(numbers))
        assert b.value == pytest.approx(sum(numbers) / len(numbers))


@pytest.mark.peer
@pytest.mark.parametrize("step_ms", [1000, MINUTE_MS, 3_600_000])
def test_pages_of_buckets_join_to_the_whole_across_gaps(store: TelemetryStore, gateway: str, step_ms: int) -> None:
    series = Series(gateway, "dev-1", "temperature")
    offsets = [*range(0, 400_000, 700), 3_600_000, 90_000_000, *range(400 * 3_600_000, 400 * 3_600_000 + 9000, 900)]
    store.write([point(gateway, float(n), START + offset) for n, offset in enumerate(offsets)])
    visible(store)
    whole = store.history(series, 0, 2 * START, step_ms, 100_000)
    assert sum(p.readings for p in whole.points) == len(offsets)
    pages, begin = [], 0
    while True:
        page = store.history(series, begin, 2 * START, step_ms, 150 if step_ms == 1000 else 2)
        pages += page.points
        if page.next_ms is None:
            break
        begin = page.next_ms
    assert pages == whole.points


@pytest.mark.peer
def test_a_range_ends_before_its_end(store: TelemetryStore, gateway: str) -> None:
    series = Series(gateway, "dev-1", "temperature")
    store.write([point(gateway, float(i), START + i * 1000) for i in range(180)])
    visible(store)
    cut = store.history(series, START + 60_000, START + 90_000).points
    assert [p.value for p in cut] == [float(i) for i in range(60, 90)]
    minutes = store.history(series, START + 61_000, START + 90_000, MINUTE_MS).points
    assert [(p.at_ms, p.low, p.high) for p in minutes] == [(START + 60_000, 60.0, 89.0)]
    assert store.history(series, START, START).points == []


@pytest.mark.peer
def test_buckets_of_other_values_hold_the_last(store: TelemetryStore, gateway: str) -> None:
    rows: dict[str, list[Value]] = {
        "open": [False, True, False, True],
        "status": ["a", "z", "b", "m"],
        "place": [Position(1.0, 2.0), Position(3.0, 4.0, 5.0), Position(9.0, 8.0, 7.0), Position(5.0, 6.0)],
        "mixed": [1.0, "nan", 3.0, "inf"],
    }
    store.write([
        point(gateway, value, START + i * 20_000, metric=metric)
        for metric, row in rows.items() for i, value in enumerate(row)
    ])  # fmt: skip
    visible(store)
    for step_ms in (30_000, MINUTE_MS):
        for metric, row in rows.items():
            found = store.history(Series(gateway, "dev-1", metric), START, START + 120_000, step_ms).points
            wanted = {(START + i * 20_000) // step_ms * step_ms: value for i, value in enumerate(row)}
            for p in found:
                if p.low is None:
                    assert p.value == wanted[p.at_ms]
            assert [p.at_ms for p in found] == list(wanted)


@pytest.mark.peer
def test_bad_values_do_not_spoil_a_mean(store: TelemetryStore, gateway: str) -> None:
    series = Series(gateway, "dev-1", "temperature")
    store.write([
        point(gateway, 20.0, START), point(gateway, 999.0, START + 1000, quality=Quality.BAD),
        point(gateway, 22.0, START + 2000, quality=Quality.UNCERTAIN),
        point(gateway, 998.0, START + 60_000, quality=Quality.BAD),
    ])  # fmt: skip
    visible(store)
    for step_ms in (30_000, MINUTE_MS):
        first, second = store.history(series, START, START + 120_000, step_ms).points
        assert (first.value, first.high, first.readings, first.quality) == (21.0, 22.0, 2, Quality.UNCERTAIN)
        assert (second.value, second.readings, second.quality) == (998.0, 1, Quality.BAD)
    (hour,) = store.history(series, START, START + 3_600_000, 3_600_000).points
    assert (hour.value, hour.readings, hour.quality) == (21.0, 2, Quality.UNCERTAIN)


@pytest.mark.peer
def test_a_change_of_unit_does_not_mix_into_a_mean(store: TelemetryStore, gateway: str) -> None:
    series = Series(gateway, "dev-1", "temperature")
    store.write([point(gateway, 68.0, START, unit="degF"), point(gateway, 20.0, START + 1000)])
    visible(store)
    (minute,) = store.history(series, START, START + MINUTE_MS, MINUTE_MS).points
    assert (minute.value, minute.unit, minute.readings) == (20.0, "Cel", 1)
    assert [p.unit for p in store.history(series, START, START + MINUTE_MS).points] == ["degF", "Cel"]


@pytest.mark.peer
def test_what_is_not_there_is_empty(store: TelemetryStore, gateway: str) -> None:
    series = Series(gateway, "no", "such")
    store.write([])
    assert store.history(series, 0, START) == ([], None)
    assert store.history(series, 0, START, MINUTE_MS) == ([], None)
    store.retain(START)
    assert all(isinstance(figure, (int, float)) for figure in store.stats().values())


@pytest.mark.peer
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((2, 1, None, 10), "from 2 to 1: not a range of milliseconds"),
        ((0, 2**60, None, 10), f"from 0 to {2**60}: not a range of milliseconds"),
        ((0, 1, 0, 10), "step 0 ms: not between 1 ms and 366 days"),
        ((0, 1, None, 0), "limit 0: at least 1"),
    ],
)
def test_a_history_that_cannot_be_asked_for_says_why(
    store: TelemetryStore, args: tuple[int, int, int | None, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.history(Series("g", "d", "m"), *args)
