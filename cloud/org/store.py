"""The tables of the tree, of users, sessions, tokens and sign-in tries. Secrets are kept as hashes only."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

nodes: Final = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("path", sa.String(255), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("code", sa.String(64), unique=True),
    sa.Column("name_zh", sa.Text, nullable=False),
    sa.Column("name_en", sa.Text, nullable=False),
    sa.Column("outline", sa.Text),
    sa.Column("lat", sa.Float),
    sa.Column("lon", sa.Float),
    sa.Column("population", sa.Integer),
    sa.Column("settlement", sa.String(8)),
    sa.Column("time_zone", sa.String(64)),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("archived_at", sa.BigInteger),
    sqlite_autoincrement=True,
)
"""The organisation tree. path: `/` and the ids from the top, `/3/17/`; the root `/` has no row. outline: GeoJSON
Polygon or MultiPolygon, WGS-84; lat, lon: a point inside. settlement (urban, rural) and time_zone are inherited
when NULL."""

users: Final = sa.Table(
    "users",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("password", sa.Text, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("node", sa.String(255), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("disabled_at", sa.BigInteger),
    sa.Column("subject", sa.String(255)),
    sa.Index("ix_users_subject", "subject", unique=True),
    sqlite_autoincrement=True,
)
"""subject: `issuer|sub` of the OIDC account that signs in as this user."""

sessions: Final = sa.Table(
    "sessions",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("user", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
)
"""Ending a session deletes its row."""

tokens: Final = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("node", sa.String(255), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("owner", sa.String(80)),
    sqlite_autoincrement=True,
)
"""owner: the user who made it, or the token when that was made at the command line; NULL when it was itself."""

tries: Final = sa.Table(
    "sign_in_tries",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Index("ix_sign_in_tries_key", "account", "address", "at"),
    sqlite_autoincrement=True,
)

oidc_logins: Final = sa.Table(
    "oidc_logins",
    metadata,
    sa.Column("state", sa.String(64), primary_key=True),
    sa.Column("nonce", sa.String(64), nullable=False),
    sa.Column("verifier", sa.String(128), nullable=False),
    sa.Column("back", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False, index=True),
)
"""Sign-ins that are at the identity provider just now."""
