"""How a drill is scored, and when it runs. Pure.

Owns the formula. Out of 100 points: first receipt 20, on scene 25, reinforcement 15, area 10, steps ticked 20, messages
delivered in the sandbox 10.

- A time earns its points in full within its target, nothing from twice the target on, and in between by a straight
  line. What never happened earns nothing.
- A clock that still had time when the drill ended is not judged. Over several incidents each part is their mean.
- Steps earn the share that was ticked, messages the share of those tried that arrived.
- A part that nothing was measured of is left out, and the rest is scaled to 100. With no part there is no total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RECEIPT: Final = "receipt"
RECEIPT_TARGET_S: Final = 60
"""Within this somebody should have taken the incident, or acknowledged the alarm."""
POINTS: Final = {RECEIPT: 20, "on_scene": 25, "reinforcement": 15, "area": 10, "steps": 20, "messages": 10}
HOUR_MS: Final = 3_600_000
MAX_MS: Final = 24 * HOUR_MS
"""A drill lasts no longer."""
AHEAD_MS: Final = 90 * 24 * HOUR_MS


class Timing(NamedTuple):
    """One time against its target. took_s: None when it never happened. judged: whether it had its full time."""

    name: str
    target_s: int
    took_s: float | None
    judged: bool


class Run(NamedTuple):
    """What was measured of one incident, or of an alarm that opened none. steps: how many its checklist has."""

    timings: Sequence[Timing]
    done: int = 0
    steps: int = 0


class Part(NamedTuple):
    """points: what could be earned. got: what was; None when nothing was measured."""

    name: str
    points: int
    got: float | None


class Score(NamedTuple):
    """total: 0 to 100, None when nothing at all was measured."""

    total: int | None
    parts: tuple[Part, ...]


def timing(name: str, target_s: int, began_at: int, done_at: int | None, ended_at: int) -> Timing:
    """A time against its target, in a drill that ended at a time (milliseconds); what came after does not count."""
    if done_at is not None and done_at <= ended_at:
        return Timing(name, target_s, max(0.0, (done_at - began_at) / 1000), judged=True)
    return Timing(name, target_s, None, judged=ended_at - began_at >= target_s * 1000)


def credit(took_s: float | None, target_s: int) -> float:
    """The share of the points that a time earns, 0 to 1."""
    if took_s is None:
        return 0.0
    return min(1.0, max(0.0, 2.0 - took_s / target_s))


def _mean(shares: list[float]) -> float | None:
    return sum(shares) / len(shares) if shares else None


def score(runs: Iterable[Run], delivered: int, failed: int) -> Score:
    """The score of a drill. delivered, failed: messages to the sandbox that have ended."""
    shares: dict[str, list[float]] = {name: [] for name in POINTS}
    for run in runs:
        for each in run.timings:
            if each.judged:
                shares[each.name].append(credit(each.took_s, each.target_s))
        if run.steps:
            shares["steps"].append(min(1.0, run.done / run.steps))
    if delivered + failed:
        shares["messages"].append(delivered / (delivered + failed))
    means = {name: _mean(sorted(each)) for name, each in shares.items()}
    parts = tuple(
        Part(name, points, None if (mean := means[name]) is None else round(points * mean, 1))
        for name, points in POINTS.items()
    )
    possible = sum(points for name, points in POINTS.items() if means[name] is not None)
    earned = sum(points * mean for name, points in POINTS.items() if (mean := means[name]) is not None)
    return Score(int(100 * earned / possible + 0.5) if possible else None, parts)


def wrong_times(starts_at: int, ends_at: int, now_ms: int) -> str | None:
    """What is wrong with a drill's times, None when nothing is."""
    if ends_at <= max(starts_at, now_ms):
        return "ends_at: it would be over before it begins"
    if ends_at - max(starts_at, now_ms) > MAX_MS:
        return f"ends_at: a drill lasts {MAX_MS // HOUR_MS} hours at most"
    if starts_at - now_ms > AHEAD_MS:
        return f"starts_at: more than {AHEAD_MS // (24 * HOUR_MS)} days ahead"
    return None
