"""The tables of campaigns."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)


def _campaign() -> sa.ForeignKey:
    return sa.ForeignKey("campaigns.id", ondelete="CASCADE")


campaigns: Final = sa.Table(
    "campaigns",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", sa.String(255), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("choice", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("approved_by", sa.Text),
    sa.Column("approved_at", sa.BigInteger),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("approved_wave", sa.Integer, nullable=False),
    sa.Column("awaits", sa.Integer),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
"""subject, choice, policy: JSON. wave: the one that is open, 0 before the first. approved_wave: the last that may open.
awaits: the wave that somebody must approve. reason, detail: why it is paused. ended_at: when nothing of it was in
flight any more."""

waves: Final = sa.Table(
    "campaign_waves",
    metadata,
    sa.Column("campaign", sa.BigInteger, _campaign(), primary_key=True),
    sa.Column("wave", sa.Integer, primary_key=True),
    sa.Column("opened_at", sa.BigInteger),
    sa.Column("gate_at", sa.BigInteger),
    sa.Column("passed_at", sa.BigInteger),
)
"""gate_at: when the wave has soaked; passed_at: when its gate let the next one open."""

members: Final = sa.Table(
    "campaign_members",
    metadata,
    sa.Column("campaign", sa.BigInteger, _campaign(), primary_key=True),
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("device", Name, primary_key=True),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("deadline_at", sa.BigInteger),
    sa.Column("stopped", sa.Boolean, nullable=False),
    sa.Column("checked", sa.Boolean, nullable=False),
    sa.Column("unhealthy", sa.Boolean, nullable=False),
    sa.Column("forgiven", sa.Boolean, nullable=False),
    sa.Index("ix_campaign_members_tally", "campaign", "wave", "state", "unhealthy", "checked", "forgiven"),
    sa.Index("ix_campaign_members_next", "campaign", "state", "deadline_at", "place"),
    sa.Index("ix_campaign_members_place", "campaign", "place"),
    sa.Index("ix_campaign_members_gateway", "gateway", "state"),
)
"""place: the order within the campaign. The first three indexes count, find who is next, and list, without a look at
the rest of a hundred thousand. stopped: its order was taken back. checked, unhealthy: what its wave's gate
found. forgiven: a failure that was there when somebody resumed; it is not held against the campaign again."""

claims: Final = sa.Table(
    "campaign_claims",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("campaign", sa.BigInteger, _campaign(), nullable=False, index=True),
)
"""Which campaign of a kind has a gateway while it runs: at most one."""

history: Final = sa.Table(
    "campaign_history",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("campaign", sa.BigInteger, _campaign(), nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("what", sa.String(32), nullable=False),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
