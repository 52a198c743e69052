"""Which gateways and devices there are below a node, as a campaign chooses from them.

Owns the queries over the whole fleet that give plain rows instead of views: a hundred thousand of them fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.devices.store import devices, gateways
from cloud.org.rules import Principal, scope

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection


class Entry(NamedTuple):
    """A gateway, with an empty device and profile, or a device."""

    gateway: str
    device: str
    node: str
    profile: str
    agent_version: str
    online: bool


def gateways_below(tx: Connection, principal: Principal, node: str) -> list[Entry]:
    """The gateways within scope at and below a node, by name."""
    c = gateways.c
    wanted = sa.select(c.id, c.node, c.agent_version, c.online)
    wanted = wanted.where(scope(principal, c.node), c.node.startswith(node, autoescape=True)).order_by(c.id)
    return [Entry(row.id, "", row.node, "", row.agent_version, bool(row.online)) for row in tx.execute(wanted)]


def devices_below(tx: Connection, principal: Principal, node: str) -> list[Entry]:
    """The devices within scope at and below a node, by gateway and name."""
    c = devices.c
    wanted = sa.select(c.gateway, c.id, c.node, c.profile, gateways.c.agent_version, gateways.c.online)
    wanted = wanted.join(gateways, gateways.c.id == c.gateway)
    wanted = wanted.where(scope(principal, c.node), c.node.startswith(node, autoescape=True)).order_by(c.gateway, c.id)
    return [Entry(*row[:5], online=bool(row.online)) for row in tx.execute(wanted)]


def serving(tx: Connection, principal: Principal, profile: str) -> set[str]:
    """The gateways that serve a device of a profile within scope."""
    wanted = sa.select(devices.c.gateway).where(devices.c.profile == profile, scope(principal, devices.c.node))
    return set(tx.execute(wanted.distinct()).scalars())


def online(gateway: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the gateway that a column names is online."""
    return sa.exists().where(gateways.c.id == gateway, gateways.c.online)
