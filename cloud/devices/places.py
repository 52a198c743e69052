"""Where things belong: what other folders may know of a gateway or a device without its views."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.devices.store import devices, gateways
from cloud.org.rules import ROOT

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


class Place(NamedTuple):
    """The organisation node and the location of a gateway or a device; profile is empty for a gateway."""

    node: str
    location: str
    profile: str = ""


def place_of(tx: Connection, gateway: str, device: str) -> Place:
    """The place of a device, or of the gateway when `device` is empty or not known yet."""
    if device:
        wanted = sa.select(devices.c.node, devices.c.location, devices.c.profile)
        row = tx.execute(wanted.where(devices.c.gateway == gateway, devices.c.id == device)).first()
        if row:
            return Place(*row)
    own = tx.execute(sa.select(gateways.c.node, gateways.c.location).where(gateways.c.id == gateway)).first()
    return Place(*own) if own else Place(ROOT, "")


def gateway_node(tx: Connection, gateway: str) -> str | None:
    """The organisation node of a gateway, None when it is not known."""
    node: str | None = tx.execute(sa.select(gateways.c.node).where(gateways.c.id == gateway)).scalar()
    return node


def gateway_nodes(tx: Connection) -> dict[str, str]:
    """The organisation node of every gateway."""
    return {row.id: row.node for row in tx.execute(sa.select(gateways.c.id, gateways.c.node))}


def known_place(tx: Connection, gateway: str, device: str = "") -> Place | None:
    """The place of a gateway, or of one of its devices; None when there is no such thing."""
    wanted = sa.select(devices.c.id).where(devices.c.gateway == gateway, devices.c.id == device)
    if not device:
        wanted = sa.select(gateways.c.id).where(gateways.c.id == gateway)
    return place_of(tx, gateway, device) if tx.execute(wanted).first() else None


def hearing(tx: Connection) -> tuple[int, int | None]:
    """How many gateways are online, and when any gateway was last heard."""
    online = sa.func.coalesce(sa.func.sum(sa.case((gateways.c.online, 1), else_=0)), 0)
    count, newest = tx.execute(sa.select(online, sa.func.max(gateways.c.heard_at))).one()
    return int(count), newest


def hold(tx: Connection, gateway: str) -> None:
    """Take the gateway's row: changes of one gateway's state then happen one after the other."""
    tx.execute(sa.select(gateways.c.id).where(gateways.c.id == gateway).with_for_update(key_share=True))


def hold_free(tx: Connection, names: Collection[str]) -> set[str]:
    """Take the rows of gateways that nobody else has. Gives those that somebody has: it waits for none of them."""
    wanted = sa.select(gateways.c.id).where(gateways.c.id.in_(names))
    held = tx.execute(wanted.with_for_update(key_share=True, skip_locked=True)).scalars().all()
    return set(tx.execute(wanted).scalars()).difference(held)


def touch(tx: Connection, gateway: str, device: str, now_ms: int) -> None:
    """Mark a device (or gateway) as changed, so that live views show it."""
    if device:
        where = (devices.c.gateway == gateway, devices.c.id == device)
        tx.execute(devices.update().where(*where).values(touched_at=now_ms))
    tx.execute(gateways.update().where(gateways.c.id == gateway).values(touched_at=now_ms))
