"""The tables of releases: what is published, as every process reads it; and which agent each gateway runs."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import metadata

Name: Final = sa.String(64)

repository: Final = sa.Table(
    "release_repository",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("metadata_url", sa.Text, nullable=False),
    sa.Column("targets_url", sa.Text, nullable=False),
    sa.Column("root", sa.Text, nullable=False),
    sa.Column("versions", sa.Text, nullable=False),
    sa.Column("expiries", sa.Text, nullable=False),
    sa.Column("read_at", sa.BigInteger, nullable=False),
)
"""One row: the root's text, and by role its version and when it expires in milliseconds, as JSON."""

targets: Final = sa.Table(
    "release_targets",
    metadata,
    sa.Column("path", sa.String(255), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("model", Name, nullable=False),
    sa.Column("version", Name, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", Name, nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("published_at", sa.BigInteger, nullable=False),
)
"""release: the signed fields as JSON."""

agents: Final = sa.Table(
    "release_agents",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("committed", Name, nullable=False, default=""),
    sa.Column("previous", Name, nullable=False, default=""),
    sa.Column("campaign", sa.BigInteger, nullable=False, default=0),
    sa.Column("ordered", Name, nullable=False, default=""),
    sa.Column("back", sa.Boolean, nullable=False, default=False),
    sa.Column("phase", sa.String(16), nullable=False, default=""),
    sa.Column("told_at", sa.BigInteger, nullable=False, default=0),
)
"""committed, previous: versions of the agent. campaign, ordered, back: of the last order, and whether it leads back."""
