"""The tables of response levels."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
"""Of an organisation node."""

declarations: Final = sa.Table(
    "level_declarations",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("level", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("starts_at", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("declared_at", sa.BigInteger, nullable=False),
    sa.Column("declared_by", sa.Text, nullable=False),
    sa.Column("decided_at", sa.BigInteger),
    sa.Column("decided_by", sa.Text),
    sa.Column("decision_note", sa.Text, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("ended_by", sa.Text),
    sa.Column("drill", sa.BigInteger),
    sqlite_autoincrement=True,
)
"""state: pending (awaits approval), approved (in force from starts_at to ends_at), rejected, ended, expired."""

policies: Final = sa.Table(
    "level_policies",
    metadata,
    sa.Column("node", Path, primary_key=True),
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("headcount_percent", sa.Integer, nullable=False),
    sa.Column("revisit_percent", sa.Integer, nullable=False),
    sa.Column("reporting_s", sa.Integer, nullable=False),
    sa.Column("escalation_percent", sa.Integer, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
)
"""What a level demands below a node; the nearest ancestor's row counts, then the built-in one. Percentages of what
holds at level 4. reporting_s: longest time between two readings of a metric that the gateways keep."""

approvers: Final = sa.Table(
    "level_approvers",
    metadata,
    sa.Column("node", Path, primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
)
"""Which role approves levels 3 to 1 below a district; the nearest ancestor's row counts, then supervisor."""
