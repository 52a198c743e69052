"""Which gateways of a simulated fleet fail at what they are ordered, and how. Pure.

A share of them, drawn by a hash of their names and the seed, so that a fleet of the same names always has the same bad
ones. The ways take turns.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Way(StrEnum):
    """How a gateway fails."""

    REFUSED = "refused"
    """It says that it will not."""
    ROLLED_BACK = "rolled-back"
    """It tries, and goes back by itself."""
    SILENT = "silent"
    """It reboots into it and is not heard again."""


ALL: Final = tuple(Way)


def ways_of(text: str) -> tuple[Way, ...]:
    """`refused,silent` as ways. Raises ValueError."""
    try:
        return tuple(Way(part.strip()) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r}: each way is one of {', '.join(ALL)}") from None


def failing(names: Iterable[str], percent: float, ways: Sequence[Way], seed: int = 1) -> dict[str, Way]:
    """The ones that fail, and each one's way: `percent` of all, rounded."""
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    chosen = drawn[: round(len(drawn) * percent / 100)]
    return {name: ways[turn % len(ways)] for turn, name in enumerate(chosen)}
