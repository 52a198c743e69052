"""The presence machine: from fixes, check-ins and rosters to who is at a post and what state it is in. Pure.

Owns every threshold and formula of presence. All times are event times in milliseconds UTC; nothing here knows when
evidence arrived, so the outcome is a function of the set of evidence. `d` is how far beyond a post's edge a fix lies
(negative inside), `a` its accuracy, `r` the post's reach (its radius, or that of a circle as large as its polygon):

- a fix with `a > max(50 m, r)` has no vote; one that comes sooner than 8 s after the last vote neither;
- it votes *in* when `d - min(a, r) / 2 <= 0`, *out* when `d - a > max(5 m, r / 6)`, else for no change;
- a member is in after 2 *in* of the last 3 votes, the first at least 16 s old, and the newest one of them;
- a member is out after 3 *out* of the last 4 votes, the first at least 16 s old, and the newest one of them;
- a check-in or door puts a member in at once and holds for 30 minutes, unless votes say *out*;
- without a usable fix for 300 s, and without a check-in that holds, nothing is known of a member. Never "absent".
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

USABLE_M: Final = 50.0
"""A fix less accurate than this, and than the post's reach, says nothing."""
UNSTATED_M: Final = 25.0
"""Assumed of a fix that does not state its accuracy, as radios' do not."""
EXIT_MARGIN_M: Final = 5.0
VOTE_EVERY_MS: Final = 8_000
DWELL_MS: Final = 16_000
ENTER_OF: Final = (2, 3)
EXIT_OF: Final = (3, 4)
SILENCE_MS: Final = 300_000
HOLD_MS: Final = 1_800_000
LOOKBACK_MS: Final = 6 * 3_600_000
"""Evidence that arrives later than this after its time is kept, counts for coverage, and changes no post's history."""
MINUTE_MS: Final = 60_000
SLOT_MS: Final = 300_000
"""Of `cell_visits`."""
NEVER: Final = -(2**62)
IN, OUT, NEITHER = 1, -1, 0


class PostState(StrEnum):
    """What is known of a post, worst first."""

    UNMANNED = "unmanned"
    UNDERSTAFFED = "understaffed"
    UNKNOWN = "unknown"
    MANNED = "manned"


class Standing(StrEnum):
    """What is known of a member at a post."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a post or a member is in its state; of several unknown members the first in this order is told."""

    GATEWAY_OFFLINE = "gateway-offline"
    """Of the present only: a gateway's outage is no evidence, so history says `armband-silent`."""
    ARMBAND_SILENT = "armband-silent"
    POOR_ACCURACY = "poor-accuracy"
    SETTLING = "settling"
    """Fixes came, but not yet enough of them to say."""
    NO_FIX = "no-fix"
    """Nothing since the shift began."""
    NO_ROSTER = "no-roster"
    ABSENT = "absent"
    TOO_FEW_ROSTERED = "too-few-rostered"
    PRESENT = "present"
    NOT_REQUIRED = "not-required"


_ORDER: Final = {reason: place for place, reason in enumerate(Reason)}


class Seen(NamedTuple):
    """One piece of evidence as one post sees it. here: a check-in at this post; None for a fix."""

    at: int
    beyond_m: float = 0.0
    accuracy_m: float = UNSTATED_M
    here: bool | None = None


class Machine(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of a member at a post. inside: None while nothing is settled."""

    inside: bool | None = None
    votes: tuple[tuple[int, int], ...] = ()
    voted_at: int = NEVER
    usable_at: int = NEVER
    poor_at: int = NEVER
    heard_at: int = NEVER
    hold_until: int = NEVER


class Change(msgspec.Struct, frozen=True, array_like=True):
    """From when on something is known of a member at a post."""

    at: int
    standing: Standing
    reason: Reason


class Term(NamedTuple):
    """A shift at a post: from, to (not included), and what was known of the member, in order."""

    starts_at: int
    ends_at: int
    changes: Sequence[Change]


class Moment(NamedTuple):
    """From when on a post is in a state."""

    at: int
    state: PostState
    reason: Reason
    present: int
    required: int


def vote(beyond_m: float, accuracy_m: float, reach_m: float) -> int:
    """What a fix says: IN, OUT or NEITHER."""
    if beyond_m - min(accuracy_m, reach_m) / 2 <= 0:
        return IN
    if beyond_m - accuracy_m > max(EXIT_MARGIN_M, reach_m / 6):
        return OUT
    return NEITHER


def usable(accuracy_m: float, reach_m: float) -> bool:
    """Whether a fix is accurate enough to say anything about a place."""
    return accuracy_m <= max(USABLE_M, reach_m)


def visits(beyond_m: float, accuracy_m: float, reach_m: float) -> bool:
    """Whether a fix is a visit of a checkpoint: usable, and votes *in*."""
    return usable(accuracy_m, reach_m) and vote(beyond_m, accuracy_m, reach_m) == IN


def _fresh(machine: Machine, at: int) -> bool:
    return at < machine.usable_at + SILENCE_MS


def step(machine: Machine, seen: Seen, reach_m: float) -> Machine:
    """The machine after one more piece of evidence, which is not older than what it had."""
    at = seen.at
    known = _fresh(machine, at) or (machine.inside is True and at < machine.hold_until)
    inside, votes = (machine.inside, machine.votes) if known else (None, ())
    hold_until = machine.hold_until
    if seen.here is not None:
        if seen.here:
            inside, votes, hold_until = True, (), at + HOLD_MS
        else:
            hold_until = min(hold_until, at)
            inside = inside if _fresh(machine, at) else None
        return Machine(inside, votes, machine.voted_at, machine.usable_at, machine.poor_at, at, hold_until)
    if not usable(seen.accuracy_m, reach_m):
        return Machine(inside, votes, machine.voted_at, machine.usable_at, at, at, hold_until)
    voted_at = machine.voted_at
    if at - voted_at >= VOTE_EVERY_MS:
        voted_at = at
        said = vote(seen.beyond_m, seen.accuracy_m, reach_m)
        votes = (*votes[1 - EXIT_OF[1] :], (at, said))
        if inside is not True and _carried(votes, IN, *ENTER_OF):
            inside, votes = True, ()
        elif inside is not False and _carried(votes, OUT, *EXIT_OF):
            inside, votes, hold_until = False, (), min(hold_until, at)
    return Machine(inside, votes, voted_at, at, machine.poor_at, at, hold_until)


def _carried(votes: tuple[tuple[int, int], ...], wanted: int, enough: int, of: int) -> bool:
    """Whether N of the last M votes say so, the newest among them, over the dwell time."""
    times = [at for at, said in votes[-of:] if said == wanted]
    return votes[-1][1] == wanted and len(times) >= enough and times[-1] - times[0] >= DWELL_MS


def standing(machine: Machine, at: int) -> tuple[Standing, Reason]:
    """What is known at a time when nothing more has come."""
    fresh = _fresh(machine, at)
    if machine.inside is True and (fresh or at < machine.hold_until):
        return Standing.PRESENT, Reason.PRESENT
    if machine.inside is False and fresh:
        return Standing.ABSENT, Reason.ABSENT
    if fresh:
        return Standing.UNKNOWN, Reason.SETTLING
    if at < machine.poor_at + SILENCE_MS:
        return Standing.UNKNOWN, Reason.POOR_ACCURACY
    return Standing.UNKNOWN, Reason.NO_FIX if machine.heard_at == NEVER else Reason.ARMBAND_SILENT


def expiries(machine: Machine) -> list[int]:
    """When, after the newest evidence, what is known may change by itself, in order."""
    ends = {machine.usable_at + SILENCE_MS, machine.poor_at + SILENCE_MS, machine.hold_until}
    return sorted(at for at in ends if at > machine.heard_at > NEVER)


def note(changes: list[Change], at: int, known: tuple[Standing, Reason]) -> None:
    """Add what is known from a time on, when it differs from what was known before."""
    if changes and changes[-1].at == at:
        changes.pop()
    if not changes or (changes[-1].standing, changes[-1].reason) != known:
        changes.append(Change(at, *known))


def follow(machine: Machine, changes: list[Change], seen: Seen, reach_m: float) -> Machine:
    """Step, and add to `changes` what follows from it and from the time before it."""
    for at in expiries(machine):
        if at < seen.at:
            note(changes, at, standing(machine, at))
    machine = step(machine, seen, reach_m)
    note(changes, seen.at, standing(machine, seen.at))
    return machine


def unfolded(machine: Machine, changes: Sequence[Change]) -> list[Change]:
    """The changes, and those that will come when nothing more does."""
    whole = list(changes)
    for at in expiries(machine):
        note(whole, at, standing(machine, at))
    return whole


def state_of(present: int, required: int) -> PostState:
    """The state of a post when it is certain how many are there."""
    if present >= required:
        return PostState.MANNED
    return PostState.UNDERSTAFFED if present else PostState.UNMANNED


def judge(required: int, known: Sequence[tuple[Standing, Reason]]) -> tuple[PostState, Reason, int]:
    """State, reason and how many are present, from what is known of each rostered member.

    With p present and u unknown members the post is what `state_of` says when p and p + u agree, else unknown.
    """
    present = sum(1 for where, _ in known if where is Standing.PRESENT)
    if required == 0:
        return PostState.MANNED, Reason.NOT_REQUIRED, present
    if not known:
        return PostState.UNKNOWN, Reason.NO_ROSTER, 0
    unknown = [why for where, why in known if where is Standing.UNKNOWN]
    state = state_of(present, required)
    if state is PostState.MANNED:
        return state, Reason.PRESENT, present
    if state_of(present + len(unknown), required) is not state:
        return PostState.UNKNOWN, min(unknown, key=_ORDER.__getitem__), present
    absent = any(where is Standing.ABSENT for where, _ in known)
    return state, Reason.ABSENT if absent else Reason.TOO_FEW_ROSTERED, present


def timeline(terms: Sequence[Term], required: Sequence[tuple[int, int]], from_ms: int, to_ms: int) -> list[Moment]:
    """What a post was, from one time to another (both included), as the moments at which that changed.

    required: from when on how many were required, in order; the first counts for all time before it too.
    """
    inner = {from_ms}
    for term in terms:
        inner.update(at for at in (term.starts_at, term.ends_at) if from_ms < at <= to_ms)
        inner.update(each.at for each in term.changes if from_ms < each.at <= to_ms)
    inner.update(at for at, _ in required if from_ms < at <= to_ms)
    moments: list[Moment] = []
    for at in sorted(inner):
        needed = required[max(bisect_right(required, at, key=lambda pair: pair[0]) - 1, 0)][1]
        moment = Moment(at, *_at(terms, at, needed), needed)
        if not moments or moments[-1][1:] != moment[1:]:
            moments.append(moment)
    return moments


def _at(terms: Iterable[Term], at: int, required: int) -> tuple[PostState, Reason, int]:
    known: list[tuple[Standing, Reason]] = []
    for term in terms:
        if term.starts_at <= at < term.ends_at:
            place = bisect_right(term.changes, at, key=lambda change: change.at) - 1
            change = term.changes[place] if place >= 0 else None
            known.append((change.standing, change.reason) if change else (Standing.UNKNOWN, Reason.NO_FIX))
    return judge(required, known)


class Establishment(NamedTuple):
    """How many a post is to have: at level 4, and what it states for single levels, by their number as text."""

    post: int
    node: str
    headcount: int
    by_level: Mapping[str, int]


def required(posts: Iterable[Establishment], level: int, percent: int) -> dict[int, int]:
    """How many each post of a unit needs at a response level, by post.

    A post has what it states for the level. The others together have `ceil(sum of headcounts * percent / 100)`: the
    share is of the unit's people, so that at 120 percent five posts for one need six people and not ten. Each has its
    headcount for every whole 100 percent; the rest is given out one by one, each time to the post with the largest
    `headcount / (2 * given + 1)` (Sainte-Laguë), of equal ones first to one post of each node, in their order. So no
    post needs fewer as the percentage rises.
    """
    needed: dict[int, int] = {}
    open_to: list[Establishment] = []
    for each in sorted(posts, key=lambda each: (each.node, each.post)):
        stated = each.by_level.get(str(level))
        needed[each.post] = stated if stated is not None else each.headcount * (percent // 100)
        if stated is None and each.headcount:
            open_to.append(each)
    rest = -(-sum(each.headcount for each in open_to) * (percent % 100) // 100)
    of_node: Counter[str] = Counter()
    queue: list[tuple[float, int, int, int]] = []
    for place, each in enumerate(open_to):
        queue.append((-each.headcount, of_node[each.node], place, 1))
        of_node[each.node] += 1
    heapq.heapify(queue)
    for _ in range(rest):
        _, number, place, divisor = queue[0]
        each = open_to[place]
        needed[each.post] += 1
        heapq.heapreplace(queue, (-each.headcount / (divisor + 2), number, place, divisor + 2))
    return needed


def severity_at(level: int) -> Severity:
    """How urgent an unmanned post or an overdue patrol is at a response level."""
    return {1: Severity.CRITICAL, 2: Severity.MAJOR, 3: Severity.MAJOR}.get(level, Severity.MINOR)


def overdue_at(last_ms: int | None, duty_ms: int, revisit_ms: int) -> int:
    """When a checkpoint goes overdue: a revisit interval after its last visit, or after a patrol came on duty."""
    return max(duty_ms, duty_ms if last_ms is None else last_ms) + revisit_ms
