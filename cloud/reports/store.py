"""The tables of reviews."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
"""Of an organisation node."""

reviews: Final = sa.Table(
    "reviews",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("from_at", sa.BigInteger, nullable=False),
    sa.Column("to_at", sa.BigInteger, nullable=False),
    sa.Column("zone", Name, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("once", sa.Text, unique=True),
    sa.Index("ix_reviews_period", "node", "kind", "from_at"),
    sa.Index("ix_reviews_state", "state"),
    sa.Index("ix_reviews_to_at_id", "to_at", "id"),
    sqlite_autoincrement=True,
)
"""kind: monthly, quarterly, half-yearly, on-demand. data: JSON, all figures as they were when it was made: a review
that is archived never changes; empty while state is `pending`, until the worker has made it. once: `node|kind|from_at`
of a scheduled one, so that it is made once; NULL for one on demand."""

follow_ups: Final = sa.Table(
    "review_follow_ups",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("review", sa.BigInteger, nullable=False, index=True),
    sa.Column("node", Path, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
"""What a review asks of a unit. state: open, underway, done."""
