"""What others are shown of presence: shapes for the map, the newest fixes of members, who is at a post."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.errors import Forbidden
from cloud.org.rules import Permission, Principal, scope
from cloud.paging import at, at_or_none
from cloud.presence import coverage, geometry, plan, tracks
from cloud.presence.hooks import Evidence
from cloud.presence.models import WhoView
from cloud.presence.posts import SORT
from cloud.presence.rosters import lookup
from cloud.presence.rosters import service as rosters
from cloud.presence.rules import NEVER, standing, unfolded
from cloud.presence.store import area_cells, areas, evidence, posts, routes
from cloud.presence.world import post_of
from cloud.state import now_ms as clock

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


class Shape(NamedTuple):
    """Something of presence on a map. kind: post, route, area. geojson: a geometry, as text.

    state: of a post; `overdue` or `normal` of a route; `gaps` or `normal` of an area.
    """

    kind: str
    id: int
    name_zh: str
    name_en: str
    node: str
    state: str
    geojson: str


def shapes(tx: Connection, principal: Principal, now_ms: int | None = None) -> list[Shape]:
    """Every post, route and area within scope, as of a time, else the present."""
    now_ms = clock() if now_ms is None else now_ms
    found = []
    for row in tx.execute(sa.select(posts).where(scope(principal, posts.c.node), posts.c.archived_at.is_(None))):
        drawn = row.outline or geometry.circle(row.lat, row.lon, row.radius_m)
        found.append(Shape("post", row.id, row.name_zh, row.name_en, row.node, row.state, drawn))
    for row in tx.execute(sa.select(routes).where(scope(principal, routes.c.node), routes.c.archived_at.is_(None))):
        points = [(each["lon"], each["lat"]) for each in json.loads(row.checkpoints)]
        line = row.line or geometry.line_text(points if len(points) > 1 else points * 2)
        state = "normal" if row.overdue_since is None else "overdue"
        found.append(Shape("route", row.id, row.name_zh, row.name_en, row.node, state, line))
    oldest = sa.select(area_cells.c.area, sa.func.min(sa.func.coalesce(area_cells.c.seen_at, 0)).label("seen"))
    seen = oldest.group_by(area_cells.c.area).subquery()
    wanted = sa.select(areas, seen.c.seen).join(seen, seen.c.area == areas.c.id)
    for row in tx.execute(wanted.where(scope(principal, areas.c.node), areas.c.archived_at.is_(None))).all():
        late = now_ms - row.seen > coverage.revisit_ms(tx, row.node, row.revisit_s, now_ms)
        state = "gaps" if late else "normal"
        found.append(Shape("area", row.id, row.name_zh, row.name_en, row.node, state, row.outline))
    return found


def last_fixes(tx: Connection, members: Collection[int], now_ms: int, max_age_ms: int = 600_000) -> dict[int, Evidence]:
    """Where members were last, by evidence not older than a time; those without any are left out."""
    e = evidence.c
    mine = (e.member.in_(set(members)), e.at >= now_ms - max_age_ms)
    newest = sa.select(e.member, sa.func.max(e.at).label("at")).where(*mine).group_by(e.member).subquery()
    here = (posts.c.lat.label("post_lat"), posts.c.lon.label("post_lon"), posts.c.radius_m)
    joined = sa.select(evidence, *here).join(newest, sa.and_(newest.c.member == e.member, newest.c.at == e.at))
    found = {}
    for row in tx.execute(joined.outerjoin(posts, posts.c.id == e.post).order_by(e.member, e.id)):
        place = (row.lat, row.lon, row.accuracy_m) if row.post is None else (row.post_lat, row.post_lon, row.radius_m)
        if place[0] is not None:
            found[row.member] = Evidence(row.member, row.kind, row.at, *place, row.post)
    return found


def who(tx: Connection, viewer: Principal, post_id: int, now_ms: int) -> list[WhoView]:
    """What is known of each member rostered at a post now; the look is put on record. Raises NotFound, Forbidden."""
    row = plan.row_of(tx, viewer, SORT, post_id)
    if not viewer.may(Permission.LOCATE):
        raise Forbidden(f"role {viewer.role} may not {Permission.LOCATE}")
    post = post_of(row)
    found = []
    for duty in lookup.duties(tx, now_ms, now_ms + 1):
        if duty.post != post_id or not duty.starts_at <= now_ms < duty.ends_at:
            continue
        track = tracks.load(tx, duty, post)
        known = [each for each in unfolded(track.machine, track.changes) if each.at <= now_ms]
        heard = track.machine.heard_at
        found.append(
            WhoView(
                member=duty.member, call_sign=duty.call_sign, standing=standing(track.machine, now_ms)[0],
                reason=known[-1].reason, since=at(known[-1].at), heard_at=at_or_none(None if heard == NEVER else heard),
            )
        )  # fmt: skip
    rosters.look(tx, viewer, {each.member for each in found}, f"post/{post_id}", now_ms)
    return sorted(found, key=lambda each: each.call_sign)
