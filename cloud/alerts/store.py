"""The tables of alarms."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)

alarms: Final = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("gateway", Name, nullable=False),
    sa.Column("device", Name, nullable=False),
    sa.Column("node", sa.String(255), nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("occurrence", Name, nullable=False),
    sa.Column("open_key", sa.Text, unique=True),
    sa.Column("rank", sa.BigInteger),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("rule_version", sa.Text, nullable=False),
    sa.Column("clock", sa.String(16), nullable=False),
    sa.Column("drill", sa.Boolean, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("raised_at", sa.BigInteger, nullable=False),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("late", sa.Boolean, nullable=False),
    sa.Column("acknowledged_at", sa.BigInteger),
    sa.Column("acknowledged_by", sa.Text),
    sa.Column("cleared_at", sa.BigInteger),
    sa.Column("cleared_by", sa.Text),
    sa.Column("clear_reason", sa.String(16)),
    sa.Column("assigned_to", sa.Text),
    sa.Column("shelved_until", sa.BigInteger),
    sa.Column("shelve_reason", sa.Text),
    sa.Column("folded_into", sa.BigInteger),
    sa.UniqueConstraint("gateway", "occurrence"),
    sa.Index("ix_alarms_raised_at_id", "raised_at", "id"),
    sa.Index("ix_alarms_family", "gateway", "device", "kind", "rank"),
    sa.Index("ix_alarms_folded_into", "folded_into"),
    sa.Index("ix_alarms_cleared_at", "cleared_at"),
    sqlite_autoincrement=True,
)
"""One row an occurrence. open_key: `gateway|device|kind` of the one that stands for its kind, else NULL: the unique
index is what makes a second open alarm impossible. rank: the raise's place in the gateway's order, NULL until the raise
came. folded_into: the open alarm that stands for this one."""

history: Final = sa.Table(
    "alarm_history",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("alarm", sa.BigInteger, nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
