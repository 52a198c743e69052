"""The tables of remote help."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import metadata

Name: Final = sa.String(64)

commands: Final = sa.Table(
    "remote_commands",
    metadata,
    sa.Column("id", Name, primary_key=True),
    sa.Column("gateway", Name, sa.ForeignKey("gateways.id", ondelete="CASCADE"), nullable=False),
    sa.Column("kind", Name, nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("last_part", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("stranger", Name, nullable=False),
    sa.Index("ix_remote_commands_gateway_issued_at", "gateway", "issued_at"),
)
"""last_part: the number of the last part with text, -1 before there is one. size: characters of all parts. stranger: a
gateway that answered it though it is another's, once it did."""

parts: Final = sa.Table(
    "remote_parts",
    metadata,
    sa.Column("command", Name, sa.ForeignKey("remote_commands.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("part", sa.BigInteger, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
