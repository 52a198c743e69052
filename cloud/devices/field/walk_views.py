"""Walk tests as views."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.devices.field import rules
from cloud.devices.field.models import WalkDetail, WalkDeviceView, WalkView
from cloud.devices.field.rules import Mark, Proof
from cloud.devices.field.store import walk_devices
from cloud.org.rules import scope
from cloud.paging import at, at_or_none

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection, Row

    from cloud.org.rules import Principal

ORDER: Final = {Mark.WAITING: 0, Mark.FAILED: 1, Mark.UNREACHABLE: 2, Mark.PASSED: 3}


def _values(row: Row[Any], marks: Collection[Mark]) -> dict[str, Any]:
    return {
        "id": row.id, "gateway": row.gateway, "node": row.node, "part": row.part, "started_at": at(row.started_at),
        "started_by": row.started_by, "ends_at": at(row.ends_at), "ended_at": at_or_none(row.ended_at),
        "ended_by": row.ended_by, "active": row.ended_at is None, "storm": row.storm,
        **rules.tally(marks)._asdict(),
    }  # fmt: skip


def views(tx: Connection, who: Principal, rows: Sequence[Row[Any]]) -> list[WalkView]:
    """Walks in numbers, of the devices within scope."""
    c = walk_devices.c
    counted = sa.select(c.walk, c.mark, sa.func.count()).where(c.walk.in_([row.id for row in rows]), scope(who, c.node))
    marks: dict[int, Counter[Mark]] = {row.id: Counter() for row in rows}
    for walk, mark, count in tx.execute(counted.group_by(c.walk, c.mark)):
        marks[walk][Mark(mark)] = count
    return [WalkView(**_values(row, list(marks[row.id].elements()))) for row in rows]


def detail(tx: Connection, who: Principal, row: Row[Any]) -> WalkDetail:
    """A walk with those of its devices that are within scope; those that wait first, then by place."""
    mine = sa.select(walk_devices).where(walk_devices.c.walk == row.id, scope(who, walk_devices.c.node))
    shown = sorted(map(_device, tx.execute(mine)), key=lambda each: (ORDER[each.mark], each.location, each.device))
    return WalkDetail(**_values(row, [each.mark for each in shown]), devices=shown)


def _device(row: Row[Any]) -> WalkDeviceView:
    came = row.observed_at is not None and row.received_at is not None and row.marked_at is not None
    latency = rules.latency_ms(row.observed_at, row.received_at, row.marked_at) if came else None
    shown = (
        rules.latency_ms(row.observed_at, row.received_at, row.shown_at) if came and row.shown_at is not None else None
    )
    return WalkDeviceView(
        device=row.device, profile=row.profile, location=row.location, proof=Proof(row.proof), mark=Mark(row.mark),
        marked_at=at_or_none(row.marked_at), marked_by=row.marked_by, what=row.what, alarm=row.alarm,
        held=row.silence is not None, latency_ms=latency, shown_ms=shown, signal=row.signal, battery=row.battery,
        note=row.note,
    )  # fmt: skip
