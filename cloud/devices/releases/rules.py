"""When signed metadata is to be renewed, and when its end is near enough to alarm. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

DAY_MS: Final = 86_400_000
ROLES: Final = ("root", "targets", "snapshot", "timestamp")
OFFLINE: Final = frozenset({"root", "targets"})
"""Roles whose keys are with people: their renewal needs a ceremony."""


class Lifetimes(NamedTuple):
    """How long each role's metadata is good for, in milliseconds."""

    root: int
    targets: int
    snapshot: int
    timestamp: int

    def of(self, role: str) -> int:
        """That of a role."""
        return int(getattr(self, role))


def renewal_due(expires_ms: int, lifetime_ms: int, now_ms: int) -> bool:
    """Whether an online role's metadata is to be signed again: half of its life is over."""
    return now_ms >= expires_ms - lifetime_ms // 2


def renewal_failed(expires_ms: int, lifetime_ms: int, now_ms: int) -> bool:
    """Whether an online role's metadata should have been renewed long ago: less than a quarter of its life is left."""
    return now_ms >= expires_ms - lifetime_ms // 4


def ending(expires_ms: int, lifetime_ms: int, now_ms: int) -> bool:
    """Whether people have to come with their keys: less than a sixth of an offline role's life is left."""
    return now_ms >= expires_ms - lifetime_ms // 6


def days_left(expires_ms: int, now_ms: int) -> float:
    """Days until it expires, with one digit, negative once it has."""
    return round((expires_ms - now_ms) / DAY_MS, 1)


def utc(ms: int) -> datetime:
    """Milliseconds UTC as signed metadata has times: whole seconds."""
    return datetime.fromtimestamp(ms // 1000, UTC)
