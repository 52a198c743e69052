"""The arithmetic of reviews. Pure.

Owns every formula, as the appendix of a review states it:

- A percentile is by nearest rank: of n values in order, the one at place ceil(p/100 x n), counted from 1. So it is
  always a value that occurred.
- A share of nothing is None, never 0 and never 1.
- Units are ranked by their score, the mean of the shares that are known of them, worst first; equal scores share a
  place and the next place counts on (1, 1, 3). Those without any known share come last, without a place.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from cloud.presence.rosters.rules import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from zoneinfo import ZoneInfo

PER: Final = 100_000
FALSE_MARKS: Final = ("误报", "誤報", "虚警", "false")
"""What a remark or a cause begins with that says an alarm was false."""
FOLLOW_UPS: Final = 3
FOLLOW_UP_BELOW: Final = 0.9
UNIT_SHARES: Final = ("within", "manned", "covered", "online", "strength", "acknowledged")
"""What a unit's score is the mean of."""
_CONTROL: Final = {
    **dict.fromkeys((*range(32), *range(127, 160)), "�"),
    **dict.fromkeys((1564, 8206, 8207, *range(8234, 8239), *range(8294, 8298), 65279), "�"),
    **dict.fromkeys((9, 10, 13, 8232, 8233), " "),
    **dict.fromkeys((*range(55296, 57344), 65534, 65535), "�"),
}


class Spread(NamedTuple):
    """How durations are spread, in milliseconds; None when there were none."""

    n: int
    p50: int | None
    p90: int | None
    p95: int | None
    longest: int | None


def plain(text: str, most: int = 300) -> str:
    """Text from outside as one line: controls and what turns the direction of writing are shown as replaced."""
    return text[:most].translate(_CONTROL)


def percentile(ordered: Sequence[int], percent: int) -> int | None:
    """The percentile of values in ascending order, by nearest rank; None when there are none."""
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)] if ordered else None


def spread(values: Iterable[int]) -> Spread:
    """Percentiles and the longest of durations; one below 0 (a clock was wrong) counts as 0."""
    ordered = sorted(max(0, value) for value in values)
    return Spread(
        len(ordered), percentile(ordered, 50), percentile(ordered, 90), percentile(ordered, 95),
        ordered[-1] if ordered else None,
    )  # fmt: skip


def share(part: float, whole: float) -> float | None:
    """A part of a whole, from 0 to 1; None when there is no whole."""
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


def mean(shares: Iterable[float | None]) -> float | None:
    """The mean of those that are known, None when none is."""
    known = [each for each in shares if each is not None]
    return sum(known) / len(known) if known else None


def is_false(remark: str, cause: str | None) -> bool:
    """Whether somebody said that an alarm was false: in its incident's cause, or when clearing it where it had none."""
    said = remark if cause is None else cause
    return said.strip().lower().startswith(FALSE_MARKS)


def hour_matrix(times_ms: Iterable[int], zone: ZoneInfo) -> list[list[int]]:
    """How many times fall into each hour of each weekday in a zone; Monday first. Years are 1 to 9999."""
    matrix = [[0] * 24 for _ in range(7)]
    for ms in times_ms:
        try:
            local = datetime.fromtimestamp(ms / 1000, zone)
        except (ValueError, OverflowError):  # a clock that no calendar follows
            continue
        matrix[local.weekday()][local.hour] += 1
    return matrix


def union_ms(spans: Iterable[tuple[int, int]], from_ms: int, to_ms: int) -> int:
    """How much of a period is covered by spans that may overlap."""
    covered = 0
    reached = from_ms
    for begin, end in sorted(spans):
        begins, ends = max(begin, reached), min(end, to_ms)
        if ends > begins:
            covered += ends - begins
            reached = ends
    return covered


class Settled(NamedTuple):
    """What a node of the tree says of the people who live there. settlement: None when it says nothing."""

    path: str
    population: int | None
    settlement: str | None


def required_members(tree: Sequence[Settled], path: str, inherited: str | None) -> tuple[int, float]:
    """The people of a node and the members due for them.

    A node's own population counts by its settlement (its own, else that of the nearest node above, else urban); a node
    without one is the sum of the nodes directly below.
    """
    own = next((node for node in tree if node.path == path), Settled(path, None, None))
    settlement = own.settlement or inherited
    if own.population is not None:
        return own.population, own.population * TARGETS.get(settlement or "urban", TARGETS["urban"]) / PER
    people, due = 0, 0.0
    for node in tree:
        if node.path != path and node.path.startswith(path) and node.path[len(path) :].count("/") == 1:
            more_people, more_due = required_members(
                [each for each in tree if each.path.startswith(node.path)], node.path, settlement
            )
            people, due = people + more_people, due + more_due
    return people, due


def child_of(node: str, path: str) -> str | None:
    """The unit directly below a node that a path lies in; None when it belongs to the node itself or elsewhere."""
    if not path.startswith(node) or path == node:
        return None
    return node + path[len(node) :].partition("/")[0] + "/"


class Ranked(NamedTuple):
    """A unit's place; None when nothing is known of it."""

    unit: str
    score: float | None
    place: int | None


def rank(shares: Mapping[str, Iterable[float | None]], incidents: Mapping[str, int]) -> list[Ranked]:
    """Units, worst first. Scores are compared to a tenth of a percent.

    Equal ones share a place and are listed by more incidents first, then by path.
    """
    scores = {unit: mean(known) for unit, known in shares.items()}
    rounded = {unit: None if score is None else round(score, 3) for unit, score in scores.items()}

    def order(unit: str) -> tuple[bool, float, int, str]:
        score = rounded[unit]
        return score is None, score or 0.0, -incidents.get(unit, 0), unit

    listed: list[Ranked] = []
    for number, unit in enumerate(sorted(rounded, key=order), 1):
        score = rounded[unit]
        same = listed and listed[-1].score == score
        listed.append(Ranked(unit, score, None if score is None else listed[-1].place if same else number))
    return listed


def to_follow_up(ranked: Sequence[Ranked]) -> list[str]:
    """The units to be followed up: the worst three at most, of those below 90 percent."""
    bad = [each.unit for each in ranked if each.score is not None and each.score < FOLLOW_UP_BELOW]
    return bad[:FOLLOW_UPS]


def most(counts: Mapping[str, int], limit: int) -> list[tuple[str, int]]:
    """The largest counts, largest first, equal ones by name."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
