"""Which response level is in force, and what a level may demand. Pure.

Owns the rules of levels 4 (routine) to 1 (strictest):

- A declaration is in force from its start, or its approval when that was later, until its end or until it was ended.
  Time alone decides; nothing has to happen for it to expire.
- A node's effective level is the strictest in force on the path from the root to it. So it is never laxer than that
  of a node above, and a lower unit cannot declare what is laxer than what is in force above it.
- What a level demands never gets laxer as levels get stricter, in any column. The percentages are of what holds at
  level 4, so they are 100 there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STRICTEST: Final = 1
ROUTINE: Final = 4
LEVELS: Final = (4, 3, 2, 1)
DAY_MS: Final = 86_400_000
MAX_MS: Final = 30 * DAY_MS
"""A declaration's longest time; then it is renewed, which is decided anew."""


class Declared(NamedTuple):
    """What the rules need to know of an approved declaration. begins, ends: when it is in force, ends excluded."""

    node: str
    level: int
    begins: int
    ends: int
    id: int = 0


class Policy(NamedTuple):
    """What a level demands.

    headcount_percent, revisit_percent, escalation_percent: of the headcounts, revisit intervals and escalation times of
    level 4. reporting_s: longest time between two readings of a metric that the gateways keep.
    """

    headcount_percent: int
    revisit_percent: int
    reporting_s: int
    escalation_percent: int


BUILT_IN: Final[Mapping[int, Policy]] = {
    4: Policy(100, 100, 300, 100),
    3: Policy(120, 80, 120, 80),
    2: Policy(150, 60, 60, 60),
    1: Policy(200, 40, 30, 40),
}
"""What holds where no policy was set."""
RISING: Final = frozenset({"headcount_percent"})
"""Columns in which more is stricter; in the others less is."""


def in_force(declared: Declared, now_ms: int) -> bool:
    """Whether a declaration counts at a time."""
    return declared.begins <= now_ms < declared.ends


def strictest(path: Iterable[Declared], now_ms: int) -> Declared | None:
    """Which of the declarations on a node's path decides its level; None when it is routine.

    Among equals the one declared highest in the tree, then the one that lasts longest, then the earliest made.
    """
    found = [declared for declared in path if in_force(declared, now_ms) and declared.level < ROUTINE]
    return min(found, key=lambda d: (d.level, len(d.node), -d.ends, d.id), default=None)


def effective(path: Iterable[Declared], now_ms: int) -> int:
    """The level of a node, given the declarations for it and for the nodes above it, in any order."""
    decides = strictest(path, now_ms)
    return decides.level if decides else ROUTINE


def laxer_than(level: int, above: Iterable[Declared], at_ms: int) -> Declared | None:
    """The declaration above a node that forbids a level from a time on; None when the level may be declared."""
    decides = strictest(above, at_ms)
    return decides if decides and decides.level < level else None


def changes(declared: Declared, others: Iterable[Declared], now_ms: int) -> bool:
    """Whether a declaration that begins or ends now can change its node's level. others: the rest of the path.

    One of the same level counts: two that begin at once would else each think that the other had been there before.
    """
    return declared.level <= effective(others, now_ms)


def needs_approval(level: int) -> bool:
    """Whether somebody else must approve a level: all but routine."""
    return level < ROUTINE


def wrong_times(starts_at: int, ends_at: int, now_ms: int) -> str | None:
    """What is wrong with a declaration's times, None when nothing is."""
    if ends_at <= max(starts_at, now_ms):
        return "ends_at: it would be over before it begins"
    if ends_at - max(starts_at, now_ms) > MAX_MS:
        return f"ends_at: a level holds for at most {MAX_MS // DAY_MS} days; renew it then"
    if starts_at > now_ms + 12 * MAX_MS:
        return "starts_at: too far ahead"
    return None


def laxer_column(table: Mapping[int, Policy]) -> tuple[str, int] | None:
    """The first column in which a level is laxer than the one below it, and that level; None when the table is sound.

    table: all four levels. At level 4 a percentage that is not 100 is wrong too.
    """
    for column in Policy._fields:
        if column.endswith("_percent") and getattr(table[ROUTINE], column) != 100:
            return column, ROUTINE
        for level in (3, 2, 1):
            now, before = getattr(table[level], column), getattr(table[level + 1], column)
            if (now < before) if column in RISING else (now > before):
                return column, level
    return None
