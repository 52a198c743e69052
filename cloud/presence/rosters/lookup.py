"""What presence asks of the rosters in bulk: duties of a span of time, what stands at posts, whose a pseudonym is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.presence.rosters import duty
from cloud.presence.rosters.duty import ENDS, Duty, running
from cloud.presence.rosters.store import equipment, pseudonyms, shifts
from cloud.presence.store import routes

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


class Fixture(NamedTuple):
    """A device that stands at a post. kind: `terminal` or `door`."""

    kind: str
    post: int


def duties(tx: Connection, from_ms: int, to_ms: int, members_only: Collection[int] | None = None) -> list[Duty]:
    """Every shift that runs at some time of a span, by its number."""
    wanted = duty.selected().where(running(from_ms, to_ms))
    if members_only is not None:
        wanted = wanted.where(shifts.c.member.in_(set(members_only)))
    return [Duty(*row) for row in tx.execute(wanted.order_by(shifts.c.id))]


def route_duties(tx: Connection, longest_ms: int, now_ms: int) -> list[Duty]:
    """The shifts on routes that ran within a revisit interval of their route. longest_ms: of those intervals."""
    wanted = duty.selected().join(routes, routes.c.id == shifts.c.route).where(running(now_ms - longest_ms, now_ms + 1))
    revisit_ms = sa.cast(routes.c.revisit_s, sa.BigInteger) * 1000
    return [Duty(*row) for row in tx.execute(wanted.where(ENDS + revisit_ms > now_ms))]


def carriers(tx: Connection, gateway: str, devices: Collection[str], from_ms: int, to_ms: int) -> dict[str, list[Duty]]:
    """The shifts on which devices of a gateway were carried within a span of time (both included), by device."""
    mine = (equipment.c.gateway == gateway, equipment.c.device.in_(set(devices)))
    worn = sa.or_(shifts.c.armband == equipment.c.id, shifts.c.radio == equipment.c.id)
    wanted = duty.selected(equipment.c.device).join(equipment, worn)
    rows = tx.execute(wanted.where(*mine, running(from_ms, to_ms + 1)))
    found: dict[str, list[Duty]] = {}
    for *shift, device in rows:
        found.setdefault(device, []).append(Duty(*shift))
    return found


def fixtures(tx: Connection, gateway: str, devices: Collection[str]) -> dict[str, Fixture]:
    """Which of a gateway's devices are terminals and doors that stand at a post."""
    mine = (equipment.c.gateway == gateway, equipment.c.device.in_(set(devices)), equipment.c.post.is_not(None))
    wanted = sa.select(equipment).where(
        *mine, equipment.c.archived_at.is_(None), equipment.c.kind.in_(("terminal", "door"))
    )
    return {row.device: Fixture(row.kind, row.post) for row in tx.execute(wanted)}


def members_of(tx: Connection, wanted: Collection[str]) -> dict[str, int]:
    """The members that pseudonyms stand for; one that is nobody's is left out."""
    mine = sa.select(pseudonyms.c.pseudonym, pseudonyms.c.member).where(pseudonyms.c.pseudonym.in_(set(wanted)))
    return {row.pseudonym: row.member for row in tx.execute(mine)}
