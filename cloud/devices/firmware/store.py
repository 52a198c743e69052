"""The table of device firmware."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import metadata

Name: Final = sa.String(64)

device_firmware: Final = sa.Table(
    "device_firmware",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("device", Name, primary_key=True),
    sa.Column("running", Name, nullable=False, default=""),
    sa.Column("before", Name, nullable=False, default=""),
    sa.Column("campaign", sa.BigInteger, nullable=False, default=0, index=True),
    sa.Column("target", sa.String(255), nullable=False, default=""),
    sa.Column("version", Name, nullable=False, default=""),
    sa.Column("back", sa.Boolean, nullable=False, default=False),
    sa.Column("ordered_at", sa.BigInteger, nullable=False, default=0),
    sa.Column("wanted", sa.Boolean, nullable=False, default=False),
    sa.Column("phase", sa.String(16), nullable=False, default=""),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("done", sa.BigInteger, nullable=False, default=0),
    sa.Column("size", sa.BigInteger, nullable=False, default=0),
    sa.Column("told_at", sa.BigInteger, nullable=False, default=0),
)
"""running: as the device says. before: what it ran when it was last ordered to change, as far as it has said. campaign
to ordered_at: the last order, back when it leads to an older version. wanted: the order stands at the gateway. phase to
told_at: what came of it, as the gateway last told."""
