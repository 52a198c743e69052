"""The fleet: enrolment, configurations, campaigns, releases, remote help, health, work in the field."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cloud.db import BigId

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables of the fleet."""
    op.create_table(
        "config_change_steps",
        sa.Column("campaign", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", "gateway", name=op.f("pk_config_change_steps")),
    )
    with op.batch_alter_table("config_change_steps", schema=None) as batch_op:
        batch_op.create_index("ix_config_change_steps_gateway_version", ["gateway", "version"], unique=False)

    op.create_table(
        "config_changes",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("edit", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_changes")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "config_documents",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(length=16), nullable=False),
        sa.Column("own", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("trial_s", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "version", name=op.f("pk_config_documents")),
    )
    op.create_table(
        "config_states",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("running_version", sa.BigInteger(), nullable=False),
        sa.Column("running_hash", sa.Text(), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_config_states")),
    )
    op.create_table(
        "config_templates",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_templates")),
        sa.UniqueConstraint("kind", "key", "version", name=op.f("uq_config_templates_kind_key_version")),
        sqlite_autoincrement=True,
    )
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
