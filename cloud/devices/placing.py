"""Where gateways and devices belong: putting them at nodes.

Owns `device_places`, which outlives what a gateway reports: a device that is named before the gateway ever reported it,
or that it reports again after a while, gets its node when it appears. A device without a place of its own belongs where
its gateway belongs. Open alarms of what is moved move along; what is over stays where it happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError

from cloud.alerts import moving
from cloud.db import insert
from cloud.devices import states, views
from cloud.devices.models import PlaceEntry
from cloud.devices.places import hold
from cloud.devices.store import device_places, devices, gateways
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.importing import IMPORTERS, fault
from cloud.org import audit, tree
from cloud.org.rules import Permission, Principal, scope, visible
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


class Point(NamedTuple):
    """A point on WGS-84."""

    lat: float
    lon: float


def place(  # noqa: PLR0917 - what, where to, when
    tx: Connection, actor: Principal, gateway: str, device: str | None, node: str | None, now_ms: int,
    point: Point | None = None,
) -> bool:  # fmt: skip
    """Put a gateway, and its devices that have no place of their own, or one device at a node.

    node: a path; None lets a device belong where its gateway does. point: where exactly a device is.

    Gives whether anything changed. Raises Forbidden, NotFound, Invalid.
    """
    tree.may_administer(actor)
    return _place(tx, actor, gateway, device, node, now_ms, point)


def place_adopted(  # noqa: PLR0917 - the same
    tx: Connection, actor: Principal, gateway: str, device: str, node: str, now_ms: int, point: Point | None = None
) -> bool:  # fmt: skip
    """Say where a device belongs that was just adopted: who may adopt it may say so. Raises as `place` does."""
    if not actor.may(Permission.PROVISION):
        raise Forbidden(f"role {actor.role} may not {Permission.PROVISION}")
    return _place(tx, actor, gateway, device, node, now_ms, point)


def _place(  # noqa: PLR0917 - the same
    tx: Connection, actor: Principal, gateway: str, device: str | None, node: str | None, now_ms: int,
    point: Point | None,
) -> bool:  # fmt: skip
    hold(tx, gateway)
    mine = sa.select(gateways.c.node).where(gateways.c.id == gateway, scope(actor, gateways.c.node))
    home = tx.execute(mine).scalar()
    if home is None and device is not None:
        home = _foreign_home(tx, actor, gateway, device)
    if home is None:
        raise NotFound(f"gateway {clean(gateway, 64)}: not found")
    if node is not None:
        tree.get_node(tx, actor, node, hold=True)
    if device is not None:
        return _place_device(tx, actor, (gateway, device), node, point, home, now_ms)
    if node is None:
        raise Invalid("node: a gateway belongs somewhere")
    if node == home:
        return False
    tx.execute(gateways.update().where(gateways.c.id == gateway).values(node=node, touched_at=now_ms))
    placed = sa.select(device_places.c.device).where(device_places.c.gateway == gateway)
    follow = (devices.c.gateway == gateway, devices.c.id.not_in(placed))
    moved = tx.execute(devices.update().where(*follow).values(node=node, touched_at=now_ms).returning(devices.c.id))
    _moved(tx, actor, gateway, ["", *moved.scalars()], node=node, now_ms=now_ms)
    return True


def _foreign_home(tx: Connection, actor: Principal, gateway: str, device: str) -> str | None:
    """The node of a gateway that lies outside, when its device lies within the actor's scope."""
    joined = sa.select(gateways.c.node).join(devices, devices.c.gateway == gateways.c.id)
    mine = (devices.c.gateway == gateway, devices.c.id == device, scope(actor, devices.c.node))
    home: str | None = tx.execute(joined.where(*mine)).scalar()
    return home


def _place_device(  # noqa: PLR0917 - the same
    tx: Connection, actor: Principal, key: tuple[str, str], node: str | None, point: Point | None, home: str,
    now_ms: int,
) -> bool:  # fmt: skip
    gateway, device = key
    there = (devices.c.gateway == gateway, devices.c.id == device)
    at = tx.execute(sa.select(devices.c.node).where(*there)).scalar()
    own = (device_places.c.gateway == gateway, device_places.c.device == device)
    had = tx.execute(sa.select(device_places).where(*own)).first()
    if (at is not None and not visible(actor, at)) or (at is None and had and not visible(actor, had.node)):
        raise NotFound(f"device {clean(gateway, 64)}/{clean(device, 64)}: not found")
    if node is None and not visible(actor, home):
        raise Invalid("node: its gateway belongs to nobody here")
    wish = None if node is None else (node, point.lat if point else None, point.lon if point else None)
    if wish == (None if had is None else (had.node, had.lat, had.lon)):
        return False
    if wish is None:
        tx.execute(device_places.delete().where(*own))
    else:
        values = {"node": wish[0], "lat": wish[1], "lon": wish[2]}
        put = insert(tx, device_places).values(gateway=gateway, device=device, **values)
        tx.execute(put.on_conflict_do_update(index_elements=["gateway", "device"], set_=values))
    goes_to = home if node is None else node
    if at is not None and at != goes_to:
        tx.execute(devices.update().where(*there).values(node=goes_to, touched_at=now_ms))
    _moved(tx, actor, gateway, [device], node=goes_to, now_ms=now_ms)
    return True


def _moved(
    tx: Connection, actor: Principal, gateway: str, names: Collection[str], *, node: str, now_ms: int
) -> None:  # fmt: skip
    moving.move(tx, gateway, names, node, now_ms)
    views.announce_gateway(tx, gateway, now_ms)
    what = f"gateway/{gateway}" if "" in names else f"device/{gateway}/{next(iter(names))}"
    audit.record(tx, actor, "place", what, at=now_ms, detail=node)


def nodes_of(tx: Connection, gateway: str, names: Collection[str]) -> dict[str, str]:
    """The nodes of those devices that have a place of their own."""
    wanted = sa.select(device_places.c.device, device_places.c.node).where(device_places.c.gateway == gateway)
    return {row.device: row.node for row in tx.execute(wanted) if row.device in names}


class Standing(NamedTuple):
    """A device where it belongs, and how it is. lat, lon: of its own, else None."""

    gateway: str
    device: str
    node: str
    lat: float | None
    lon: float | None
    state: str


def standing(tx: Connection, principal: Principal, at: Collection[str] | None = None) -> list[Standing]:
    """Every device within scope. at: only those at exactly these nodes, and those with a point of their own."""
    own = sa.and_(device_places.c.gateway == devices.c.gateway, device_places.c.device == devices.c.id)
    wanted = sa.select(devices.c.gateway, devices.c.id, devices.c.node, device_places.c.lat, device_places.c.lon)
    wanted = wanted.join_from(devices, gateways, gateways.c.id == devices.c.gateway).outerjoin(device_places, own)
    if at is not None:
        wanted = wanted.where(sa.or_(devices.c.node.in_(at), device_places.c.lat.is_not(None)))
    judged, state = states.judged(wanted.where(scope(principal, devices.c.node)))
    return [Standing(*row) for row in tx.execute(judged.add_columns(state))]


def count_by_node(tx: Connection, principal: Principal) -> dict[str, int]:
    """How many devices there are at exactly each node within scope."""
    counted = sa.select(devices.c.node, sa.func.count()).where(scope(principal, devices.c.node))
    return {node: int(count) for node, count in tx.execute(counted.group_by(devices.c.node))}


def at_node(tx: Connection, principal: Principal, node: str, limit: int = 200) -> list[tuple[str, str]]:
    """The gateways, each with an empty device, and the devices at exactly a node, by name, at most so many of each."""
    lines = sa.select(gateways.c.id).where(gateways.c.node == node, scope(principal, gateways.c.node))
    found = [(gateway, "") for gateway in tx.execute(lines.order_by(gateways.c.id).limit(limit)).scalars()]
    here = sa.select(devices.c.gateway, devices.c.id).where(devices.c.node == node, scope(principal, devices.c.node))
    return found + [(row.gateway, row.id) for row in tx.execute(here.order_by(*here.selected_columns).limit(limit))]


def _section(tx: Connection, actor: Principal, tables: list[dict[str, Any]], now_ms: int) -> int:
    """The `places` section; how many were moved. Gateways first, so that their devices' own places stand."""
    entries = []
    for number, table in enumerate(tables, 1):
        try:
            entries.append((f"places[{number}]", PlaceEntry.model_validate(table)))
        except ValidationError as e:
            raise fault(f"places[{number}]", e) from e
    moved = 0
    for where, entry in sorted(entries, key=lambda pair: pair[1].device is not None):
        try:
            node = tree.find_code(tx, actor, entry.node).path
            point = None if entry.lat is None or entry.lon is None else Point(entry.lat, entry.lon)
            moved += place(tx, actor, entry.gateway, entry.device, node, now_ms, point)
        except (NotFound, Invalid) as e:
            raise type(e)(f"{where}: {e}") from e
    return moved


tree.OCCUPANTS["gateways"] = tree.counting(gateways)
tree.OCCUPANTS["devices"] = tree.counting(devices)
tree.OCCUPANTS["placements"] = tree.counting(device_places)
IMPORTERS["places"] = _section
