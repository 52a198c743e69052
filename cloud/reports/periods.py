"""Which periods reviews are of, and when they are due. Pure; a time zone is given.

Owns the calendar: a street has monthly reviews, a town quarterly ones, a district half-yearly ones, each made on the
first day after its period at 02:00 in the node's zone. A period runs from midnight to midnight of that zone.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

DUE_HOUR: Final = 2
MAX_DAYS: Final = 366


class ReviewKind(StrEnum):
    """How often a review is made."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    HALF_YEARLY = "half-yearly"
    ON_DEMAND = "on-demand"


MONTHS: Final = {ReviewKind.MONTHLY: 1, ReviewKind.QUARTERLY: 3, ReviewKind.HALF_YEARLY: 6}
BY_NODE: Final = {
    "street": ReviewKind.MONTHLY, "town": ReviewKind.QUARTERLY, "district": ReviewKind.HALF_YEARLY,
}  # fmt: skip
"""Which kinds of nodes have reviews by themselves."""


class Period(NamedTuple):
    """From a time up to another, in milliseconds UTC."""

    from_ms: int
    to_ms: int


def midnight(day: date, zone: ZoneInfo, hour: int = 0) -> int:
    """When a day, or an hour of it, begins in a zone, in milliseconds UTC."""
    return round(datetime(day.year, day.month, day.day, hour, tzinfo=zone).timestamp() * 1000)


def day_of(ms: int, zone: ZoneInfo) -> date:
    """The day of a time in a zone."""
    return datetime.fromtimestamp(ms / 1000, zone).date()


def days(first: date, last: date, zone: ZoneInfo) -> Period:
    """From the beginning of one day to the end of another."""
    return Period(midnight(first, zone), midnight(last + timedelta(days=1), zone))


def _begin(day: date, months: int) -> date:
    """The first day of the month, quarter or half-year of a day."""
    return date(day.year, (day.month - 1) // months * months + 1, 1)


def _before(day: date, months: int) -> date:
    """The same day, some months earlier."""
    month = day.year * 12 + day.month - 1 - months
    return date(month // 12, month % 12 + 1, 1)


def kind_of(first: date, last: date) -> ReviewKind:
    """What a review of these days is: monthly, quarterly or half-yearly when they are just that of the calendar."""
    for kind, months in MONTHS.items():
        if first == _begin(first, months) and last + timedelta(days=1) == _before(first, -months):
            return kind
    return ReviewKind.ON_DEMAND


def ended_before(kind: ReviewKind, at_ms: int, zone: ZoneInfo) -> Period:
    """The last whole month, quarter or half-year before a time."""
    end = _begin(day_of(at_ms, zone), MONTHS[kind])
    return Period(midnight(_before(end, MONTHS[kind]), zone), midnight(end, zone))


def due_after(kind: ReviewKind, at_ms: int, zone: ZoneInfo) -> int:
    """When the next review is due, later than a time."""
    day = _begin(day_of(at_ms, zone), MONTHS[kind])
    while midnight(day, zone, DUE_HOUR) <= at_ms:
        day = _before(day, -MONTHS[kind])
    return midnight(day, zone, DUE_HOUR)
