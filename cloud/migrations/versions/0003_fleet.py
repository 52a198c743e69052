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
