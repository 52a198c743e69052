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
        "campaigns",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("approved_wave", sa.Integer(), nullable=False),
        sa.Column("awaits", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("campaigns", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_campaigns_node"), ["node"], unique=False)
        batch_op.create_index(batch_op.f("ix_campaigns_state"), ["state"], unique=False)

    op.create_table(
        "device_firmware",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("running", sa.String(length=64), nullable=False),
        sa.Column("before", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.String(length=255), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("back", sa.Boolean(), nullable=False),
        sa.Column("ordered_at", sa.BigInteger(), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "device", name=op.f("pk_device_firmware")),
    )
    with op.batch_alter_table("device_firmware", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_device_firmware_campaign"), ["campaign"], unique=False)

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
    op.create_table(
        "campaign_claims",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign"], ["campaigns.id"], name=op.f("fk_campaign_claims_campaign"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("kind", "gateway", name=op.f("pk_campaign_claims")),
    )
    with op.batch_alter_table("campaign_claims", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_campaign_claims_campaign"), ["campaign"], unique=False)

    op.create_table(
        "campaign_history",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("campaign", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign"], ["campaigns.id"], name=op.f("fk_campaign_history_campaign"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign_history")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("campaign_history", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_campaign_history_campaign"), ["campaign"], unique=False)

    op.create_table(
        "campaign_members",
        sa.Column("campaign", sa.BigInteger(), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("deadline_at", sa.BigInteger(), nullable=True),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.Column("checked", sa.Boolean(), nullable=False),
        sa.Column("unhealthy", sa.Boolean(), nullable=False),
        sa.Column("forgiven", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign"], ["campaigns.id"], name=op.f("fk_campaign_members_campaign"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign", "gateway", "device", name=op.f("pk_campaign_members")),
    )
    with op.batch_alter_table("campaign_members", schema=None) as batch_op:
        batch_op.create_index("ix_campaign_members_gateway", ["gateway", "state"], unique=False)
        batch_op.create_index("ix_campaign_members_tally", ["campaign", "wave", "state"], unique=False)

    op.create_table(
        "campaign_waves",
        sa.Column("campaign", sa.BigInteger(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=True),
        sa.Column("gate_at", sa.BigInteger(), nullable=True),
        sa.Column("passed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign"], ["campaigns.id"], name=op.f("fk_campaign_waves_campaign"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign", "wave", name=op.f("pk_campaign_waves")),
    )
