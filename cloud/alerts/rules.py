"""How occurrences of alarms become the alarms that people see. Pure.

Owns the order-independence of promise D7: whatever order raises and clears come in, and however often, the same rows
result. The rules:

- An occurrence is identified by the gateway's own id for it. Its raise fills it, its clear ends it, in either order.
- Occurrences of one (gateway, device, kind) are a family. Within a family, a later raise of the same rule ends the
  earlier occurrence (`superseded`, at the time of the later raise) unless its own clear is known: the gateway lost its
  state in between. "Later" is by rank, the gateway's own order, never by a clock.
- Of those that remain active, the one with the lowest rank stands for the family and the others are folded into it.
  So two rules of one kind, such as a smoke limit and the detector's own alarm bit, make one alarm at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

WRONG_CLOCK_MS: Final = 86_400_000
"""A device clock that is more than a day away from the gateway's is not believed when lateness is judged."""


class Occurrence(NamedTuple):
    """What the rules need to know of a row. rank: None until the raise came. ended_at: by its own clear or by hand."""

    id: int
    rule: str
    rank: int | None
    raised_at: int
    ended_at: int | None


class Standing(NamedTuple):
    """What the rules make of it. superseded_at: None unless that is what ended it. stands: for its family."""

    superseded_at: int | None
    folded_into: int | None
    stands: bool

    @property
    def active(self) -> bool:
        """Neither ended nor superseded."""
        return self.stands or self.folded_into is not None


def settle(family: Iterable[Occurrence]) -> dict[int, Standing]:
    """The standing of every occurrence of a family, by id."""
    rows = sorted(family, key=lambda o: (o.rank is None, o.rank or 0, o.id), reverse=True)
    following: dict[str, int] = {}
    superseded: dict[int, int] = {}
    active: list[int] = []
    for row in rows:
        if row.ended_at is None:
            if row.rule in following:
                superseded[row.id] = following[row.rule]
            else:
                active.append(row.id)
        if row.rank is not None:
            following[row.rule] = row.raised_at
    first = active[-1] if active else None
    return {
        row.id: Standing(
            superseded.get(row.id), first if row.id in active and row.id != first else None, row.id == first
        )
        for row in rows
    }


def is_late(observed_at: int, received_at: int, now_ms: int, late_ms: int) -> bool:
    """Whether an alarm was too old on arrival. A clock that cannot be right is replaced by the gateway's."""
    believed = observed_at if abs(observed_at - received_at) <= WRONG_CLOCK_MS else received_at
    return now_ms - believed > late_ms


def family_key(gateway: str, device: str, kind: str) -> str:
    """What is unique among the alarms that stand for their family. None of the parts contains `|`."""
    return f"{gateway}|{device}|{kind}"
