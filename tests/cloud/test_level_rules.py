"""The rules of response levels, without a database: which is in force, and what may be demanded."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.incidents.levels.rules import (
    BUILT_IN,
    DAY_MS,
    MAX_MS,
    Declared,
    Policy,
    changes,
    effective,
    in_force,
    laxer_column,
    laxer_than,
    strictest,
    wrong_times,
)
from cloud.org.rules import ancestors

if TYPE_CHECKING:
    from collections.abc import Iterable

PATHS = ("/", "/1/", "/1/2/", "/1/2/5/", "/1/3/", "/1/3/6/")
times = st.integers(0, 20)
declared = st.builds(Declared, st.sampled_from(PATHS), st.integers(1, 4), times, times, st.integers(1, 99))
everything = st.lists(declared, max_size=12)


def of(path: str, given_: Iterable[Declared]) -> list[Declared]:
    """The declarations for a node and what is above it."""
    return [each for each in given_ if each.node in ancestors(path)]


@given(everything, times, st.sampled_from(PATHS))
def test_a_node_is_never_laxer_than_any_node_above_it(all_: list[Declared], now: int, path: str) -> None:
    down = [effective(of(above, all_), now) for above in ancestors(path)]
    assert down == sorted(down, reverse=True)


@given(everything, times, st.data())
def test_the_order_of_declarations_decides_nothing(all_: list[Declared], now: int, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(all_))
    assert effective(shuffled, now) == effective(all_, now)
    assert (strictest(shuffled, now) is None) == (strictest(all_, now) is None)


@given(everything, times, declared)
def test_one_declaration_more_never_makes_a_level_laxer(all_: list[Declared], now: int, more: Declared) -> None:
    assert effective([*all_, more], now) <= effective(all_, now)


@given(everything, times)
def test_the_level_is_that_of_the_strictest_in_force_and_time_alone_ends_it(all_: list[Declared], now: int) -> None:
    assert effective(all_, now) == min([d.level for d in all_ if d.begins <= now < d.ends], default=4)
    assert effective(all_, 21) == 4


@given(everything, times, st.integers(1, 4))
def test_what_may_be_declared_below_is_what_is_not_laxer(all_: list[Declared], now: int, level: int) -> None:
    forbids = laxer_than(level, all_, now)
    assert (forbids is None) == (level <= effective(all_, now))
    assert forbids is None or (forbids.level < level and in_force(forbids, now))


@given(everything, times, declared)
def test_whoever_derives_numbers_hears_of_every_change(all_: list[Declared], now: int, one: Declared) -> None:
    if effective([*all_, one], now) != effective(all_, now):
        assert changes(one, all_, now)


@pytest.mark.parametrize(
    ("starts", "ends", "said"),
    [
        (0, MAX_MS, None),
        (0, MAX_MS + 1, "at most 30 days"),
        (-DAY_MS, MAX_MS, None),
        (5, 5, "over before it begins"),
        (-10, 0, "over before it begins"),
        (400 * DAY_MS, 401 * DAY_MS, "too far ahead"),
    ],
)
def test_a_level_holds_for_thirty_days_at_most(starts: int, ends: int, said: str | None) -> None:
    wrong = wrong_times(starts, ends, 0)
    assert (wrong is None) if said is None else said in str(wrong)


policies = st.builds(
    Policy, st.integers(80, 120), st.integers(80, 120), st.integers(80, 120), st.integers(80, 120)
)  # fmt: skip


@given(policies, policies, policies, st.integers(5, 900))
def test_a_sound_table_is_nowhere_laxer_as_levels_get_stricter(a: Policy, b: Policy, c: Policy, reporting: int) -> None:
    table = {4: Policy(100, 100, reporting, 100), 3: a, 2: b, 1: c}
    rows = [table[level] for level in (4, 3, 2, 1)]
    sound = all(
        x.headcount_percent <= y.headcount_percent and x.revisit_percent >= y.revisit_percent
        and x.reporting_s >= y.reporting_s and x.escalation_percent >= y.escalation_percent
        for x, y in itertools.pairwise(rows)
    )  # fmt: skip
    assert (laxer_column(table) is None) == sound


def test_the_built_in_table_is_sound_and_the_wrong_column_is_named() -> None:
    assert laxer_column(BUILT_IN) is None
    assert laxer_column({**BUILT_IN, 2: Policy(110, 60, 60, 60)}) == ("headcount_percent", 2)
    assert laxer_column({**BUILT_IN, 1: Policy(200, 40, 61, 40)}) == ("reporting_s", 1)
    assert laxer_column({**BUILT_IN, 4: Policy(100, 90, 300, 100)}) == ("revisit_percent", 4)
