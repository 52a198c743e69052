"""What other folders may know of alarms beyond their views: where they belong and what keeps them quiet.

Owns the reading of rows for folders that judge by them (incidents, reviews). Knows no principal except where a list
is for somebody to see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.alerts.store import alarms
from cloud.alerts.views import title
from cloud.org.rules import scope
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, Row

    from cloud.org.rules import Principal

MOST: Final = 1000
"""A list for somebody to see gives no more than this."""


class Facts(NamedTuple):
    """An alarm as another folder judges it. title: in Chinese and English. drill_id: None unless a drill is known."""

    id: int
    gateway: str
    device: str
    node: str
    location: str
    kind: str
    title: tuple[str, str]
    severity: Severity
    raised_at: int
    received_at: int
    acknowledged_at: int | None
    cleared_at: int | None
    drill: bool
    drill_id: int | None
    group_key: str | None
    maintenance: int | None
    quiet: str
    """Why it tells nobody, empty when it does."""


def _facts(row: Row[Any]) -> Facts:
    return Facts(
        row.id, row.gateway, row.device, row.node, row.location, row.kind, title(row.kind, row.rule),
        Severity(row.severity), row.raised_at, row.received_at, row.acknowledged_at, row.cleared_at, row.drill,
        row.drill_id, row.group_key, row.maintenance, row.quiet,
    )  # fmt: skip


def facts(tx: Connection, ids: Collection[int]) -> dict[int, Facts]:
    """Facts of alarms by id; what does not exist is left out."""
    if not ids:
        return {}
    return {row.id: _facts(row) for row in tx.execute(sa.select(alarms).where(alarms.c.id.in_(ids)))}


def raised_between(
    tx: Connection, principal: Principal, from_ms: int, to_ms: int, kinds: Collection[str]
) -> list[Facts]:
    """Alarms of some kinds within scope raised in [from, to), newest first, drills and folded ones left out."""
    wanted = sa.select(alarms).where(
        scope(principal, alarms.c.node), alarms.c.raised_at >= from_ms, alarms.c.raised_at < to_ms,
        alarms.c.kind.in_(kinds), alarms.c.drill.is_(False), alarms.c.drill_id.is_(None),
        alarms.c.folded_into.is_(None),
    )  # fmt: skip
    rows = tx.execute(wanted.order_by(alarms.c.raised_at.desc(), alarms.c.id.desc()).limit(MOST))
    return [_facts(row) for row in rows]
