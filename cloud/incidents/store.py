"""The tables of incidents."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
"""Of an organisation node."""

incidents: Final = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("category", sa.String(16), nullable=False),
    sa.Column("title_zh", sa.Text, nullable=False),
    sa.Column("title_en", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("place_key", sa.Text, nullable=False),
    sa.Column("group_key", sa.Text, index=True),
    sa.Column("open_key", sa.Text, unique=True),
    sa.Column("lat", sa.Float),
    sa.Column("lon", sa.Float),
    sa.Column("radius_m", sa.Float, nullable=False),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("level", sa.Integer, nullable=False),
    sa.Column("plan", sa.BigInteger, nullable=False),
    sa.Column("arrivals", sa.Integer, nullable=False),
    sa.Column("receive_s", sa.Integer, nullable=False),
    sa.Column("escalate_s", sa.Integer, nullable=False),
    sa.Column("area_by", sa.String(8), nullable=False),
    sa.Column("checklist", sa.Text, nullable=False),
    sa.Column("event_at", sa.BigInteger, nullable=False),
    sa.Column("opened_at", sa.BigInteger, nullable=False),
    sa.Column("opened_by", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("owned_at", sa.BigInteger),
    sa.Column("closed_at", sa.BigInteger),
    sa.Column("closed_by", sa.Text),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("follow_up", sa.Text, nullable=False),
    sa.Column("drill", sa.BigInteger),
    sa.Index("ix_incidents_opened_at_id", "opened_at", "id"),
    sa.Index("ix_incidents_state", "state"),
    sqlite_autoincrement=True,
)
"""source: alarm, sos, hand. state: open, on_scene, closed. event_at: from which the clocks run. owner: who received it
first, until it is handed over. checklist: JSON list of {"zh", "en", "done_at", "done_by"}. drill: the drill it belongs
to (0 when nobody entered one), NULL when it is real. place_key: what alarms of one place share. open_key: place and
category while it is open; the unique index makes a second one impossible. plan: 0 for the built-in. arrivals,
receive_s, escalate_s, area_by: of the plan as it was. lat, lon: NULL when the place is not known; then only a hand stops the
clocks."""

incident_alarms: Final = sa.Table(
    "incident_alarms",
    metadata,
    sa.Column("alarm", sa.BigInteger, primary_key=True),
    sa.Column("incident", sa.BigInteger, nullable=False, index=True),
    sa.Column("member", sa.BigInteger),
)
"""member: of the patrol, who carried the device that called; they are at the scene and no responder."""

clocks: Final = sa.Table(
    "incident_clocks",
    metadata,
    sa.Column("incident", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("target_s", sa.Integer, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("due_at", sa.BigInteger, nullable=False),
    sa.Column("stopped_at", sa.BigInteger),
    sa.Column("stopped_by", sa.Text),
    sa.Column("how", sa.String(16)),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("breached_at", sa.BigInteger),
    sa.Column("escalated_to", Path),
)
"""name: on_scene, reinforcement, area. started_at: the event's time, or when the incident was reopened. stopped_at:
event time of what stopped it. how: evidence, hand, or closed with the incident, NULL while it runs. breached_at: when
it was due and ran on; never taken back. escalated_to: the node that was told last."""

responders: Final = sa.Table(
    "responders",
    metadata,
    sa.Column("incident", sa.BigInteger, primary_key=True),
    sa.Column("member", sa.BigInteger, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("dispatched_at", sa.BigInteger, nullable=False),
    sa.Column("dispatched_by", sa.Text, nullable=False),
    sa.Column("accepted_at", sa.BigInteger),
    sa.Column("inside_since", sa.BigInteger),
    sa.Column("arrived_at", sa.BigInteger),
    sa.Column("released_at", sa.BigInteger),
)
"""state: dispatched, accepted, on_scene, released. inside_since: event time of the first fix of the present stay within
the scene; arrived when it has lasted the dwell. dispatched_by: empty for who came without being sent."""

sights: Final = sa.Table(
    "scene_sights",
    metadata,
    sa.Column("incident", sa.BigInteger, primary_key=True),
    sa.Column("member", sa.BigInteger, primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("inside", sa.Boolean, nullable=False),
    sa.Column("sure", sa.Boolean, nullable=False),
)
"""Whether a member was inside the scene at a time, while the incident is open; deleted when it closes. No positions."""

timeline: Final = sa.Table(
    "incident_timeline",
    metadata,
    sa.Column("incident", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
"""What happened, each row holding the hash of the one before it. detail: JSON."""

plans: Final = sa.Table(
    "response_plans",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False),
    sa.Column("category", sa.String(16), nullable=False),
    sa.Column("name_zh", sa.Text, nullable=False),
    sa.Column("name_en", sa.Text, nullable=False),
    sa.Column("checklist", sa.Text, nullable=False),
    sa.Column("calls", sa.Text, nullable=False),
    sa.Column("targets", sa.Text, nullable=False),
    sa.Column("scene_m", sa.Float, nullable=False),
    sa.Column("arrivals", sa.Integer, nullable=False),
    sa.Column("receive_s", sa.Integer, nullable=False),
    sa.Column("escalate_s", sa.Integer, nullable=False),
    sa.Column("kinds", sa.Text, nullable=False),
    sa.Column("area_by", sa.String(8), nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("node", "category"),
    sqlite_autoincrement=True,
)
"""The plan of a category for a node and what is below it, unless a lower node has its own. checklist: JSON list of
{"zh", "en"}. calls: JSON list of roles to tell. targets: JSON {"on_scene": s, "reinforcement": s, "area": s}. arrivals:
arrivals that make the reinforcement. kinds: JSON list of further kinds of alarms that open it. area_by: hand, or
alarms."""
