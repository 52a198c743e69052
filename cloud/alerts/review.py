"""What a review needs to know of alarms: facts of a node and a period, not yet figures.

Owns the reading. An alarm belongs to the period in which the cloud heard of it, so each is in exactly one, however late
it came; drills are told apart and counted only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from cloud.alerts.store import alarms, history
from cloud.devices.rules import GATEWAY_KIND, SILENT_KIND

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

_CHUNK: Final = 500


class AlarmFact(NamedTuple):
    """One occurrence. by_hand: a person ended it; remark: what they said then."""

    id: int
    node: str
    kind: str
    severity: str
    raised_at: int
    received_at: int
    acknowledged_at: int | None
    cleared_at: int | None
    by_hand: bool
    late: bool
    remark: str = ""


class AlarmFigures(NamedTuple):
    """What was raised, drills left out. drills: how many alarms were drills."""

    alarms: list[AlarmFact]
    drills: int


class Outage(NamedTuple):
    """A silence: of a device, or with `device` empty of the whole gateway. to_ms: None while it lasts."""

    gateway: str
    device: str
    from_ms: int
    to_ms: int | None


def figures(tx: Connection, node: str, from_ms: int, to_ms: int) -> AlarmFigures:
    """The alarms of a node and what is below it that the cloud heard of in a period."""
    c = alarms.c
    period = (c.node.startswith(node, autoescape=True), c.received_at >= from_ms, c.received_at < to_ms)
    real = (*period, c.drill.is_(False), c.drill_id.is_(None))
    wanted = sa.select(
        c.id, c.node, c.kind, c.severity, c.raised_at, c.received_at, c.acknowledged_at, c.cleared_at,
        (sa.func.coalesce(c.clear_reason, "") == "manual").label("by_hand"), c.late,
    )  # fmt: skip
    told = (
        sa.select(history.c.alarm, history.c.detail)
        .join(alarms, c.id == history.c.alarm)
        .where(*real, history.c.action == "cleared", history.c.detail != "")
        .order_by(history.c.id)
    )
    remarks = {row.alarm: row.detail for row in tx.execute(told)}
    found = [
        AlarmFact(**{**row._asdict(), "by_hand": bool(row.by_hand)}, remark=remarks.get(row.id, ""))
        for row in tx.execute(wanted.where(*real).order_by(c.id))
    ]
    every = tx.execute(sa.select(sa.func.count()).select_from(alarms).where(*period)).scalar_one()
    return AlarmFigures(found, every - len(found))


def outages(tx: Connection, gateways: Collection[str], from_ms: int, to_ms: int) -> list[Outage]:
    """When gateways, and devices of theirs, were silent within a period, as the alarms of that say."""
    c = alarms.c
    silent = (
        c.kind.in_((GATEWAY_KIND, SILENT_KIND)), c.raised_at < to_ms,
        sa.or_(c.cleared_at.is_(None), c.cleared_at > from_ms),
    )  # fmt: skip
    names = sorted(gateways)
    found: list[Outage] = []
    for begin in range(0, len(names), _CHUNK):
        of = c.gateway.in_(names[begin : begin + _CHUNK])
        rows = tx.execute(sa.select(c.gateway, c.device, c.raised_at, c.cleared_at).where(of, *silent).order_by(c.id))
        found += [Outage(*row) for row in rows]
    return found
