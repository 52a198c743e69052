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
    sa.Column("archived_at", sa.BigInteger),
    sqlite_autoincrement=True,
)
"""outline: GeoJSON polygon that stands instead of the circle. headcounts: JSON {"1": n, …} by response level, over
`headcount`. state: manned, understaffed, unmanned, unknown. grace_s: how long absence may last before it is an
alarm."""

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
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("archived_at", sa.BigInteger),
    sqlite_autoincrement=True,
)
"""kind: `checkpoints` in their order, or `line`, which is cut into checkpoints. checkpoints: JSON list of
{"name", "lat", "lon", "radius_m"}. Each is to be seen again within revisit_s."""

route_visits: Final = sa.Table(
    "route_visits",
    metadata,
    sa.Column("route", sa.BigInteger, primary_key=True),
    sa.Column("checkpoint", sa.Integer, primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("member", sa.BigInteger, nullable=False),
)

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
"""The H3 cells of an area and when a patrol was last there."""

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
    sqlite_autoincrement=True,
)
"""What says where a member on shift was: kind `fix`, `checkin`, `door`. Kept for `position_days`. done: the machine
has taken it up; what it has not is its queue, which survives a restart."""
