"""When a shift runs, what may not overlap, what a repeating plan means, and how strong a patrol is. Pure.

- A shift runs from its planned start, or from when it was begun if that was earlier, until its planned end, or until it
  was ended. Its member's and its devices' other shifts may touch it and not overlap it.
- A repeating plan is local time in the node's zone: every given weekday from a day on, for whole weeks. An end that is
  not later than the start is on the next day.
- Strength is members on duty per 100,000 people: `on_duty * 100,000 / population`; due are 50 in towns, 30 in the
  country, which makes `ceil(population * target / 100,000)` members.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from zoneinfo import ZoneInfo

    from firmware_specs.carried import Window

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOUR_MS: Final = 3_600_000
MAX_SHIFT_MS: Final = 25 * HOUR_MS
"""A day, also the one on which the clocks are set back."""
EARLY_MS: Final = HOUR_MS
"""How long before its planned start a shift may be begun."""
MAX_WEEKS: Final = 53
TARGETS: Final = {"urban": 50, "rural": 30}
"""Members on duty that are due per 100,000 people."""


class Strength(NamedTuple):
    """How strong the patrol is. basis: the node whose population counts, the nearest upwards that has one.

    population, per_100k, required: None when no node upwards has a population. target: per 100,000 people.
    """

    node: str
    basis: str
    population: int | None
    on_duty: int
    per_100k: float | None
    target: int
    required: int | None

    @property
    def short(self) -> int:
        """How many members more are due, 0 when enough are on duty or it cannot be said."""
        return max(0, (self.required or 0) - self.on_duty)


def runs(starts_at: int, ends_at: int, begun_at: int | None, ended_at: int | None) -> Window:
    """From when until when a shift runs."""
    begins = starts_at if begun_at is None else min(starts_at, begun_at)
    ends = ends_at if ended_at is None else min(ends_at, ended_at)
    return begins, max(begins, ends)


def overlap(one: Window, other: Window) -> bool:
    """Whether two windows have a moment in common."""
    return max(one[0], other[0]) < min(one[1], other[1])


def wrong_times(starts_at: int, ends_at: int) -> str:
    """Why a shift cannot be so, empty when it can."""
    if ends_at <= starts_at:
        return "ends_at: not later than starts_at"
    return "ends_at: more than 25 hours after starts_at" if ends_at - starts_at > MAX_SHIFT_MS else ""


def repeated(day: date, zone: ZoneInfo, begins: time, ends: time, *, days: Collection[str], weeks: int) -> list[Window]:
    """The shifts of a repeating plan, oldest first, from `day` on."""
    found = []
    for ahead in range(7 * weeks):
        on = day + timedelta(days=ahead)
        if DAYS[on.weekday()] in days:
            until = on if ends > begins else on + timedelta(days=1)
            found.append((_ms(on, begins, zone), _ms(until, ends, zone)))
    return found


def _ms(day: date, at: time, zone: ZoneInfo) -> int:
    return round(datetime.combine(day, at, zone).timestamp() * 1000)


def day_of(ms: int, zone: ZoneInfo) -> date:
    """The day of a time in a zone."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone).date()


def strength(node: str, basis: str, population: int | None, on_duty: int, settlement: str | None) -> Strength:
    """The strength of a node; where nobody says which it is, the higher target of towns holds."""
    target = TARGETS.get(settlement or "", TARGETS["urban"])
    if not population:
        return Strength(node, basis, None, on_duty, None, target, None)
    required = -(-population * target // 100_000)
    return Strength(node, basis, population, on_duty, round(on_duty * 100_000 / population, 1), target, required)


def nearest_windows(windows: Sequence[Window], now_ms: int, most: int) -> tuple[Window, ...]:
    """At most so many of ascending windows: those that run or come next, then the latest of those that are over."""
    ahead = [window for window in windows if window[1] > now_ms][:most]
    over = [window for window in windows if window[1] <= now_ms]
    room = most - len(ahead)
    return (*(over[-room:] if room else ()), *ahead)


def spans(times: Iterable[int], apart_ms: int, most: int) -> list[Window]:
    """The times gathered into ranges that lie further apart than that; into one when there would be too many."""
    found: list[Window] = []
    for at in sorted(times):
        if found and at - found[-1][1] <= apart_ms:
            found[-1] = (found[-1][0], at)
        else:
            found.append((at, at))
    return found if len(found) <= most else [(found[0][0], found[-1][1])]
