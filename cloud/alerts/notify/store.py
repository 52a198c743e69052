"""The tables of notifications."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
"""Of an organisation node."""

channels: Final = sa.Table(
    "channels",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("secret", sa.Text),
    sa.Column("mask", sa.Text, nullable=False),
    sa.Column("language", sa.String(2), nullable=False),
    sa.Column("audience", sa.Text, nullable=False),
    sa.Column("min_severity", sa.String(16), nullable=False),
    sa.Column("sandbox", sa.Boolean, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("rate", sa.Integer, nullable=False),
    sa.Column("failing_since", sa.BigInteger),
    sa.Column("last_ok_at", sa.BigInteger),
    sa.Column("last_error", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.UniqueConstraint("node", "name"),
    sqlite_autoincrement=True,
)
"""kind: `apprise` or `webhook`. target and secret are sealed with the key in the data folder and never shown; mask is
what may be shown of the target. audience: JSON list of roles, or of `user:<name>`. sandbox: drills go here, and only
drills. rate: messages a minute; beyond, those that are not urgent go as one. failing_since: NULL while it works."""

deliveries: Final = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("channel", sa.BigInteger, nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("node", Path, nullable=False),
    sa.Column("subject", sa.String(16), nullable=False),
    sa.Column("subject_id", sa.BigInteger, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("urgent", sa.Boolean, nullable=False),
    sa.Column("drill", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("next_at", sa.BigInteger, index=True),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("receipt", sa.Text, nullable=False),
    sa.Column("tried_at", sa.BigInteger),
    sa.Column("bundle", sa.Boolean, nullable=False),
    sa.Column("digest", sa.BigInteger),
    sa.UniqueConstraint("channel", "key"),
    sa.Index("ix_deliveries_channel_tried_at", "channel", "tried_at"),
    sa.Index("ix_deliveries_channel_created_at", "channel", "created_at"),
    sa.Index("ix_deliveries_subject", "subject", "subject_id"),
    sa.Index("ix_deliveries_digest", "digest"),
    sqlite_autoincrement=True,
)
"""One message to one channel. key: what makes a repeat of it the same. status: waiting, sent, failed, digested.
receipt: what the other side answered, or why it failed. next_at: when to try, NULL when it has ended; while somebody
sends it, when that is taken to have died. tried_at: the last try, and the mark of who made it. bundle: it comes and
goes, so it waits for others and goes with them. digest: the delivery that lists it."""
