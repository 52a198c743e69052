"""The tables of configuration."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
Hash: Final = sa.String(16)

config_documents: Final = sa.Table(
    "config_documents",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", Hash, nullable=False),
    sa.Column("own", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("trial_s", sa.Integer, nullable=False),
)
"""Every configuration that was ever ordered of a gateway; the highest version is the one wanted. own: what was written
for this gateway alone. text: with the templates of that time, what it runs; hash is of this. They outlive the gateway's
row, since a gateway that comes back still has its last version in force."""

config_states: Final = sa.Table(
    "config_states",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("running_version", sa.BigInteger, nullable=False),
    sa.Column("running_hash", sa.Text, nullable=False),
    sa.Column("told_at", sa.BigInteger, nullable=False),
)
"""What each gateway last told of its configuration. at: by its clock. told_at: by ours."""

config_templates: Final = sa.Table(
    "config_templates",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("key", Path, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("kind", "key", "version"),
    sqlite_autoincrement=True,
)
"""Every version of every template; the highest of a kind and key holds, and an empty one is none. kind: node, type.
key: a node's path, a profile's name."""

config_change_steps: Final = sa.Table(
    "config_change_steps",
    metadata,
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("before", sa.BigInteger),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("back", sa.Boolean, nullable=False),
    sa.Index("ix_config_change_steps_gateway_version", "gateway", "version"),
)
"""What a campaign did to a gateway: from which version to which; before is NULL when there was none. back: whether it
was on the way back. An empty gateway stands for the template that the campaign brought."""
