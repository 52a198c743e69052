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
    sa.Column("silence", sa.BigInteger),
    sa.Column("maintenance", sa.BigInteger),
    sa.Column("inhibited_by", sa.BigInteger),
    sa.Column("group_key", sa.Text),
    sa.Column("flap", sa.Float, nullable=False, server_default="0"),
    sa.Column("flapping", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("quiet", sa.String(16), nullable=False, server_default=sa.text("''")),
    sa.Column("round", sa.Integer, nullable=False, server_default="0"),
    sa.Column("escalation", sa.Integer, nullable=False, server_default="0"),
    sa.Column("drill_id", sa.BigInteger),
    sa.UniqueConstraint("gateway", "occurrence"),
    sa.Index("ix_alarms_raised_at_id", "raised_at", "id"),
    sa.Index("ix_alarms_family", "gateway", "device", "kind", "rank"),
    sa.Index("ix_alarms_folded_into", "folded_into"),
    sa.Index("ix_alarms_cleared_at", "cleared_at"),
    sa.Index("ix_alarms_group_key", "group_key"),
    sqlite_autoincrement=True,
)
"""One row an occurrence. open_key: `gateway|device|kind` of the one that stands for its kind, else NULL: the unique
index is what makes a second open alarm impossible. rank: the raise's place in the gateway's order, NULL until the
raise came. folded_into: the open alarm that stands for this one. silence, maintenance: what covers it. inhibited_by:
the alarm whose cause explains this one. quiet: why it tells nobody (`rules.Why`), empty when it does. group_key: alarms
that belong together. flap, flapping: how often it comes and goes. round: how often telling began anew; escalation: the
tellings of this round. drill_id: the drill it belongs to."""

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

silences: Final = sa.Table(
    "silences",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("node", sa.String(255), nullable=False, index=True),
    sa.Column("gateway", Name),
    sa.Column("device", Name),
    sa.Column("kind", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("starts_at", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("ended_by", sa.Text),
    sqlite_autoincrement=True,
)
"""What tells nobody for a time. purpose: `silence`, which never covers the protected kinds, or `maintenance`, which
marks every alarm of what is being worked on."""

chains: Final = sa.Table(
    "escalation_chains",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", sa.String(255), nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kinds", sa.Text, nullable=False),
    sa.Column("min_severity", sa.String(16), nullable=False),
    sa.Column("steps", sa.Text, nullable=False),
    sa.Column("repeat_s", sa.Integer, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("node", "name"),
    sqlite_autoincrement=True,
)
"""Who is told of an alarm that nobody acknowledges. kinds: JSON list, empty for all. steps: JSON list of
{"after_s", "roles", "up"}: whom to tell after how long, `up` levels further up the tree. repeat_s: the last step is
repeated this often until somebody acknowledges."""
