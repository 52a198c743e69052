"""The tables of hazard reports."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
"""Of an organisation node."""

hazards: Final = sa.Table(
    "hazards",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("lat", sa.Float),
    sa.Column("lon", sa.Float),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("reported_at", sa.BigInteger, nullable=False),
    sa.Column("reported_by", sa.Text, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("merged_into", sa.BigInteger),
    sa.Column("incident", sa.BigInteger),
    sa.Column("escalated_to", Path),
    sa.Index("ix_hazards_state", "state"),
    sa.Index("ix_hazards_merged_into", "merged_into"),
    sa.Index("ix_hazards_reported_at_id", "reported_at", "id"),
    sqlite_autoincrement=True,
)
"""kind: exit-blocked, gas-smell, lamp-broken, detector-damaged, crowding, other. state: new, triaged, handled,
handed-over, escalated, merged. escalated_to: the node above that was told. merged_into: the report that stands for this
one; never one that is merged itself. About things and places: no field names or describes a person."""

hazard_steps: Final = sa.Table(
    "hazard_steps",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("hazard", sa.BigInteger, nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("note", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
"""Each step of a report with its owner and time. action: reported, triaged, handled, handed-over, escalated, merged,
absorbed (another one was merged into it), note, reopened."""
