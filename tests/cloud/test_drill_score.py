"""How a drill is scored, without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.incidents.drills.rules import HOUR_MS, POINTS, Run, Timing, credit, score, timing, wrong_times

took = st.none() | st.floats(0, 10_000)
timings = st.lists(
    st.builds(Timing, st.sampled_from(["receipt", "on_scene", "reinforcement", "area"]), st.integers(1, 3600), took,
              st.booleans()),
    max_size=6,
)  # fmt: skip
runs = st.lists(st.builds(Run, timings, st.integers(0, 5), st.integers(0, 5)), max_size=4)
counts = st.integers(0, 50)


@given(runs, counts, counts)
def test_a_total_lies_between_0_and_100_and_follows_from_its_parts(given_: list[Run], sent: int, failed: int) -> None:
    scored = score(given_, sent, failed)
    measured = [part for part in scored.parts if part.got is not None]
    assert (scored.total is None) == (not measured)
    if scored.total is not None:
        assert 0 <= scored.total <= 100
        possible = sum(part.points for part in measured)
        assert abs(scored.total - 100 * sum(part.got or 0.0 for part in measured) / possible) <= 1.5
    assert all(0 <= (part.got or 0) <= part.points for part in scored.parts)


@given(runs, counts, counts, st.data())
def test_the_order_of_incidents_decides_nothing(given_: list[Run], sent: int, failed: int, data: st.DataObject) -> None:
    assert score(data.draw(st.permutations(given_)), sent, failed) == score(given_, sent, failed)


@given(st.floats(0, 5000), st.floats(0, 5000), st.integers(1, 3600))
def test_who_is_quicker_never_earns_less(a: float, b: float, target: int) -> None:
    quick, slow = sorted((a, b))
    assert 1 >= credit(quick, target) >= credit(slow, target) >= credit(None, target) == 0


def full(receipt: float | None, on_scene: float | None, rest: float | None, done: int) -> Run:
    names = (("receipt", 60, receipt), ("on_scene", 300, on_scene), ("reinforcement", 600, rest), ("area", 1800, rest))
    return Run([Timing(name, target, took_s, judged=True) for name, target, took_s in names], done, 4)


@pytest.mark.parametrize(
    ("run", "sent", "failed", "total"),
    [
        (full(60, 300, 600, 4), 5, 0, 100),
        (full(None, None, None, 0), 0, 5, 0),
        (full(90, 300, 600, 4), 5, 0, 90),  # half of 20 for the receipt
        (full(60, 450, 600, 4), 1, 1, 83),  # half of 25, and half of 10: 82.5
        (full(60, 300, 600, 2), 0, 0, 89),  # no message was tried: 80 of 90
    ],
)
def test_the_formula_by_hand(run: Run, sent: int, failed: int, total: int) -> None:
    assert sum(POINTS.values()) == 100
    assert score([run], sent, failed).total == total


def test_what_had_no_full_time_or_came_after_the_end_is_not_counted() -> None:
    assert timing("area", 1800, 0, None, 1_000_000) == Timing("area", 1800, None, judged=False)
    assert timing("area", 1800, 0, None, 1_800_000) == Timing("area", 1800, None, judged=True)
    assert timing("area", 1800, 0, 1_000_001, 1_000_000) == Timing("area", 1800, None, judged=False)
    assert timing("on_scene", 300, 1000, 500, 1_000_000) == Timing("on_scene", 300, 0.0, judged=True)
    assert score([Run([Timing("area", 1800, None, judged=False)])], 0, 0).total is None


@pytest.mark.parametrize(
    ("starts", "ends", "said"),
    [
        (0, HOUR_MS, ""), (0, 0, "over before"), (0, 24 * HOUR_MS + 1, "24 hours"),
        (91 * 24 * HOUR_MS, 91 * 24 * HOUR_MS + 1, "90 days"),
    ],
)  # fmt: skip
def test_a_drill_lasts_a_day_at_most(starts: int, ends: int, said: str) -> None:
    assert said in (wrong_times(starts, ends, 0) or "")
