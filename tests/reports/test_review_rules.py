"""The arithmetic and the calendar of reviews."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.reports import periods, rules
from cloud.reports.periods import ReviewKind
from cloud.reports.rules import Ranked, Settled

SHANGHAI = ZoneInfo("Asia/Shanghai")
ZONES = ("Asia/Shanghai", "UTC", "Asia/Kathmandu", "America/New_York")


def ms(*parts: int, zone: ZoneInfo = SHANGHAI) -> int:
    return round(datetime(*parts, tzinfo=zone).timestamp() * 1000)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, None),
        ([7], 50, 7),
        ([1, 2], 50, 1),
        ([1, 2, 3, 4], 50, 2),
        (list(range(1, 11)), 90, 9),
        (list(range(1, 11)), 95, 10),
        (list(range(1, 101)), 95, 95),
    ],
)
def test_percentiles_by_nearest_rank(values: list[int], percent: int, expected: int | None) -> None:
    assert rules.percentile(values, percent) == expected


@given(st.lists(st.integers(-1000, 10_000), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    ordered = sorted(values)
    found = rules.percentile(ordered, percent)
    assert found in values
    below = sum(value <= found for value in values)
    assert below * 100 >= percent * len(values)
    assert all(
        sum(value <= other for value in values) * 100 < percent * len(values) for other in values if other < found
    )


def test_a_wrong_clock_makes_no_negative_duration() -> None:
    assert rules.spread([-5, 10]) == (2, 0, 10, 10, 10)
    assert rules.spread([]) == (0, None, None, None, None)


def test_a_share_of_nothing_is_unknown() -> None:
    assert rules.share(0, 0) is None
    assert rules.share(3, 2) == 1.0
    assert rules.mean([None, 0.5, 1.0]) == 0.75
    assert rules.mean([None]) is None


def test_ranking_worst_first_with_shared_places() -> None:
    shares: dict[str, list[float | None]] = {
        "/1/": [0.9],
        "/2/": [0.5, 0.7],
        "/3/": [0.6],
        "/4/": [None],
        "/5/": [0.60004],
    }
    ranked = rules.rank(shares, {"/3/": 4})
    assert ranked == [
        Ranked("/3/", 0.6, 1), Ranked("/2/", 0.6, 1), Ranked("/5/", 0.6, 1), Ranked("/1/", 0.9, 4),
        Ranked("/4/", None, None),
    ]  # fmt: skip
    assert rules.to_follow_up(ranked) == ["/3/", "/2/", "/5/"]
    assert rules.to_follow_up([Ranked("/1/", 0.95, 1), Ranked("/2/", None, None)]) == []


@given(st.dictionaries(st.text("ab/", min_size=1, max_size=4), st.lists(st.none() | st.floats(0, 1), max_size=3)))
def test_ranking_is_total_and_in_order(shares: dict[str, list[float | None]]) -> None:
    ranked = rules.rank(shares, {})
    assert sorted(each.unit for each in ranked) == sorted(shares)
    known = [each for each in ranked if each.score is not None]
    assert ranked[: len(known)] == known
    scores = [each.score or 0.0 for each in known]
    assert scores == sorted(scores)
    for each in known:
        assert each.place == 1 + sum(score < (each.score or 0.0) for score in scores)


def test_members_due_by_settlement() -> None:
    tree = [
        Settled("/1/", None, "urban"), Settled("/1/2/", 40_000, None), Settled("/1/3/", 10_000, "rural"),
        Settled("/1/3/4/", 9_000, None), Settled("/1/5/", None, None), Settled("/1/5/6/", 2_000, None),
    ]  # fmt: skip
    people, due = rules.required_members(tree, "/1/", None)
    assert (people, round(due, 9)) == (52_000, 20 + 3 + 1)
    assert rules.required_members(tree, "/1/3/", "urban") == (10_000, 3)
    assert rules.required_members([], "/9/", "rural") == (0, 0.0)


def test_units_one_level_down() -> None:
    assert rules.child_of("/1/", "/1/2/3/") == "/1/2/"
    assert rules.child_of("/", "/1/2/") == "/1/"
    assert rules.child_of("/1/", "/1/") is None
    assert rules.child_of("/1/", "/10/2/") is None


@given(st.lists(st.tuples(st.integers(-5, 30), st.integers(-5, 30)), max_size=8))
def test_overlapping_outages_count_once(spans: list[tuple[int, int]]) -> None:
    covered = {second for begin, end in spans for second in range(max(0, begin), min(20, end))}
    assert rules.union_ms(spans, 0, 20) == len(covered)


def test_hours_and_weekdays_are_those_of_the_zone() -> None:
    monday = ms(2026, 10, 5, 0, 30)
    assert rules.hour_matrix([monday, monday], SHANGHAI)[0][0] == 2
    assert rules.hour_matrix([monday], ZoneInfo("UTC"))[6][16] == 1
    assert not any(map(any, rules.hour_matrix([2**62, -(2**62)], SHANGHAI))), "no calendar has these"


@pytest.mark.parametrize(
    ("remark", "cause", "false"),
    [
        ("误报：油烟", None, True), ("False alarm", None, True), ("real", None, False), ("", None, False),
        ("误报", "cooking fire", False), ("", "误报", True), ("", "", False),
    ],
)  # fmt: skip
def test_false_is_what_somebody_called_so(remark: str, cause: str | None, false: bool) -> None:
    assert rules.is_false(remark, cause) is false


@given(st.text())
def test_plain_text_has_no_controls_and_no_direction_marks(text: str) -> None:
    shown = rules.plain(text)
    assert shown.isprintable() or all(
        not (ord(c) < 32 or 127 <= ord(c) < 160 or 0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069)
        for c in shown
    )
    assert len(shown) <= 300
    shown.encode()


# ---- the calendar


def test_periods_before_a_day() -> None:
    at = ms(2026, 11, 1, 2)
    assert periods.ended_before(ReviewKind.MONTHLY, at, SHANGHAI) == (ms(2026, 10, 1), ms(2026, 11, 1))
    assert periods.ended_before(ReviewKind.QUARTERLY, at, SHANGHAI) == (ms(2026, 7, 1), ms(2026, 10, 1))
    assert periods.ended_before(ReviewKind.HALF_YEARLY, at, SHANGHAI) == (ms(2026, 1, 1), ms(2026, 7, 1))
    assert periods.ended_before(ReviewKind.HALF_YEARLY, ms(2027, 1, 1), SHANGHAI) == (ms(2026, 7, 1), ms(2027, 1, 1))


def test_due_at_two_in_the_morning_of_the_zone() -> None:
    assert periods.due_after(ReviewKind.MONTHLY, ms(2026, 10, 31, 12), SHANGHAI) == ms(2026, 11, 1, 2)
    assert periods.due_after(ReviewKind.MONTHLY, ms(2026, 11, 1, 1), SHANGHAI) == ms(2026, 11, 1, 2)
    assert periods.due_after(ReviewKind.MONTHLY, ms(2026, 11, 1, 2), SHANGHAI) == ms(2026, 12, 1, 2)
    assert periods.due_after(ReviewKind.QUARTERLY, ms(2026, 12, 31), SHANGHAI) == ms(2027, 1, 1, 2)


@given(st.sampled_from(sorted(periods.MONTHS)), st.integers(0, 4_000_000_000_000), st.sampled_from(ZONES))
def test_every_due_time_is_of_the_period_that_just_ended(kind: ReviewKind, at: int, name: str) -> None:
    zone = ZoneInfo(name)
    due = periods.due_after(kind, at, zone)
    local = datetime.fromtimestamp(due / 1000, zone)
    assert due > at
    assert (local.day, local.hour, local.minute) == (1, 2, 0)
    period = periods.ended_before(kind, due, zone)
    assert period.to_ms <= due < period.to_ms + 3 * 3_600_000 + 1
    following = periods.ended_before(kind, periods.due_after(kind, due, zone), zone)
    assert following.from_ms == period.to_ms  # no gap, no overlap


def test_days_include_both() -> None:
    day = periods.days(date(2026, 10, 1), date(2026, 10, 1), SHANGHAI)
    assert day == (ms(2026, 10, 1), ms(2026, 10, 2))
    assert periods.day_of(day.from_ms, SHANGHAI) == date(2026, 10, 1)
    assert datetime.fromtimestamp(day.from_ms / 1000, UTC).hour == 16
