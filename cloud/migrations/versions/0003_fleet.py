"""The fleet: enrolment, configurations, campaigns, releases, remote help, health, work in the field."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables of the fleet."""
    op.create_table(
        "ingest_outgoing",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("rest", sa.String(length=160), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("unsent", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("put_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("gateway", "rest", name=op.f("pk_ingest_outgoing")),
    )
    with op.batch_alter_table("ingest_outgoing", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ingest_outgoing_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_ingest_outgoing_unsent"), ["unsent"], unique=False)

    op.create_table(
        "release_agents",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("committed", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.BigInteger(), nullable=False),
        sa.Column("ordered", sa.String(length=64), nullable=False),
        sa.Column("back", sa.Boolean(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_release_agents")),
    )
    op.create_table(
        "release_repository",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("metadata_url", sa.Text(), nullable=False),
        sa.Column("targets_url", sa.Text(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.Column("expiries", sa.Text(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release_repository")),
    )
    op.create_table(
        "release_targets",
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_release_targets")),
    )
