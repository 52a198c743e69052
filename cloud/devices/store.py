"""The tables of the fleet."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import metadata

Name: Final = sa.String(64)

gateways: Final = sa.Table(
    "gateways",
    metadata,
    sa.Column("id", Name, primary_key=True),
    sa.Column("node", sa.String(255), nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("added_at", sa.BigInteger, nullable=False),
    sa.Column("online", sa.Boolean, nullable=False),
    sa.Column("heard_at", sa.BigInteger),
    sa.Column("lease_at", sa.BigInteger),
    sa.Column("changed_at", sa.BigInteger),
    sa.Column("touched_at", sa.BigInteger, nullable=False),
    sa.Column("boot", Name, nullable=False),
    sa.Column("agent_version", sa.Text, nullable=False),
    sa.Column("config_hash", sa.Text, nullable=False),
    sa.Column("config_version", sa.BigInteger, nullable=False),
    sa.Column("clock", sa.String(16), nullable=False),
    sa.Column("degraded", sa.Text, nullable=False),
    sa.Column("lanes", sa.Text, nullable=False),
    sa.Column("connectors", sa.Text, nullable=False),
    sa.Column("counters", sa.Text, nullable=False),
)

devices: Final = sa.Table(
    "devices",
    metadata,
    sa.Column("gateway", Name, sa.ForeignKey("gateways.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("id", Name, primary_key=True),
    sa.Column("node", sa.String(255), nullable=False),
    sa.Column("profile", Name, nullable=False),
    sa.Column("connector", Name, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("heard_at", sa.BigInteger),
    sa.Column("lease_at", sa.BigInteger, nullable=False),
    sa.Column("touched_at", sa.BigInteger, nullable=False),
    sa.Column("silent", sa.Boolean, nullable=False),
)

device_places: Final = sa.Table(
    "device_places",
    metadata,
    sa.Column("gateway", Name, sa.ForeignKey("gateways.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("device", Name, primary_key=True),
    sa.Column("node", sa.String(255), nullable=False, index=True),
    sa.Column("lat", sa.Float),
    sa.Column("lon", sa.Float),
)
"""Where a device belongs by itself, whether its gateway reports it now or not; without a row it belongs where its
gateway does. lat, lon: where exactly, WGS-84."""

latest: Final = sa.Table(
    "latest",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("device", Name, primary_key=True),
    sa.Column("metric", sa.String(32), primary_key=True),
    sa.Column("rank", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("observed_at", sa.BigInteger, nullable=False),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("quality", sa.String(16), nullable=False),
    sa.Column("clock", sa.String(16), nullable=False),
    sa.ForeignKeyConstraint(["gateway", "device"], ["devices.gateway", "devices.id"], ondelete="CASCADE"),
)

deadlines: Final = sa.Table(
    "deadlines",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("device", Name, primary_key=True),
    sa.Column("due_at", sa.BigInteger, nullable=False, index=True),
)
"""Rows survive a restart. `due_at` is when to look, not when to act: a lease may have been renewed since."""

watch: Final = sa.Table(
    "watch",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("alive_at", sa.BigInteger, nullable=False),
)
"""When the cloud itself last watched: leases are not charged for the time in which nobody listened."""
