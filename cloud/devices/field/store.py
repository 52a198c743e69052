"""The tables of field work."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
"""Of an organisation node."""

discovered: Final = sa.Table(
    "discovered",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("connector", Name, primary_key=True),
    sa.Column("address", sa.String(512), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("profiles", sa.Text, nullable=False),
    sa.Column("frames", sa.BigInteger, nullable=False),
    sa.Column("first_at", sa.BigInteger, nullable=False),
    sa.Column("last_at", sa.BigInteger, nullable=False),
    sa.Column("sample", sa.Text, nullable=False),
)
"""What a gateway hears and no device of it has, as it last told. profiles: names, joined by commas, the best first."""

device_steps: Final = sa.Table(
    "device_steps",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("gateway", Name, nullable=False),
    sa.Column("device", Name, nullable=False),
    sa.Column("node", Path, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("connector", Name, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("config_version", sa.BigInteger, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Index("ix_device_steps_thing", "gateway", "device"),
    sqlite_autoincrement=True,
)
"""A thing's life in the field. device: empty for the gateway itself. action: adopted, replaced. address: the one
that it has from then on. config_version: the configuration that says so, 0 for none."""

walks: Final = sa.Table(
    "walks",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("gateway", Name, nullable=False, index=True),
    sa.Column("part", sa.Text, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("started_by", sa.Text, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("ended_by", sa.Text),
    sa.Column("storm", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sqlite_autoincrement=True,
)
"""part: what the locations of its devices begin with, empty for all. storm: it was ended since alarms came faster than
anybody walks."""

walk_devices: Final = sa.Table(
    "walk_devices",
    metadata,
    sa.Column("walk", sa.BigInteger, sa.ForeignKey("walks.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("device", Name, primary_key=True),
    sa.Column("node", Path, nullable=False),
    sa.Column("profile", Name, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("proof", sa.String(16), nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("silence", sa.BigInteger),
    sa.Column("mark", sa.String(16), nullable=False),
    sa.Column("marked_at", sa.BigInteger),
    sa.Column("marked_by", sa.Text),
    sa.Column("what", sa.String(64), nullable=False, server_default=sa.text("''")),
    sa.Column("alarm", sa.BigInteger),
    sa.Column("alarm_at", sa.BigInteger),
    sa.Column("observed_at", sa.BigInteger),
    sa.Column("received_at", sa.BigInteger),
    sa.Column("shown_at", sa.BigInteger),
    sa.Column("signal", sa.Float),
    sa.Column("battery", sa.Float),
    sa.Column("note", sa.Text, nullable=False, server_default=sa.text("''")),
)
"""A device under test. before: JSON, `rules.Before`. silence: the maintenance that holds its alarms,
NULL once that was ended. what: the alarm's kind or the metric that proved it. alarm_at: when the cloud heard of its
first test alarm; the hold ends by it. observed_at, received_at: by device and gateway; shown_at: on the phone."""

sheets: Final = sa.Table(
    "acceptance_sheets",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("gateway", Name, nullable=False, index=True),
    sa.Column("walk", sa.BigInteger),
    sa.Column("made_at", sa.BigInteger, nullable=False),
    sa.Column("made_by", sa.Text, nullable=False),
    sa.Column("zone", Name, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("command", Name),
    sa.Column("signed_at", sa.BigInteger),
    sa.Column("signature", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("certificate", sa.Text, nullable=False, server_default=sa.text("''")),
    sqlite_autoincrement=True,
)
"""data: canonical JSON, never changed. digest: its SHA-256. state: signing, signed, unsigned; it leaves `signing` once
and for good. signature: base64 of the gateway's signature of the statement. certificate: PEM."""

requests: Final = sa.Table(
    "field_requests",
    metadata,
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("answer", sa.Text, nullable=False),
)
"""What was answered to a request with an idempotency key: who asks again gets the same, and nothing is done twice.
key: `actor|kind|key`."""
