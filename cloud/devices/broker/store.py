"""The tables of broker."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import metadata

cuts: Final = sa.Table(
    "broker_cuts",
    metadata,
    sa.Column("serial", sa.String(40), primary_key=True),
    sa.Column("gateway", sa.String(64), nullable=False),
    sa.Column("cut_at", sa.BigInteger, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
)
"""Revoked certificates whose session was ended at the broker: when last, and how often. serial: hex."""
