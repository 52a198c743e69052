"""Declarative alarm conditions, judged by event time: the same code at the edge and in the cloud.

Owns when a rule is raised and cleared. Pure: no clock and no ids. The caller keeps one `RuleState` per device and
rule, makes the occurrence id when a step says RAISED, writes the state to disk whenever the step is not NONE, and
calls `due` when the time that `next_due_ms` gave has come, also after a restart: what is overdue is raised then.

Rules of judgement:
- `for_s`: the condition must hold that long. The timer starts at the event time of the first value that fulfils the
  condition, ends when a value does not, and is judged by the time of later values or by `due`, whichever is first.
- Hysteresis: a raised `above` stays raised until a value is at `clear` or below; a timer that runs ends likewise.
- A value older than the newest one judged can raise an alarm that was missed; it never clears one or ends a timer.
- A value of another type than the rule judges (such as "nan"), or of bad quality, says nothing; for `missing` it
  still counts as heard. A time later than the receipt is taken as the receipt: a clock in 2099 must not blind a rule.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

import msgspec

from firmware_specs.readings import Evidence, Quality, Value
from firmware_specs.schema import Above, AlarmRule, Below, Equals, Missing, OneOf, RateOfRise

if TYPE_CHECKING:
    from firmware_specs.schema import Condition

MAX_EVIDENCE: Final = 8
_WINDOW_SAMPLES: Final = 64


class Change(Enum):
    """What a step did to a rule's state."""

    NONE = "none"
    TIMER = "timer"
    """A `for` timer began or ended: nothing to report, but to be kept."""
    RAISED = "raised"
    CLEARED = "cleared"


class Step(msgspec.Struct, frozen=True):
    """The outcome of one value or of one moment.

    at_ms: event time of the change. evidence: what decided, oldest first, at most 8.
    """

    change: Change
    at_ms: int = 0
    evidence: tuple[Evidence, ...] = ()


NONE: Final = Step(Change.NONE)
TIMER: Final = Step(Change.TIMER)


class RuleState(msgspec.Struct, omit_defaults=True):
    """What one rule knows of one device; survives restarts as JSON or msgpack.

    occurrence: the caller's, set by it on RAISED and emptied by it on CLEARED.
    heard_ms: event time of the newest value judged; for `missing`, when the metric was last heard.
    window: time and value of what a rate of rise looks back on.
    """

    raised: bool = False
    occurrence: str = ""
    pending_since_ms: int | None = None
    heard_ms: int = 0
    evidence: list[Evidence] = []
    window: list[tuple[int, float]] = []


Stepper = Callable[..., Step]
"""`(state, value, at_ms, *, quality=GOOD, received_ms=None) -> Step`, as `step` without the rule."""
_Verdict = Callable[[RuleState, Value, int], bool | None]
"""True: fulfilled. False: not, so clear. None: between the two limits, or a value that the rule cannot judge."""


def step(
    rule: AlarmRule,
    state: RuleState,
    value: Value,
    at_ms: int,
    *,
    quality: Quality = Quality.GOOD,
    received_ms: int | None = None,
) -> Step:
    """Judge one value of the rule's metric and change `state` accordingly; `stepper` is the way to do it often.

    at_ms: event time. received_ms: the gateway's time of receipt, by which `missing` counts; defaults to `at_ms`.
    """
    return stepper(rule)(state, value, at_ms, quality=quality, received_ms=received_ms)


def stepper(rule: AlarmRule) -> Stepper:
    """Compile a rule to a function that judges one value of its metric."""
    if isinstance(rule.when, Missing):
        return _heard
    judge = _judge(rule, _verdict(rule.when))
    if isinstance(rule.when, Above):
        return _unless_quiet(judge, above=rule.when.limit, below=-inf)
    return _unless_quiet(judge, above=inf, below=rule.when.limit) if isinstance(rule.when, Below) else judge


def _unless_quiet(judge: Stepper, above: float, below: float) -> Stepper:
    """The way of nearly every value: within the limits, while nothing is raised and no timer runs."""

    def judge_unless_quiet(
        state: RuleState, value: Value, at_ms: int, *, quality: Quality = Quality.GOOD, received_ms: int | None = None
    ) -> Step:
        if (
            type(value) is not float
            or state.raised
            or state.pending_since_ms is not None
            or not below <= value <= above
        ):
            return judge(state, value, at_ms, quality=quality, received_ms=received_ms)
        if at_ms > state.heard_ms and (received_ms is None or at_ms <= received_ms) and quality is not Quality.BAD:
            state.heard_ms = at_ms
        return NONE

    return judge_unless_quiet


def _judge(rule: AlarmRule, verdict: _Verdict) -> Stepper:
    for_ms = round(rule.for_s * 1000)
    metric = rule.metric

    def judge(
        state: RuleState, value: Value, at_ms: int, *, quality: Quality = Quality.GOOD, received_ms: int | None = None
    ) -> Step:
        if quality is Quality.BAD:
            return NONE
        if received_ms is not None and at_ms > received_ms:
            at_ms = received_ms
        late = at_ms < state.heard_ms
        fulfilled = verdict(state, value, at_ms)
        if not late and fulfilled is not None:
            state.heard_ms = at_ms
        if fulfilled is None or (fulfilled is state.raised and state.pending_since_ms is None):
            return NONE
        if fulfilled:
            return _fulfilled(state, Evidence(metric, value, at_ms), for_ms, late=late)
        return NONE if late else _ended(state, Evidence(metric, value, at_ms))

    return judge


def _fulfilled(state: RuleState, evidence: Evidence, for_ms: int, *, late: bool) -> Step:
    if state.raised:
        return NONE
    at_ms = evidence.observed_at
    if for_ms == 0:
        return _raise(state, at_ms, (evidence,))
    if late:
        return NONE
    since = state.pending_since_ms
    if since is None:
        state.pending_since_ms = at_ms
        state.evidence = [evidence]
        return TIMER
    state.evidence[1:] = [evidence]
    return _raise(state, since + for_ms, tuple(state.evidence)) if at_ms >= since + for_ms else NONE


def _raise(state: RuleState, at_ms: int, evidence: tuple[Evidence, ...]) -> Step:
    state.raised = True
    state.pending_since_ms = None
    state.evidence = []
    return Step(Change.RAISED, at_ms, evidence[-MAX_EVIDENCE:])


def _ended(state: RuleState, evidence: Evidence) -> Step:
    state.pending_since_ms = None
    state.evidence = []
    if not state.raised:
        return TIMER
    state.raised = False
    return Step(Change.CLEARED, evidence.observed_at, (evidence,))


def _heard(
    state: RuleState, _value: Value, at_ms: int, *, quality: Quality = Quality.GOOD, received_ms: int | None = None
) -> Step:
    """A value, good or bad, ends silence."""
    del quality
    heard_ms = at_ms if received_ms is None else received_ms
    state.heard_ms = max(state.heard_ms, heard_ms)
    if not state.raised:
        return NONE
    state.raised = False
    return Step(Change.CLEARED, heard_ms)


def begin(rule: AlarmRule, state: RuleState, now_ms: int, silent_after_ms: int) -> None:
    """Call when a device is first served and after each start: nobody was heard while the gateway itself was away.

    A `missing` rule then gives the device at least a third of its allowed silence, which is one reporting interval by
    default, before it speaks. Other rules need nothing.
    """
    if isinstance(rule.when, Missing) and not state.raised:
        after_ms = _after_ms(rule.when, silent_after_ms)
        state.heard_ms = max(state.heard_ms, now_ms - after_ms * 2 // 3) if state.heard_ms else now_ms


def due(rule: AlarmRule, state: RuleState, now_ms: int, silent_after_ms: int = 0) -> Step:
    """Raise what its timer has made due by now; NONE when it is not, or another value came first.

    silent_after_ms: the profile's, for a `missing` rule without `after_s`.
    """
    due_ms = next_due_ms(rule, state, silent_after_ms)
    if due_ms is None or now_ms < due_ms:
        return NONE
    return _raise(state, due_ms, tuple(state.evidence))


def next_due_ms(rule: AlarmRule, state: RuleState, silent_after_ms: int = 0) -> int | None:
    """When `due` has to be called, or None while no timer of this rule runs."""
    if state.raised:
        return None
    if isinstance(rule.when, Missing):
        return state.heard_ms + _after_ms(rule.when, silent_after_ms) if state.heard_ms else None
    if state.pending_since_ms is None:
        return None
    return state.pending_since_ms + round(rule.for_s * 1000)


def _after_ms(when: Missing, silent_after_ms: int) -> int:
    return silent_after_ms if when.after_s is None else round(when.after_s * 1000)


def _verdict(when: Condition) -> _Verdict:
    match when:
        case Above():
            return _above(when.limit, when.limit if when.clear is None else when.clear)
        case Below():
            return _below(when.limit, when.limit if when.clear is None else when.clear)
        case Equals():
            return _one_of((when.value,))
        case OneOf():
            return _one_of(when.values)
        case RateOfRise():
            return _rises(when.per_minute, round(when.window_s * 1000))
    raise AssertionError(when)


def _above(limit: float, clear: float) -> _Verdict:
    def verdict(_state: RuleState, value: Value, _at_ms: int) -> bool | None:
        if type(value) is not float and type(value) is not int:
            return None
        if value > limit:
            return True
        return False if value <= clear else None

    return verdict


def _below(limit: float, clear: float) -> _Verdict:
    def verdict(_state: RuleState, value: Value, _at_ms: int) -> bool | None:
        if type(value) is not float and type(value) is not int:
            return None
        if value < limit:
            return True
        return False if value >= clear else None

    return verdict


def _one_of(wanted: tuple[bool | str, ...]) -> _Verdict:
    kind = type(wanted[0])

    def verdict(_state: RuleState, value: Value, _at_ms: int) -> bool | None:
        return value in wanted if type(value) is kind else None

    return verdict


def _rises(per_minute: float, window_ms: int) -> _Verdict:
    """The rise since the oldest value of the window, per minute.

    A value within half a window of the only other one says nothing yet, so that noise between two quick values is no
    fire. When values come more seldom than the window, the last one before it is what there is to compare with.
    """
    spacing_ms = window_ms // _WINDOW_SAMPLES
    forget_ms = 10 * window_ms

    def verdict(state: RuleState, value: Value, at_ms: int) -> bool | None:
        window = state.window
        if (type(value) is not float and type(value) is not int) or (window and at_ms <= window[-1][0]):
            return None
        while len(window) > 1 and window[1][0] <= at_ms - window_ms:
            window.pop(0)
        if window and window[0][0] < at_ms - forget_ms:
            window.clear()
        rate = None
        if window and at_ms - window[0][0] >= window_ms // 2:
            rate = (value - window[0][1]) * 60_000 / (at_ms - window[0][0])
        if not window or at_ms - window[-1][0] >= spacing_ms:
            window.append((at_ms, float(value)))
        if rate is None:
            return None
        if rate > per_minute:
            return True
        return False if rate <= per_minute / 2 else None

    return verdict
