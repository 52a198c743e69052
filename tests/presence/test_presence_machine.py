"""The presence machine on real captures and synthetic jitter: who stays is never lost, who leaves is noticed."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.presence.geometry import Ground
from cloud.presence.rules import (
    HOLD_MS,
    SILENCE_MS,
    Change,
    Establishment,
    Machine,
    PostState,
    Reason,
    Seen,
    Standing,
    Term,
    follow,
    judge,
    overdue_at,
    required,
    severity_at,
    standing,
    timeline,
    unfolded,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CAPTURES = Path(__file__).parents[1] / "data" / "nmea"
STATIONARY = (
    "telit-he910", "telit-pls83-w", "nmea-rtk", "rx210", "iTrek", "gpslim236", "ublox-f9p-hpnmea", "ublox-lea-5h",
    "quectel-L70", "gp-320fw-2019-03-28",
)  # fmt: skip
MOVING = ("haicom-305N", "quectel-eg25-g", "motorola-t805", "tr737A+")
LAT, LON = 34.2649, 108.7203
POST = Ground(LAT, LON, 30)
ACCURACY_M = 10.0
SIGMA_M = ACCURACY_M / 1.515
"""On each axis, when 68 % of the fixes lie within the accuracy."""
DAY_S = 86_400
Offset = tuple[float, float]


@cache
def offsets(capture: str) -> tuple[Offset, ...]:
    """Metres east and north of the first fix, of every fix that gpsd's check file has."""
    found: list[tuple[float, float]] = []
    for line in (CAPTURES / f"{capture}.log.chk").read_text(errors="replace").splitlines():
        if line.startswith('{"class":"TPV"'):
            fix = json.loads(line)
            if fix.get("mode", 0) >= 2 and "lat" in fix:
                found.append((fix["lat"], fix["lon"]))
    lat, lon = found[0]
    east = 111_195 * math.cos(math.radians(lat))
    return tuple(((x - lon) * east, (y - lat) * 111_195) for y, x in found)


def at(east_m: float, north_m: float) -> tuple[float, float]:
    return LAT + north_m / 111_195, LON + east_m / (111_195 * math.cos(math.radians(LAT)))


def seen(at_s: float, east_m: float, north_m: float, accuracy_m: float = ACCURACY_M) -> Seen:
    return Seen(round(at_s * 1000), POST.beyond(*at(east_m, north_m)), accuracy_m)


def changes_of(fixes: Iterable[Seen]) -> list[Change]:
    machine, changes = Machine(), [Change(0, Standing.UNKNOWN, Reason.NO_FIX)]
    for fix in fixes:
        machine = follow(machine, changes, fix, POST.reach_m)
    return changes


def wander(chance: random.Random, every_s: float, correlation_s: float) -> Iterator[Offset]:
    """Errors as a receiver makes them: each near the one before, 68 % of all within the stated accuracy."""
    keep = math.exp(-every_s / correlation_s)
    fresh = SIGMA_M * math.sqrt(1 - keep * keep)
    x = y = 0.0
    while True:
        x, y = keep * x + chance.gauss(0, fresh), keep * y + chance.gauss(0, fresh)
        yield x, y


def scaled(points: Sequence[Offset]) -> list[Offset]:
    """A capture's errors about its middle, made so large that 68 % lie within the stated accuracy."""
    middle = [sorted(each)[len(points) // 2] for each in zip(*points, strict=True)]
    moved = [(x - middle[0], y - middle[1]) for x, y in points]
    reach = sorted(math.hypot(x, y) for x, y in moved)[int(0.68 * len(moved))]
    factor = ACCURACY_M / reach if reach > 0.01 else 1.0
    return [(x * factor, y * factor) for x, y in moved]


def exits(changes: Sequence[Change]) -> list[Change]:
    first = next(n for n, change in enumerate(changes) if change.standing is Standing.PRESENT)
    return [change for change in changes[first:] if change.standing is not Standing.PRESENT]


@pytest.mark.parametrize("capture", STATIONARY)
def test_a_guard_is_not_lost_in_24_hours_of_a_real_receivers_errors(capture: str) -> None:
    errors = scaled(offsets(capture))
    chance = random.Random(capture)

    def fixes() -> Iterator[Seen]:
        second, place = 0, 0
        while second < DAY_S:
            turn = chance.random() * 2 * math.pi  # each pass of the capture from another side
            sky = random.Random(second).sample(errors, len(errors)) if place % 2 else errors
            place += 1
            for x, y in sky:
                east, north = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
                yield seen(second, 12 + east, -5 + north)
                second += 10

    changes = changes_of(fixes())
    assert changes[-1].standing is Standing.PRESENT
    assert exits(changes) == []


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([5.0, 20.0, 60.0]), st.floats(0, 15), st.sampled_from([7, 10, 15]))
def test_a_guard_is_not_lost_in_24_hours_of_jitter(seed: int, correlation_s: float, off_m: float, every_s: int) -> None:
    chance = random.Random(seed)
    errors = wander(chance, every_s, correlation_s)

    def fixes() -> Iterator[Seen]:
        reflected = -60
        for second in range(0, DAY_S, every_s):
            east, north = next(errors)
            if second - reflected > 60 and chance.random() < 0.02:  # far off for once, and the receiver does not know
                east, reflected = east + 80, second
            if chance.random() < 0.05:  # a lost one
                continue
            yield seen(second, off_m + east, north)

    changes = changes_of(fixes())
    assert changes[-1].standing is Standing.PRESENT
    assert exits(changes) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(1.3, 8), st.floats(0, 2 * math.pi), st.floats(0, 10))
def test_a_true_exit_is_noticed_within_a_minute(seed: int, speed: float, heading: float, phase_s: float) -> None:
    chance = random.Random(seed)
    errors = wander(chance, 10, 20)
    left_at = 600 + 30 / speed

    def fixes() -> Iterator[Seen]:
        second = phase_s
        while second < left_at + 90:
            east, north = next(errors)
            away = max(0.0, second - 600) * speed
            yield seen(second, away * math.cos(heading) + east, away * math.sin(heading) + north)
            second += 10

    (left,) = exits(changes_of(fixes()))
    assert left.standing is Standing.ABSENT
    assert left_at - 15 <= left.at / 1000 <= left_at + 60


@pytest.mark.parametrize("capture", MOVING)
def test_the_exit_of_a_receiver_that_moved_is_noticed_within_a_minute(capture: str) -> None:
    """The capture begins at the post's edge and leads outwards; after its end the walk goes on."""
    path = offsets(capture)
    end = path[-1]
    length = math.hypot(*end) or 1.0
    out = (end[0] / length, end[1] / length)

    def fixes() -> Iterator[Seen]:
        for second in range(0, 600, 10):
            yield seen(second, out[0] * 20, out[1] * 20)
        for second in range(0, 90, 5):
            x, y = path[min(second, len(path) - 1)]
            beyond = max(0.0, 1.4 * second - length)
            yield seen(600 + second, out[0] * (30 + beyond) + x, out[1] * (30 + beyond) + y)

    (left,) = exits(changes_of(fixes()))
    assert left.standing is Standing.ABSENT
    assert left.at <= 660_000


def test_a_second_fix_a_second_is_no_quicker_way_out() -> None:
    inside = [seen(second, 0, 0) for second in range(0, 60, 10)]
    burst = [seen(60 + n, 90, 0) for n in range(14)]
    assert exits(changes_of([*inside, *burst, *(seen(s, 0, 0) for s in range(80, 200, 10))])) == []


def test_between_the_edges_nothing_changes() -> None:
    """Hysteresis: at 35 to 45 m with 10 m accuracy who was in stays in, and who was out stays out."""
    ring = [seen(second, 42, 0) for second in range(200, 600, 10)]
    assert exits(changes_of([*(seen(s, 0, 0) for s in range(0, 200, 10)), *ring])) == []
    from_outside = changes_of([*(seen(s, 200, 0) for s in range(0, 200, 10)), *ring])
    assert from_outside[-1].standing is Standing.ABSENT


def test_silence_leads_to_unknown_and_never_to_absent() -> None:
    machine, changes = Machine(), [Change(0, Standing.UNKNOWN, Reason.NO_FIX)]
    for second in range(0, 60, 10):
        machine = follow(machine, changes, seen(second, 0, 0), 30)
    assert standing(machine, 50_000 + SILENCE_MS - 1) == (Standing.PRESENT, Reason.PRESENT)
    assert unfolded(machine, changes)[-1] == Change(50_000 + SILENCE_MS, Standing.UNKNOWN, Reason.ARMBAND_SILENT)


def test_poor_fixes_say_nothing_but_why() -> None:
    changes = changes_of(seen(second, 0, 0, 200) for second in range(0, 600, 10))
    assert changes[-1] == Change(0, Standing.UNKNOWN, Reason.POOR_ACCURACY)


def test_a_check_in_counts_at_once_and_holds_until_fixes_say_otherwise() -> None:
    machine, changes = Machine(), [Change(0, Standing.UNKNOWN, Reason.NO_FIX)]
    machine = follow(machine, changes, Seen(1000, here=True), 30)
    assert unfolded(machine, changes)[1:] == [
        Change(1000, Standing.PRESENT, Reason.PRESENT),
        Change(1000 + HOLD_MS, Standing.UNKNOWN, Reason.ARMBAND_SILENT),
    ]
    for second in (10, 20, 30):
        machine = follow(machine, changes, seen(second, 200, 0), 30)
    assert changes[-1] == Change(30_000, Standing.ABSENT, Reason.ABSENT)


def test_a_check_in_elsewhere_ends_what_only_a_check_in_said() -> None:
    machine, changes = Machine(), [Change(0, Standing.UNKNOWN, Reason.NO_FIX)]
    for fact in (Seen(1000, here=True), Seen(9000, here=False)):
        machine = follow(machine, changes, fact, 30)
    assert changes[-1] == Change(9000, Standing.UNKNOWN, Reason.ARMBAND_SILENT)


P, A = (Standing.PRESENT, Reason.PRESENT), (Standing.ABSENT, Reason.ABSENT)
U, V = (Standing.UNKNOWN, Reason.ARMBAND_SILENT), (Standing.UNKNOWN, Reason.NO_FIX)


@pytest.mark.parametrize(
    ("required", "known", "state", "reason"),
    [
        (1, [], PostState.UNKNOWN, Reason.NO_ROSTER),
        (0, [], PostState.MANNED, Reason.NOT_REQUIRED),
        (1, [P], PostState.MANNED, Reason.PRESENT),
        (1, [P, U], PostState.MANNED, Reason.PRESENT),
        (1, [A], PostState.UNMANNED, Reason.ABSENT),
        (1, [A, V, U], PostState.UNKNOWN, Reason.ARMBAND_SILENT),
        (2, [P, A], PostState.UNDERSTAFFED, Reason.ABSENT),
        (2, [P], PostState.UNDERSTAFFED, Reason.TOO_FEW_ROSTERED),
        (2, [P, V], PostState.UNKNOWN, Reason.NO_FIX),
        (3, [P, U], PostState.UNDERSTAFFED, Reason.TOO_FEW_ROSTERED),
        (2, [A, U], PostState.UNKNOWN, Reason.ARMBAND_SILENT),
    ],
)
def test_a_post_is_what_is_certain(
    required: int, known: list[tuple[Standing, Reason]], state: PostState, reason: Reason
) -> None:
    assert judge(required, known)[:2] == (state, reason)


@given(st.integers(0, 4), st.lists(st.sampled_from([P, A, U, V]), max_size=5))
def test_a_post_is_never_unmanned_for_want_of_data(required: int, known: list[tuple[Standing, Reason]]) -> None:
    state, _, _ = judge(required, known)
    if state is PostState.UNMANNED:
        assert known
        assert all(each is A for each in known)
    worst = judge(required, [A if each[0] is Standing.UNKNOWN else each for each in known])[0]
    best = judge(required, [P if each[0] is Standing.UNKNOWN else each for each in known])[0]
    assert state in {worst, best, PostState.UNKNOWN}
    if known and state is not PostState.UNKNOWN:
        assert worst is best


def test_a_timeline_joins_shifts_requirement_and_what_is_known() -> None:
    early = Term(0, 100, [Change(0, *V), Change(20, *P)])
    late = Term(100, 200, [Change(100, *V), Change(130, *A)])
    found = timeline([early, late], [(0, 1), (60, 2)], 0, 250)
    assert [(m.at, m.state, m.present, m.required) for m in found] == [
        (0, PostState.UNKNOWN, 0, 1),
        (20, PostState.MANNED, 1, 1),
        (60, PostState.UNDERSTAFFED, 1, 2),
        (100, PostState.UNKNOWN, 0, 2),
        (130, PostState.UNMANNED, 0, 2),
        (200, PostState.UNKNOWN, 0, 2),
    ]
    assert timeline([early, late], [(0, 1), (60, 2)], 110, 250)[1:] == found[4:]


def test_a_share_of_the_headcount_is_one_of_all_posts_of_a_unit() -> None:
    five = [Establishment(n, f"/{n % 2}/", 1, {}) for n in range(5)]
    assert required(five, 4, 100) == dict.fromkeys(range(5), 1)
    assert required(five, 3, 120) == {0: 2, 1: 1, 2: 1, 3: 1, 4: 1}
    assert required(five, 2, 140) == {0: 2, 1: 2, 2: 1, 3: 1, 4: 1}
    assert required(five, 1, 250) == {0: 3, 1: 3, 2: 3, 3: 2, 4: 2}
    mixed = [Establishment(1, "/", 1, {}), Establishment(2, "/", 4, {}), Establishment(3, "/", 2, {"3": 7, "2": 0})]
    assert required([*mixed, Establishment(4, "/", 0, {})], 3, 120) == {1: 1, 2: 5, 3: 7, 4: 0}
    assert required(mixed[:1], 3, 120) == {1: 2}
    assert required([], 3, 120) == {}


@given(
    st.lists(st.builds(Establishment, st.integers(1, 50), st.sampled_from("ab"), st.integers(0, 9), st.just({})),
             unique_by=lambda each: each.post),
    st.integers(100, 400), st.integers(0, 150),
)  # fmt: skip
def test_no_post_needs_fewer_as_the_share_rises(posts: list[Establishment], percent: int, more: int) -> None:
    before, after = required(posts, 3, percent), required(posts, 2, percent + more)
    assert all(before[post] <= after[post] for post in before)
    assert sum(before.values()) == math.ceil(sum(each.headcount for each in posts) * percent / 100)
    assert all(each.headcount * (percent // 100) <= before[each.post] for each in posts)
    assert all(before[each.post] <= each.headcount * (percent // 100 + 1) for each in posts)


def test_formulas() -> None:
    assert [severity_at(level) for level in (1, 2, 3, 4)] == ["critical", "major", "major", "minor"]
    assert overdue_at(None, 100, 60) == 160
    assert overdue_at(50, 100, 60) == 160
    assert overdue_at(150, 100, 60) == 210
