"""The table of drills."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
"""Of an organisation node."""

drills: Final = sa.Table(
    "drills",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("category", sa.String(16), nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("lat", sa.Float),
    sa.Column("lon", sa.Float),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("starts_at", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("planned_at", sa.BigInteger, nullable=False),
    sa.Column("planned_by", sa.Text, nullable=False),
    sa.Column("began_at", sa.BigInteger),
    sa.Column("started_by", sa.Text, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("ended_by", sa.Text, nullable=False),
    sa.Column("score", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
"""kind: `incident`, one that the drill opens itself, or `script`: every alarm that gateways mark as drill while it
runs. category, place, lat, lon: of the incident. state: planned, running, ended. began_at: NULL when it never did.
score: JSON, written at the end."""
