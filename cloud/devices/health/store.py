"""The tables of fleet health."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import metadata

Name: Final = sa.String(64)


def _gateway() -> sa.Column[str]:
    return sa.Column("gateway", Name, sa.ForeignKey("gateways.id", ondelete="CASCADE"), primary_key=True)


vitals: Final = sa.Table(
    "health_vitals",
    metadata,
    _gateway(),
    sa.Column("told_at", sa.BigInteger, nullable=False),
    sa.Column("told", sa.Text, nullable=False),
    sa.Column("unsynced_since", sa.BigInteger),
    sa.Column("synced_since", sa.BigInteger),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("judged_at", sa.BigInteger),
)
"""What a gateway last told of its machine, and how it was judged. Exactly one of unsynced_since and synced_since is
set. reasons: the measures that are not good, the worst first, as JSON."""

line: Final = sa.Table(
    "health_line",
    metadata,
    _gateway(),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("online", sa.Boolean, nullable=False),
)
"""When gateways came and went."""

days: Final = sa.Table(
    "health_days",
    metadata,
    _gateway(),
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("written", sa.BigInteger, nullable=False),
    sa.Column("budget", sa.BigInteger, nullable=False),
)
"""Bytes written to a gateway's disk by day (days since 1970, UTC) as it counted them."""

starts: Final = sa.Table(
    "health_starts",
    metadata,
    _gateway(),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
"""Starts of gateways' agents and why they were needed."""
