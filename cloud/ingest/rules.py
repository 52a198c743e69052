"""Sequence marks: what of a lane has arrived, what is acknowledged, what is lost. Pure.

A mark is a set of sequence numbers and the highest `base` ever told, so packs in any order and any number of times give
the same mark. Seen numbers are kept as ascending ranges. What lies below `base` and was never seen is lost, until it
arrives after all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.errors import PackError

if TYPE_CHECKING:
    from firmware_specs.wire import PackHeader

MAX_SEQUENCE: Final = 2**43
"""Above it there is no order of things (`cloud.order.rank`); at 1,000 readings a second it lasts 278 years."""
MAX_COUNT: Final = 10_000_000
"""Sequence numbers that one pack may cover."""
MAX_RANGES: Final = 1000
"""Beyond so many ranges the two lowest are joined: what was missing between them counts as lost for good."""

Range = tuple[int, int]
"""From and through, both included."""


class Mark(NamedTuple):
    """What is known of one lane of one epoch of one gateway. closed: lost for good between joined ranges."""

    seen: tuple[Range, ...] = ()
    base: int = 1
    closed: int = 0

    @property
    def through(self) -> int:
        """The last number below which nothing is still to come: the acknowledgement."""
        through = self.base - 1
        for low, high in self.seen:
            if low > through + 1:
                break
            through = max(through, high)
        return through

    @property
    def lost(self) -> int:
        """How many numbers below `base` never arrived."""
        seen = sum(min(high, self.base - 1) - low + 1 for low, high in self.seen if low < self.base)
        return self.base - 1 - seen + self.closed

    def has(self, first: int, last: int) -> bool:
        """Whether every number from `first` to `last` was seen."""
        at = bisect_right(self.seen, (first, 2**63)) - 1
        return first > last or (at >= 0 and self.seen[at][1] >= last)

    def missing(self, first: int, last: int) -> list[Range]:
        """The ranges within `first` to `last` that were not seen."""
        found: list[Range] = []
        at = max(0, bisect_right(self.seen, (first, 2**63)) - 1)
        for low, high in self.seen[at:]:
            if high < first:
                continue
            if low > last:
                break
            if low > first:
                found.append((first, low - 1))
            first = high + 1
        if first <= last:
            found.append((first, last))
        return found


def take(mark: Mark, header: PackHeader) -> Mark:
    """The mark after a pack that covers `header.first` to `header.through`."""
    seen, closed = _add(mark.seen, header.first, header.through), mark.closed
    while len(seen) > MAX_RANGES:
        (low, end), (begin, high) = seen[:2]
        closed += begin - end - 1
        seen = ((low, high), *seen[2:])
    return Mark(seen, max(mark.base, header.base), closed)


def _add(seen: tuple[Range, ...], first: int, last: int) -> tuple[Range, ...]:
    if first > last:
        return seen
    begin = bisect_left(seen, (first, 0))
    if begin and seen[begin - 1][1] >= first - 1:
        begin -= 1
    end = begin
    while end < len(seen) and seen[end][0] <= last + 1:
        first, last = min(first, seen[end][0]), max(last, seen[end][1])
        end += 1
    return (*seen[:begin], (first, last), *seen[end:])


def checked_header(header: PackHeader) -> PackHeader:
    """The header itself. Raises PackError when its numbers are beyond what a mark can count."""
    if header.count > MAX_COUNT:
        raise PackError(f"property count: {header.count} sequence numbers, more than {MAX_COUNT}")
    if header.through >= MAX_SEQUENCE:
        raise PackError(f"property first: sequence {header.through} is not below 2^43")
    return header
