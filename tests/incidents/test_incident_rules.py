"""The rules of incidents, alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.incidents.defaults import BUILT_IN
from cloud.incidents.rules import (
    CATEGORIES,
    Category,
    Sight,
    distance_m,
    earlier,
    event_time,
    inside,
    open_key,
    place_key,
    scaled_ms,
    stay,
    step_up,
    travel_m,
)

DAY = 86_400_000
NOW = 1_800_000_000_000
points = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
sights = st.lists(
    st.builds(Sight, st.integers(0, 120).map(lambda s: s * 1000), st.booleans(), st.booleans()),
    max_size=12, unique_by=lambda sight: sight.at_ms,
)  # fmt: skip


@pytest.mark.parametrize(
    ("raised_at", "received_at", "wanted"),
    [
        (NOW - 5000, NOW, NOW - 5000),
        (NOW - DAY, NOW, NOW - DAY),
        (NOW - DAY - 1, NOW, NOW),
        (0, NOW, NOW),
        (NOW + 60_000, NOW, NOW),
        (2**60, NOW, NOW),
    ],
)
def test_the_clocks_run_from_the_event_unless_its_clock_cannot_be_right_D8(
    raised_at: int, received_at: int, wanted: int
) -> None:
    assert event_time(raised_at, received_at) == wanted


@pytest.mark.parametrize(
    ("distance", "accuracy", "wanted"),
    [
        (0.0, 5.0, True), (99.9, 99.9, True), (100.1, 5.0, None), (104.9, 5.0, None), (105.1, 5.0, False),
        (50.0, 150.0, None), (400.0, 350.0, None), (400.0, 250.0, False),
    ],
)  # fmt: skip
def test_a_fix_is_inside_only_when_its_accuracy_allows_to_say_so(
    distance: float, accuracy: float, wanted: bool | None
) -> None:
    assert inside(distance, accuracy, 100.0) is wanted


def test_an_arrival_needs_a_stay_of_fifteen_seconds_by_event_time() -> None:
    assert stay([Sight(0, True), Sight(14_999, True)]) == (None, 0)
    assert stay([Sight(0, True), Sight(15_000, True)]) == (0, None)
    assert stay([Sight(0, True), Sight(10_000, False), Sight(20_000, True), Sight(30_000, True)]) == (None, 20_000)
    assert stay([Sight(7000, True, sure=True)]) == (7000, None)
    assert stay([Sight(0, False)]) == (None, None)


@given(sights, st.randoms())
def test_the_order_of_sights_changes_nothing(seen: list[Sight], random: object) -> None:
    mixed = seen.copy()
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert stay(mixed) == stay(seen)


@given(sights)
def test_who_arrived_was_inside_then(seen: list[Sight]) -> None:
    judged = stay(seen)
    if judged.arrived_at is not None:
        assert any(sight.at_ms == judged.arrived_at and sight.inside for sight in seen)
        assert judged.since is None


@given(points, points)
def test_distance_is_symmetric_and_bounded(a: tuple[float, float], b: tuple[float, float]) -> None:
    assert distance_m(a, b) == pytest.approx(distance_m(b, a))
    assert 0 <= distance_m(a, b) <= 20_015_115
    assert travel_m(a, b) == pytest.approx(1.3 * distance_m(a, b))


def test_distance_against_a_known_one() -> None:
    # A degree of the meridian on a sphere of 6,371,008.8 m: pi / 180 of it.
    assert distance_m((34.0, 108.0), (35.0, 108.0)) == pytest.approx(111_195.1, abs=0.2)


def test_a_stop_moves_back_only() -> None:
    assert earlier(None, 5)
    assert earlier(6, 5)
    assert not earlier(5, 5)
    assert not earlier(5, 6)
    assert not earlier(None, None)


def test_places_of_one_building_are_one_and_drills_are_apart() -> None:
    assert place_key("/1/2/", "/1/2/7/", "floor 2", "gw/d") == place_key("/1/2/", "/1/2/8/", "floor 3", "gw/e")
    assert place_key(None, "/1/", "gate", "gw/d") != place_key(None, "/1/", "yard", "gw/d")
    assert place_key(None, "/1/", "", "gw/d") != place_key(None, "/1/", "", "gw/e")
    assert len({open_key("/1/", "fire", drill) for drill in (None, 0, 7)}) == 3


def test_escalation_goes_up_a_level_a_step_and_ends_at_the_top() -> None:
    lines = ["/", "/1/", "/1/4/", "/1/4/9/"]
    assert [step_up(lines, step) for step in range(6)] == ["/1/4/9/", "/1/4/", "/1/", "/", "/", "/"]
    assert (scaled_ms(300, 100), scaled_ms(300, 50), scaled_ms(1, 1)) == (300_000, 150_000, 1000)


def test_every_category_has_a_plan_in_both_languages() -> None:
    assert set(BUILT_IN) == set(Category)
    assert set(CATEGORIES.values()) <= set(Category)
    for plan in BUILT_IN.values():
        assert plan.checklist
        assert all(step.zh and step.en for step in plan.checklist)
        assert list(plan.targets.values()) == [300, 600, 1800]
