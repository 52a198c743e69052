"""The rules of shifts and strength."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from cloud.presence.rosters import duty, rules
from cloud.presence.rosters.store import shifts
from firmware_specs.carried import merged, within
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from cloud.db import Database

SHANGHAI = ZoneInfo("Asia/Shanghai")
TIMES = st.integers(0, 100)


def utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="minutes")


def test_a_plan_repeats_on_its_days_in_local_time() -> None:
    found = rules.repeated(date(2026, 11, 26), SHANGHAI, time(8), time(20), days={"mon", "thu"}, weeks=2)
    assert [utc(begins) for begins, _ in found] == [
        "2026-11-26T00:00+00:00", "2026-11-30T00:00+00:00", "2026-12-03T00:00+00:00", "2026-12-07T00:00+00:00",
    ]  # fmt: skip
    assert {ends - begins for begins, ends in found} == {12 * rules.HOUR_MS}


def test_a_night_shift_ends_on_the_next_day_and_follows_a_zone_that_changes_its_clocks() -> None:
    (plain,) = rules.repeated(date(2026, 11, 26), SHANGHAI, time(20), time(8), days={"thu"}, weeks=1)
    assert (utc(plain[0]), utc(plain[1])) == ("2026-11-26T12:00+00:00", "2026-11-27T00:00+00:00")
    berlin = ZoneInfo("Europe/Berlin")
    (spring,) = rules.repeated(date(2027, 3, 27), berlin, time(20), time(8), days={"sat"}, weeks=1)
    assert spring[1] - spring[0] == 11 * rules.HOUR_MS
    (autumn,) = rules.repeated(date(2027, 10, 30), berlin, time(8), time(8), days={"sat"}, weeks=1)
    assert autumn[1] - autumn[0] == 25 * rules.HOUR_MS
    assert not rules.wrong_times(*autumn), "a whole day, on the day on which the clocks are set back"


def test_the_day_of_an_import_is_that_of_the_node() -> None:
    assert rules.day_of(NOW, SHANGHAI) == datetime.fromtimestamp(NOW / 1000, SHANGHAI).date()


@pytest.mark.parametrize(
    ("population", "on_duty", "settlement", "per_100k", "required", "short"),
    [
        (100_000, 50, "urban", 50.0, 50, 0), (100_000, 29, "rural", 29.0, 30, 1), (8_000, 3, "urban", 37.5, 4, 1),
        (1, 0, "urban", 0.0, 1, 1), (None, 7, "urban", None, None, 0), (0, 7, None, None, None, 0),
        (200_000, 99, None, 49.5, 100, 1),
    ],
)  # fmt: skip
def test_strength_is_members_per_100_000_people(  # noqa: PLR0917 - one parameter each of the case
    population: int | None, on_duty: int, settlement: str | None, per_100k: float | None, required: int | None,
    short: int,
) -> None:  # fmt: skip
    found = rules.strength("/1/2/", "/1/", population, on_duty, settlement)
    assert (found.per_100k, found.required, found.short) == (per_100k, required, short)


@given(TIMES, TIMES, TIMES, TIMES)
def test_windows_overlap_when_they_have_a_moment_in_common(a: int, b: int, c: int, d: int) -> None:
    shared = set(range(a, b)) & set(range(c, d))
    assert rules.overlap((a, b), (c, d)) == bool(shared)


@given(st.lists(st.integers(0, 10_000), max_size=30), st.integers(1, 500), st.integers(1, 5))
def test_spans_hold_every_time_and_are_few(times: list[int], apart: int, most: int) -> None:
    found = rules.spans(times, apart, most)
    assert len(found) <= most
    assert all(any(low <= at <= high for low, high in found) for at in times)


@pytest.mark.parametrize(
    ("begins", "ends", "wrong"),
    [(0, 0, "ends_at: not later"), (5, 1, "ends_at: not later"), (0, 25 * rules.HOUR_MS + 1, "more than 25 hours")],
)
def test_a_shift_has_a_length_and_not_more_than_a_day(begins: int, ends: int, wrong: str) -> None:
    assert wrong in rules.wrong_times(begins, ends)
    assert not rules.wrong_times(0, 25 * rules.HOUR_MS)


@given(st.lists(st.tuples(TIMES, TIMES), max_size=10), TIMES, st.integers(1, 5))
def test_few_windows_are_those_that_matter_now(windows: list[tuple[int, int]], now: int, most: int) -> None:
    all_of_them = merged(windows)
    few = rules.nearest_windows(all_of_them, now, most)
    assert len(few) == min(most, len(all_of_them))
    assert list(few) == sorted(few)
    assert within(few, now) == within(all_of_them, now), "what runs now is never left out"


def test_when_a_shift_runs_is_the_same_in_sql(db: Database) -> None:
    """Every case of planned, begun and ended, before and after each other."""
    cases = [
        (starts, ends, begun, ended)
        for starts, ends in ((20, 60), (0, 100))
        for begun in (None, 10, 20, 30)
        for ended in (None, 5, 20, 40, 60, 80)
    ]
    with db.begin() as tx:
        rows = [
            {"id": n, "node": "/", "member": n, "starts_at": s, "ends_at": e, "begun_at": b, "ended_at": x, "note": "",
             "created_by": ""}
            for n, (s, e, b, x) in enumerate(cases, 1)
        ]  # fmt: skip
        tx.execute(shifts.insert(), rows)
        for from_ms, to_ms in ((0, 5), (5, 11), (15, 20), (20, 21), (39, 41), (59, 60), (60, 80), (0, 200)):
            found = set(tx.execute(sa.select(shifts.c.id).where(duty.running(from_ms, to_ms))).scalars())
            wanted = {n for n, case in enumerate(cases, 1) if rules.overlap(rules.runs(*case), (from_ms, to_ms))}
            assert found == wanted, (from_ms, to_ms)
