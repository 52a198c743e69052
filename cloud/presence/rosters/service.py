"""What other folders may do with rosters: who is on shift, what they carry, whose position may be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.org import audit
from cloud.org.rules import ROOT, Principal
from cloud.presence.rosters.store import equipment, looks, members, shifts

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


class Duty(NamedTuple):
    """A shift that runs."""

    shift: int
    member: int
    call_sign: str
    node: str
    post: int | None
    route: int | None
    starts_at: int
    ends_at: int


def on_duty(tx: Connection, at_ms: int, below: str = ROOT) -> list[Duty]:
    """Who is on shift at a time, below a node."""
    columns = (
        shifts.c.id, shifts.c.member, members.c.call_sign, shifts.c.node, shifts.c.post, shifts.c.route,
        shifts.c.starts_at, shifts.c.ends_at,
    )  # fmt: skip
    wanted = (
        sa.select(*columns)
        .join(members, members.c.id == shifts.c.member)
        .where(
            shifts.c.node.startswith(below, autoescape=True), shifts.c.starts_at <= at_ms, shifts.c.ends_at > at_ms,
            shifts.c.ended_at.is_(None),
        )
    )  # fmt: skip
    return [Duty(*row) for row in tx.execute(wanted.order_by(shifts.c.id))]


def member_names(tx: Connection, ids: Collection[int]) -> dict[int, str]:
    """Call signs by member."""
    wanted = sa.select(members.c.id, members.c.call_sign).where(members.c.id.in_(ids))
    return {int(member): str(call_sign) for member, call_sign in tx.execute(wanted)}


def look(tx: Connection, viewer: Principal, members: Collection[int], what: str, now_ms: int) -> None:
    """Record that somebody looked at where members are."""
    for member in members:
        tx.execute(looks.insert().values(member=member, at=now_ms, viewer=viewer.label, what=what))
        audit.record(tx, viewer, "position.look", f"member/{member}", at=now_ms, detail=what)


def holder(tx: Connection, gateway: str, device: str, at_ms: int) -> Duty | None:
    """Who carries a device at a time, by shift."""
    mine = sa.select(equipment.c.id).where(equipment.c.gateway == gateway, equipment.c.device == device)
    carried = sa.or_(shifts.c.armband.in_(mine), shifts.c.radio.in_(mine))
    found = set(tx.execute(sa.select(shifts.c.id).where(carried)).scalars())
    return next((duty for duty in on_duty(tx, at_ms) if duty.shift in found), None)


def carried(tx: Connection) -> set[tuple[str, str]]:
    """The devices that members carry."""
    wanted = sa.select(equipment.c.gateway, equipment.c.device).where(equipment.c.kind.in_(("armband", "radio")))
    return {(row.gateway, row.device) for row in tx.execute(wanted)}
