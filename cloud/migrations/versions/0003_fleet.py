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
        "health_days",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("written", sa.BigInteger(), nullable=False),
        sa.Column("budget", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["gateway"], ["gateways.id"], name=op.f("fk_health_days_gateway"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("gateway", "day", name=op.f("pk_health_days")),
    )
    op.create_table(
        "health_line",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["gateway"], ["gateways.id"], name=op.f("fk_health_line_gateway"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("gateway", "at", name=op.f("pk_health_line")),
    )
    op.create_table(
        "health_starts",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.id"], name=op.f("fk_health_starts_gateway"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("gateway", "at", name=op.f("pk_health_starts")),
    )
    op.create_table(
        "health_vitals",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("unsynced_since", sa.BigInteger(), nullable=True),
        sa.Column("synced_since", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("judged_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.id"], name=op.f("fk_health_vitals_gateway"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_health_vitals")),
    )
    op.create_table(
        "remote_commands",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("last_part", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("stranger", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.id"], name=op.f("fk_remote_commands_gateway"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remote_commands")),
    )
    with op.batch_alter_table("remote_commands", schema=None) as batch_op:
        batch_op.create_index("ix_remote_commands_gateway_issued_at", ["gateway", "issued_at"], unique=False)

    op.create_table(
        "remote_parts",
        sa.Column("command", sa.String(length=64), nullable=False),
        sa.Column("part", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["command"], ["remote_commands.id"], name=op.f("fk_remote_parts_command"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("command", "part", name=op.f("pk_remote_parts")),
    )
