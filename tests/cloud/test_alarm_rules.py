"""The pure rules of alarms: the order in which things arrive does not matter (D7)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.alerts.rules import Occurrence, is_late, settle

MINUTE = 60_000


def occurrence(number: int, rule: str = "a", *, ended: int | None = None) -> Occurrence:
    return Occurrence(number, rule, number, number * 1000, ended)


def test_one_occurrence_stands() -> None:
    assert settle([occurrence(1)])[1] == (None, None, True)


def test_an_ended_one_does_not() -> None:
    assert settle([occurrence(1, ended=5)])[1] == (None, None, False)


def test_a_later_raise_of_the_same_rule_supersedes() -> None:
    settled = settle([occurrence(1), occurrence(2)])
    assert settled[1].superseded_at == 2000
    assert settled[2].stands


def test_an_ended_later_raise_supersedes_too() -> None:
    settled = settle([occurrence(1), occurrence(2, ended=3000)])
    assert settled[1].superseded_at == 2000
    assert not settled[1].active


def test_its_own_end_is_believed_over_being_superseded() -> None:
    assert settle([occurrence(1, ended=9000), occurrence(2)])[1].superseded_at is None


def test_another_rule_of_the_family_is_folded_until_the_first_ends() -> None:
    settled = settle([occurrence(1, "smoke"), occurrence(2, "bit")])
    assert settled[1].stands
    assert settled[2].folded_into == 1
    settled = settle([occurrence(1, "smoke", ended=7), occurrence(2, "bit")])
    assert settled[2].stands


def test_a_clear_without_its_raise_supersedes_nothing() -> None:
    settled = settle([Occurrence(5, "a", None, 0, 10), occurrence(1)])
    assert settled[1].stands


families = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from("ab"), st.booleans()), unique_by=lambda item: item[0], max_size=8
)


@given(families, st.randoms())
def test_any_order_settles_alike_D7(items: list[tuple[int, str, bool]], chance: st.DrawFn) -> None:
    family = [occurrence(number, rule, ended=number * 1000 + 1 if ended else None) for number, rule, ended in items]
    expected = settle(family)
    chance.shuffle(family)  # type: ignore[attr-defined] # a random.Random
    assert settle(family) == expected
    assert sum(standing.stands for standing in expected.values()) <= 1
    if any(standing.active for standing in expected.values()):
        assert any(standing.stands for standing in expected.values())


def test_late_is_older_than_15_minutes() -> None:
    assert not is_late(0, 0, 15 * MINUTE, 15 * MINUTE)
    assert is_late(0, 0, 15 * MINUTE + 1, 15 * MINUTE)


def test_a_clock_of_1970_does_not_make_an_alarm_late_D8() -> None:
    now = 1_800_000_000_000
    assert not is_late(0, now - MINUTE, now, 15 * MINUTE)
    assert is_late(0, now - 16 * MINUTE, now, 15 * MINUTE)
    assert is_late(2**45, now - 16 * MINUTE, now, 15 * MINUTE)
