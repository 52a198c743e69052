"""What other folders may do with response levels: which is in force and what it demands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import Connection

ROUTINE: Final = 4


class Policy(NamedTuple):
    """What a level demands, in percent of what holds at level 4."""

    headcount_percent: int = 100
    revisit_percent: int = 100
    reporting_s: int = 60
    escalation_percent: int = 100


def effective(tx: Connection, node: str, now_ms: int) -> int:
    """The level in force at a node: 1 strictest, 4 routine."""
    del tx, node, now_ms
    return ROUTINE


def policy(tx: Connection, node: str, level: int) -> Policy:
    """What a level demands below a node."""
    del tx, node, level
    return Policy()
