"""What a review needs to know of the fleet: whom to account for, and the loss ledgers.

Owns the reading. The fleet is taken as it is now; when its things were silent is told by the alarms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.devices.store import devices, gateways
from cloud.ingest import service as ingest

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Thing(NamedTuple):
    """A device, or with an empty id a gateway. since: when it became known."""

    gateway: str
    id: str
    node: str
    since: int


class Ledger(NamedTuple):
    """Readings accounted for; late is a part of received."""

    received: int
    late: int
    thinned: int
    lost: int


class FleetFigures(NamedTuple):
    """gateways: those of the node. ledgers: readings by gateway; days of arrival in UTC that begin in the period."""

    devices: list[Thing]
    gateways: list[Thing]
    ledgers: dict[str, Ledger]


def figures(tx: Connection, node: str, from_ms: int, to_ms: int) -> FleetFigures:
    """The fleet of a node and what is below it that was known before the end of a period."""
    mine = (devices.c.node.startswith(node, autoescape=True), devices.c.created_at < to_ms)
    wanted = sa.select(devices.c.gateway, devices.c.id, devices.c.node, devices.c.created_at).where(*mine)
    served = [Thing(*row) for row in tx.execute(wanted.order_by(devices.c.gateway, devices.c.id))]
    ours = (gateways.c.node.startswith(node, autoescape=True), gateways.c.added_at < to_ms)
    owned = sa.select(gateways.c.id, gateways.c.node, gateways.c.added_at).where(*ours).order_by(gateways.c.id)
    known = [Thing(row.id, "", row.node, row.added_at) for row in tx.execute(owned)]
    names = {thing.gateway for thing in (*known, *served)}
    tallies = ingest.ledger_between(tx, names, from_ms, to_ms)
    ledgers = {gateway: Ledger(t.received, t.late, t.thinned, t.lost) for gateway, t in tallies.items()}
    return FleetFigures(served, known, ledgers)
