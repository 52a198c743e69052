"""The tables of presence: posts, routes, areas, evidence, coverage."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cloud.db import BigId, metadata

Name: Final = sa.String(64)
Path: Final = sa.String(255)
"""Of an organisation node."""

posts: Final = sa.Table(
    "posts",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("code", Name, unique=True),
    sa.Column("name_zh", sa.Text, nullable=False),
    sa.Column("name_en", sa.Text, nullable=False),
    sa.Column("lat", sa.Float, nullable=False),
    sa.Column("lon", sa.Float, nullable=False),
    sa.Column("radius_m", sa.Float, nullable=False),
    sa.Column("outline", sa.Text),
    sa.Column("headcount", sa.Integer, nullable=False),
    sa.Column("headcounts", sa.Text, nullable=False),
    sa.Column("grace_s", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("present", sa.Integer, nullable=False),
    sa.Column("required", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("judged_from", sa.BigInteger, nullable=False),
    sa.Column("archived_at", sa.BigInteger),
    sqlite_autoincrement=True,
)
"""outline: GeoJSON polygon that stands instead of the circle. headcounts: JSON {"1": n, …} by response level, over
`headcount`. state: manned, understaffed, unmanned, unknown. grace_s: how long absence may last before it is an
alarm. judged_from: when its place was last changed; earlier evidence says nothing about it."""

post_history: Final = sa.Table(
    "post_history",
    metadata,
    sa.Column("post", sa.BigInteger, primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("present", sa.Integer, nullable=False),
    sa.Column("required", sa.Integer, nullable=False),
)
"""When a post's state changed, by event time; the same whatever order its evidence came in."""

routes: Final = sa.Table(
    "routes",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("code", Name, unique=True),
    sa.Column("name_zh", sa.Text, nullable=False),
    sa.Column("name_en", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("line", sa.Text),
    sa.Column("checkpoints", sa.Text, nullable=False),
    sa.Column("revisit_s", sa.Integer, nullable=False),
    sa.Column("overdue_since", sa.BigInteger),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("archived_at", sa.BigInteger),
    sqlite_autoincrement=True,
)
"""kind: `checkpoints` in their order, or `line`, which is cut into checkpoints. checkpoints: JSON list of
{"name", "lat", "lon", "radius_m"}. Each is to be seen again within revisit_s. overdue_since: when the first of its
checkpoints went overdue, while a patrol is on it."""

route_visits: Final = sa.Table(
    "route_visits",
    metadata,
    sa.Column("route", sa.BigInteger, primary_key=True),
    sa.Column("checkpoint", sa.Integer, primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
)
"""That a patrol was at a checkpoint in the minute that begins at `at`; who it was is not kept."""

areas: Final = sa.Table(
    "areas",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", Path, nullable=False, index=True),
    sa.Column("code", Name, unique=True),
    sa.Column("name_zh", sa.Text, nullable=False),
    sa.Column("name_en", sa.Text, nullable=False),
    sa.Column("outline", sa.Text, nullable=False),
    sa.Column("resolution", sa.Integer, nullable=False),
    sa.Column("revisit_s", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("archived_at", sa.BigInteger),
    sqlite_autoincrement=True,
)

area_cells: Final = sa.Table(
    "area_cells",
    metadata,
    sa.Column("area", sa.BigInteger, primary_key=True),
    sa.Column("cell", sa.String(16), primary_key=True, index=True),
    sa.Column("seen_at", sa.BigInteger),
)
"""The H3 cells of an area and in which minute a patrol was last there."""

cell_visits: Final = sa.Table(
    "cell_visits",
    metadata,
    sa.Column("cell", sa.String(16), primary_key=True),
    sa.Column("slot", sa.BigInteger, primary_key=True),
)
"""That a cell was seen within a slot of 5 minutes (slot: event time // 300,000); who it was is not kept."""

evidence: Final = sa.Table(
    "evidence",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("member", sa.BigInteger, nullable=False),
    sa.Column("shift", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("gateway", Name, nullable=False),
    sa.Column("device", Name, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("lat", sa.Float),
    sa.Column("lon", sa.Float),
    sa.Column("accuracy_m", sa.Float),
    sa.Column("post", sa.BigInteger),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.UniqueConstraint("gateway", "device", "kind", "at", "member"),
    sa.Index("ix_evidence_done_id", "done", "id"),
    sa.Index("ix_evidence_member_at", "member", "at"),
    sa.Index("ix_evidence_at", "at"),
    sqlite_autoincrement=True,
)
"""What says where a member on shift was: kind `fix`, `checkin`, `door`. Kept for `position_days`. done: the machine
has taken it up; what it has not is its queue, which survives a restart."""

tracks: Final = sa.Table(
    "presence_tracks",
    metadata,
    sa.Column("shift", sa.BigInteger, primary_key=True),
    sa.Column("post", sa.BigInteger, nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("data", sa.Text, nullable=False),
)
"""Where the machine of a shift at its post stood, so that a restart reads minutes of evidence and not hours. Only a
saving: without its row a track is made again from the evidence. at: of the newest evidence in it."""

visibility: Final = sa.Table(
    "presence_visibility",
    metadata,
    sa.Column("node", Path, primary_key=True),
    sa.Column("hour", sa.BigInteger, primary_key=True),
    sa.Column("asked", sa.Integer, nullable=False),
    sa.Column("seen", sa.Integer, nullable=False),
)
"""Looks, one a minute, at the members on shift of a node in an hour (time // 3,600,000), and in how many a usable fix
was at hand. Nobody's name is in it."""

judges: Final = sa.Table(
    "presence_judge",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("owner", sa.String(32), nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("plan", sa.BigInteger, nullable=False),
)
"""One row: which process judges presence, until when it may without asking again, and a number that changes with the
posts, routes, areas and response levels, so that it knows when to read them anew."""
