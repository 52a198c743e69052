"""The tables of patrol members, their equipment and their shifts."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
"""Of an organisation node."""

members: Final = sa.Table(
    "members",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("call_sign", Name, nullable=False, unique=True),
    sa.Column("user", sa.BigInteger, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("archived_at", sa.BigInteger),
    sqlite_autoincrement=True,
)
"""A patrol member is a call sign. user: the account by which the member signs in, if any."""

equipment: Final = sa.Table(
    "equipment",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("gateway", Name, nullable=False),
    sa.Column("device", Name, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("post", sa.BigInteger),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("archived_at", sa.BigInteger),
    sa.UniqueConstraint("gateway", "device"),
    sqlite_autoincrement=True,
)
"""Devices of the patrol. kind: `armband` and `radio` are carried, and their positions exist only on shift; `terminal`
and `door` stand at a post. archived_at: it is out of use; what it once told of its wearer stays guarded."""

shifts: Final = sa.Table(
    "shifts",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("member", sa.BigInteger, nullable=False),
    sa.Column("post", sa.BigInteger),
    sa.Column("route", sa.BigInteger),
    sa.Column("starts_at", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("armband", sa.BigInteger),
    sa.Column("radio", sa.BigInteger),
    sa.Column("begun_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("handed_to", sa.BigInteger),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Index("ix_shifts_member_starts_at", "member", "starts_at"),
    sa.Index("ix_shifts_ends_at", "ends_at"),
    sqlite_autoincrement=True,
)
"""A planned duty and what came of it. armband, radio: the equipment carried on this shift. ended_at before ends_at ends
the right to positions at once. handed_to: the shift that took over."""

pseudonyms: Final = sa.Table(
    "pseudonyms",
    metadata,
    sa.Column("pseudonym", sa.String(128), primary_key=True),
    sa.Column("member", sa.BigInteger, nullable=False),
)
"""Which member a door's or terminal's keyed pseudonym stands for; only members of the patrol are here."""

overrides: Final = sa.Table(
    "sos_overrides",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("member", sa.BigInteger),
    sa.Column("gateway", Name, nullable=False),
    sa.Column("device", Name, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Index("ix_sos_overrides_device", "gateway", "device", "ends_at"),
    sqlite_autoincrement=True,
)
"""An SOS lifts the shift limit of a carried device until ends_at."""

looks: Final = sa.Table(
    "position_looks",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("member", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("minute", sa.BigInteger, nullable=False),
    sa.Column("viewer", sa.String(80), nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.UniqueConstraint("member", "viewer", "minute"),
    sqlite_autoincrement=True,
)
"""Who looked at a member's position, once for each viewer and minute; the audit chain has it too. The member may read
this."""

desired: Final = sa.Table(
    "desired_documents",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("stale", sa.Boolean, nullable=False),
    sa.Column("unsent", sa.Boolean, nullable=False),
    sa.Column("sent_at", sa.BigInteger),
    sa.Column("reported_version", sa.BigInteger, nullable=False),
    sa.Index("ix_desired_documents_todo", "stale", "unsent"),
)
"""What each gateway is to hold to. stale: to be made anew, since something that it is made of has changed. unsent: the
broker does not have it. reported_version: which one the gateway says is in force."""
