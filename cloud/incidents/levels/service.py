"""What other folders may do with response levels: which is in force and what it demands."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Policy(NamedTuple):
    """What a level demands, in percent of what holds at level 4."""

    headcount_percent: int
    revisit_percent: int
    reporting_s: int
    escalation_percent: int


def effective(tx: Connection, node: str, now_ms: int) -> int:
    """The response level in force at a node."""
    del tx, node, now_ms
    return 4


def policy(tx: Connection, node: str, level: int) -> Policy:
    """What a level demands at a node."""
    del tx, node, level
    return Policy(100, 100, 300, 100)
