"""Alarm conditions: every kind, by event time, with timers that survive a restart (D11) and clocks that lie (D8)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_specs import alarms
from firmware_specs.alarms import Change, RuleState, begin, due, next_due_ms, step
from firmware_specs.readings import Evidence, Position, Quality
from firmware_specs.schema import AlarmRule

if TYPE_CHECKING:
    from firmware_specs.readings import Value

T = 1_700_000_000_000
S = 1000


def rule(when: dict[str, Any], for_s: float = 0) -> AlarmRule:
    return AlarmRule.model_validate(
        {
            "name": "r",
            "kind": "fire",
            "severity": "critical",
            "metric": "m",
            "when": when,
            "for_s": for_s,
            "title": {"zh": "火警", "en": "Fire"},
        }
    )


ABOVE = rule({"kind": "above", "limit": 8, "clear": 4})
HELD = rule({"kind": "above", "limit": 8, "clear": 4}, for_s=30)
MISSING = rule({"kind": "missing"})


def run(what: AlarmRule, *values: tuple[float, Value]) -> list[str]:
    """The changes that (second, value) pairs make."""
    state = RuleState()
    return [step(what, state, value, T + round(at * S)).change.value for at, value in values]


def test_above_has_hysteresis() -> None:
    assert run(ABOVE, (0, 8), (1, 8.1), (2, 9), (3, 5), (4, 8.5), (5, 4), (6, 4.5), (7, 9)) == [
        "none", "raised", "none", "none", "none", "cleared", "none", "raised",
    ]  # fmt: skip


def test_below_has_hysteresis() -> None:
    below = rule({"kind": "below", "limit": 20, "clear": 25})
    assert run(below, (0, 20), (1, 19.9), (2, 24.9), (3, 25)) == ["none", "raised", "none", "cleared"]


def test_without_clear_the_limit_itself_clears() -> None:
    assert run(rule({"kind": "above", "limit": 8}), (0, 9), (1, 8)) == ["raised", "cleared"]
    assert run(rule({"kind": "below", "limit": 8}), (0, 7), (1, 8)) == ["raised", "cleared"]


def test_equals_and_one_of() -> None:
    assert run(rule({"kind": "equals", "value": True}), (0, False), (1, True), (2, True), (3, False)) == [
        "none", "raised", "none", "cleared",
    ]  # fmt: skip
    assert run(rule({"kind": "equals", "value": "open"}), (0, "shut"), (1, "open"), (2, 1.0)) == [
        "none",
        "raised",
        "none",
    ]
    assert run(rule({"kind": "one_of", "values": ["98", "99"]}), (0, "97"), (1, "99"), (2, "98"), (3, "1")) == [
        "none", "raised", "none", "cleared",
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["nan", "inf", True, Position(1, 2)])
def test_what_a_rule_cannot_judge_neither_raises_nor_clears(value: Value) -> None:
    state = RuleState(raised=True, heard_ms=T)
    assert step(ABOVE, state, value, T + 1) is alarms.NONE
    assert state == RuleState(raised=True, heard_ms=T)


def test_bad_quality_does_not_feed_a_threshold_but_counts_as_heard() -> None:
    state = RuleState()
    assert step(ABOVE, state, 99.0, T, quality=Quality.BAD) is alarms.NONE
    assert step(ABOVE, state, 99.0, T, quality=Quality.UNCERTAIN).change is Change.RAISED
    silent = RuleState(raised=True, heard_ms=T)
    assert step(MISSING, silent, "nan", T + S, quality=Quality.BAD).change is Change.CLEARED


def test_the_evidence_is_what_decided() -> None:
    state = RuleState()
    raised = step(ABOVE, state, 9.5, T)
    assert raised == alarms.Step(Change.RAISED, T, (Evidence("m", 9.5, T),))
    held = RuleState()
    assert step(HELD, held, 9.0, T).change is Change.TIMER
    assert step(HELD, held, 9.1, T + 10 * S) is alarms.NONE
    raised = step(HELD, held, 9.2, T + 31 * S)
    assert raised.at_ms == T + 30 * S
    assert raised.evidence == (Evidence("m", 9.0, T), Evidence("m", 9.2, T + 31 * S))


def test_a_condition_that_ends_before_its_time_raises_nothing() -> None:
    assert run(HELD, (0, 9), (20, 5), (29, 3), (31, 9), (60, 9), (61, 9)) == [
        "timer", "none", "timer", "timer", "none", "raised",
    ]  # fmt: skip


def test_d11_a_timer_is_due_without_another_value_and_after_a_restart() -> None:
    state = RuleState()
    step(HELD, state, 9.0, T)
    assert next_due_ms(HELD, state) == T + 30 * S
    assert due(HELD, state, T + 30 * S - 1) is alarms.NONE
    restored = msgspec.json.decode(msgspec.json.encode(state), type=RuleState)
    assert restored == state
    raised = due(HELD, restored, T + 3600 * S)
    assert (raised.change, raised.at_ms, raised.evidence) == (Change.RAISED, T + 30 * S, (Evidence("m", 9.0, T),))
    assert next_due_ms(HELD, restored) is None
    assert due(HELD, restored, T + 7200 * S) is alarms.NONE


def test_d11_a_raised_alarm_survives_a_restart_and_clears_as_the_same_occurrence() -> None:
    state = RuleState()
    step(ABOVE, state, 9.0, T)
    state.occurrence = "o-1"
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=RuleState)
    assert step(ABOVE, restored, 9.0, T + S) is alarms.NONE
    assert step(ABOVE, restored, 1.0, T + 2 * S).change is Change.CLEARED
    assert restored.occurrence == "o-1"


def test_d7_a_late_value_raises_what_was_missed_and_never_clears() -> None:
    state = RuleState()
    assert step(ABOVE, state, 1.0, T + 10 * S) is alarms.NONE
    assert step(ABOVE, state, 9.0, T + 5 * S).change is Change.RAISED
    assert step(ABOVE, state, 1.0, T + 6 * S) is alarms.NONE
    assert step(ABOVE, state, 1.0, T + 11 * S).change is Change.CLEARED
    pending = RuleState()
    step(HELD, pending, 9.0, T)
    assert step(HELD, pending, 1.0, T - S) is alarms.NONE
    assert next_due_ms(HELD, pending) == T + 30 * S


def test_d8_a_clock_in_2099_does_not_blind_a_rule() -> None:
    state = RuleState()
    future = 4_070_908_800_000
    raised = step(ABOVE, state, 9.0, future, received_ms=T)
    assert (raised.change, raised.at_ms) == (Change.RAISED, T)
    assert step(ABOVE, state, 1.0, T + S, received_ms=T + S).change is Change.CLEARED


def test_rate_of_rise() -> None:
    rises = rule({"kind": "rate_of_rise", "per_minute": 8.3, "window_s": 60})
    slow = [(at, 20 + at / 60 * 5) for at in range(0, 300, 10)]
    assert set(run(rises, *slow)) == {"none"}
    fire = [(at, 20 + max(0, at - 60) / 60 * 30) for at in range(0, 120, 10)]
    assert run(rises, *fire).count("raised") == 1
    jitter = [(at / 10, 20 + at % 2) for at in range(100)]
    assert set(run(rises, *jitter)) == {"none"}, "noise between quick values is no fire"
    assert run(rises, (0, 20), (300, 80), (310, 80), (900, 80)) == ["none", "raised", "none", "cleared"], (
        "values more seldom than the window are compared with the last one"
    )
    assert run(rises, (0, 20), (601, 80), (602, 80)) == ["none", "none", "none"], "what is too old says nothing"


def test_the_window_of_a_rate_of_rise_is_bounded() -> None:
    rises = rule({"kind": "rate_of_rise", "per_minute": 8.3, "window_s": 60})
    state = RuleState()
    for at in range(0, 120_000, 50):
        step(rises, state, 20.0, T + at)
    assert len(state.window) <= 66


def test_missing_is_raised_by_time_and_cleared_by_any_value() -> None:
    state = RuleState()
    assert next_due_ms(MISSING, state, 180 * S) is None
    begin(MISSING, state, T, 180 * S)
    assert next_due_ms(MISSING, state, 180 * S) == T + 180 * S
    assert step(MISSING, state, 1.0, T - 3600 * S, received_ms=T + 60 * S) is alarms.NONE
    assert due(MISSING, state, T + 239 * S, 180 * S) is alarms.NONE
    raised = due(MISSING, state, T + 240 * S, 180 * S)
    assert (raised.change, raised.at_ms) == (Change.RAISED, T + 240 * S)
    assert next_due_ms(MISSING, state, 180 * S) is None
    assert step(MISSING, state, "x", T, received_ms=T + 300 * S) == alarms.Step(Change.CLEARED, T + 300 * S)


def test_missing_has_its_own_time_when_it_says_so() -> None:
    own = rule({"kind": "missing", "after_s": 10})
    state = RuleState()
    begin(own, state, T, 180 * S)
    assert next_due_ms(own, state, 180 * S) == T + 10 * S


def test_d2_after_a_restart_a_device_has_one_interval_to_speak() -> None:
    state = RuleState(heard_ms=T)
    begin(MISSING, state, T + 3600 * S, 180 * S)
    assert next_due_ms(MISSING, state, 180 * S) == T + 3600 * S + 60 * S
    heard_lately = RuleState(heard_ms=T + 3590 * S)
    begin(MISSING, heard_lately, T + 3600 * S, 180 * S)
    assert next_due_ms(MISSING, heard_lately, 180 * S) == T + 3590 * S + 180 * S
    raised = RuleState(raised=True, heard_ms=T)
    begin(MISSING, raised, T + 3600 * S, 180 * S)
    assert raised == RuleState(raised=True, heard_ms=T)


CONDITIONS = [
    {"kind": "above", "limit": 8, "clear": 4},
    {"kind": "below", "limit": 4, "clear": 8},
    {"kind": "rate_of_rise", "per_minute": 3, "window_s": 10},
    {"kind": "equals", "value": True},
    {"kind": "one_of", "values": ["a", "b"]},
    {"kind": "missing", "after_s": 5},
]
moments = st.tuples(
    st.integers(-20_000, 20_000),
    st.one_of(st.floats(-20, 20), st.booleans(), st.sampled_from(["a", "c", "nan"])),
    st.sampled_from(Quality),
)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: str(condition["kind"]))
@given(values=st.lists(moments, max_size=40), for_s=st.sampled_from([0, 3]))
def test_d7_raises_and_clears_alternate_whatever_comes(
    condition: dict[str, Any], values: list[tuple[int, Value, Quality]], for_s: float
) -> None:
    """Also through restarts: the state is written and read between any two values."""
    judged = rule(condition, for_s)
    state = RuleState()
    changes: list[Change] = []
    now = T
    begin(judged, state, now, 5 * S)
    for at, value, quality in values:
        now += 700
        changes.append(due(judged, state, now, 5 * S).change)
        changes.append(step(judged, state, value, T + at, quality=quality, received_ms=now).change)
        state = msgspec.json.decode(msgspec.json.encode(state), type=RuleState)
    told = [change for change in changes if change in {Change.RAISED, Change.CLEARED}]
    assert all(a is not b for a, b in itertools.pairwise(told))
    assert told[:1] in ([], [Change.RAISED])
    assert state.raised is (told[-1:] == [Change.RAISED])
