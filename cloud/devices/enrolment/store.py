"""The tables of enrolment."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Digest: Final = sa.String(64)

claims: Final = sa.Table(
    "claims",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("hash", Digest, nullable=False, unique=True),
    sa.Column("node", sa.String(255), nullable=False, index=True),
    sa.Column("gateway", Name),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger),
    sa.Column("used_key", Digest, nullable=False),
    sa.Column("used_from", Name, nullable=False),
    sa.Column("enrolled", Name),
    sa.Column("reused", sa.Integer, nullable=False),
    sa.Column("reused_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("revoked_by", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
"""hash: of the code, which is nowhere. gateway: whom it is bound to, if anybody. enrolled: whom it made. used_key: the
hash of the public key that used it. reused: how often another key came with it."""

certificates: Final = sa.Table(
    "certificates",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("serial", sa.String(40), nullable=False, unique=True),
    sa.Column("gateway", Name, nullable=False, index=True),
    sa.Column("claim", sa.BigInteger),
    sa.Column("key", Digest, nullable=False, index=True),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("not_after", sa.BigInteger, nullable=False),
    sa.Column("pem", sa.Text, nullable=False),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("revoked_by", sa.Text, nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sqlite_autoincrement=True,
)
"""Every certificate that a gateway was ever given. serial: hex. They outlive the gateway's row: what was issued stays
known, and what belongs to no known gateway counts as revoked."""

enrolment_tries: Final = sa.Table(
    "enrolment_tries",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("address", Name, nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
)

est_address: Final = sa.Table(
    "est_address",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
)
"""One row: where gateways reach the EST listener, as whoever serves it last said. Claims of any process name it."""
