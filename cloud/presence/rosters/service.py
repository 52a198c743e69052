"""What other folders may do with rosters: who is on shift, what they carry, whose position may be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloud.org import audit
from cloud.org.rules import ROOT, Principal
from cloud.presence.rosters.store import equipment, looks, members, shifts

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


class Duty(NamedTuple):
    """A shift of a member, as it stands now. ends_at: when it ended, if that was early."""

    shift: int
    member: int
    call_sign: str
    node: str
    post: int | None
    route: int | None
    starts_at: int
    ends_at: int


def _duties() -> sa.Select[Any]:
    ends = sa.case((shifts.c.ended_at < shifts.c.ends_at, shifts.c.ended_at), else_=shifts.c.ends_at)
    return sa.select(
        shifts.c.id, shifts.c.member, members.c.call_sign, shifts.c.node, shifts.c.post, shifts.c.route,
        shifts.c.starts_at, ends.label("ends"),
    ).join(members, members.c.id == shifts.c.member)  # fmt: skip


def on_duty(tx: Connection, at_ms: int, below: str = ROOT) -> list[Duty]:
    """Who is on shift at a time, at or below a node."""
    ended = sa.or_(shifts.c.ended_at.is_(None), shifts.c.ended_at > at_ms)
    now = (shifts.c.starts_at <= at_ms, shifts.c.ends_at > at_ms, ended)
    return [Duty(*row) for row in tx.execute(_duties().where(*now, shifts.c.node.startswith(below, autoescape=True)))]


def holder(tx: Connection, gateway: str, device: str, at_ms: int) -> Duty | None:
    """Who carries a device at a time, by shift."""
    wanted = sa.select(equipment.c.id).where(equipment.c.gateway == gateway, equipment.c.device == device)
    carried_id = tx.execute(wanted).scalar()
    if carried_id is None:
        return None
    ended = sa.or_(shifts.c.ended_at.is_(None), shifts.c.ended_at > at_ms)
    now = (shifts.c.starts_at <= at_ms, shifts.c.ends_at > at_ms, ended)
    mine = sa.or_(shifts.c.armband == carried_id, shifts.c.radio == carried_id)
    row = tx.execute(_duties().where(*now, mine)).first()
    return Duty(*row) if row else None


def carried(tx: Connection) -> set[tuple[str, str]]:
    """Every device that members carry."""
    wanted = sa.select(equipment.c.gateway, equipment.c.device).where(equipment.c.kind.in_(("armband", "radio")))
    return {(row.gateway, row.device) for row in tx.execute(wanted)}


def look(tx: Connection, viewer: Principal, members: Collection[int], what: str, now_ms: int) -> None:
    """Put on record that somebody looked at where members are."""
    rows = [{"member": member, "at": now_ms, "viewer": viewer.label, "what": what} for member in sorted(members)]
    if rows:
        tx.execute(looks.insert(), rows)
        audit.record(tx, viewer, "position.look", what, at=now_ms, detail=f"{len(rows)} members")


def member_names(tx: Connection, ids: Collection[int]) -> dict[int, str]:
    """Call signs by member."""
    wanted = sa.select(members.c.id, members.c.call_sign).where(members.c.id.in_(set(ids)))
    return {row.id: row.call_sign for row in tx.execute(wanted)}
