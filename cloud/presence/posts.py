"""Posts: making, changing, listing them, and the history of their states."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import stream, timers
from cloud.alerts import service as alerts
from cloud.org.rules import ROOT, Principal, scope
from cloud.paging import MAX_LIMIT, Page, at, decode_cursor, encode_cursor
from cloud.presence import geometry, plan
from cloud.presence.models import MomentView, PostIn, PostView, PresenceView
from cloud.presence.rules import PostState, Reason
from cloud.presence.store import post_history, posts, tracks

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Connection, Row

SORT: Final = plan.Sort(posts, "post")
UNMANNED: Final = "post-unmanned"
"""The kind of the alarm, and of the timer that raises it after the grace."""


def device_of(post: int) -> str:
    """What a post is called as the thing that an alarm is about."""
    return f"post:{post}"


def values_of(given: PostIn) -> dict[str, Any]:
    """The columns that a post given so has. Raises Invalid for its outline."""
    values: dict[str, Any] = {
        "lat": given.lat, "lon": given.lon, "radius_m": given.radius_m, "outline": None, "headcount": given.headcount,
        "headcounts": json.dumps(dict(sorted(given.headcounts.items()))), "grace_s": given.grace_s,
    }  # fmt: skip
    if given.outline is not None:
        outline = geometry.checked(given.outline.model_dump(), ("Polygon",), geometry.MAX_POST_M2)
        reach_m = geometry.Ground(outline.lat, outline.lon, 0, outline.text).reach_m
        values |= {"lat": outline.lat, "lon": outline.lon, "radius_m": reach_m, "outline": outline.text}
    return values


def add(tx: Connection, actor: Principal, given: PostIn, now_ms: int) -> PostView:
    """Make a post. Raises Forbidden, NotFound for its node, Conflict for its code, Invalid for its outline."""
    initial = {
        "state": PostState.UNKNOWN.value, "reason": Reason.NO_ROSTER.value, "since": now_ms, "present": 0,
        "required": given.headcount, "judged_from": now_ms,
    }  # fmt: skip
    made = plan.write(tx, actor, SORT, given, values_of(given), now_ms=now_ms, initial=initial)
    return _told(tx, actor, made, now_ms)


def change(tx: Connection, actor: Principal, post: int, given: PostIn, now_ms: int) -> PostView:
    """Change a post. When its place changes, what is known of members there begins anew. Raises as `add`."""
    before = plan.row_of(tx, actor, SORT, post)
    values = values_of(given)
    if any(getattr(before, name) != values[name] for name in ("lat", "lon", "radius_m", "outline")):
        values["judged_from"] = now_ms
    plan.write(tx, actor, SORT, given, values, now_ms=now_ms, row_id=post)
    if "judged_from" in values:
        tx.execute(tracks.delete().where(tracks.c.post == post))
    if before.grace_s != given.grace_s and before.state == PostState.UNMANNED:
        watch(tx, post, before.since + given.grace_s * 1000, now_ms)
    return _told(tx, actor, post, now_ms)


def watch(tx: Connection, post: int, due_ms: int, now_ms: int) -> None:
    """Have a post looked at when its grace is over. What is learned too late to be on time is due now, not overdue."""
    timers.set_timer(tx, UNMANNED, str(post), max(due_ms, now_ms))


def _told(tx: Connection, actor: Principal, post: int, now_ms: int) -> PostView:
    """The post as it is now, which the event stream is told of."""
    row = plan.row_of(tx, actor, SORT, post)
    stream.append(tx, "presence", presence_view(row), at=now_ms, node=row.node)
    return view(row)


def archive(tx: Connection, actor: Principal, post: int, now_ms: int) -> None:
    """Take a post out of use: its alarm clears, its history stays. Raises NotFound, Forbidden."""
    row = plan.archive(tx, actor, SORT, post, now_ms)
    stream.append(tx, "presence", presence_view(row), at=now_ms, node=row.node)
    timers.drop_timer(tx, UNMANNED, str(post))
    alerts.clear_own(tx, "", device_of(post), UNMANNED, now_ms)


def view(row: Row[Any]) -> PostView:
    """A post as the API gives it."""
    return PostView(
        id=row.id, node=row.node, code=row.code, name_zh=row.name_zh, name_en=row.name_en, lat=row.lat, lon=row.lon,
        radius_m=row.radius_m, outline=json.loads(row.outline) if row.outline else None, headcount=row.headcount,
        headcounts=json.loads(row.headcounts), grace_s=row.grace_s, state=PostState(row.state),
        reason=Reason(row.reason), since=at(row.since), present=row.present, required=row.required,
    )  # fmt: skip


def presence_view(row: Row[Any]) -> PresenceView:
    """How a post stands."""
    return PresenceView(
        id=row.id, node=row.node, name_zh=row.name_zh, name_en=row.name_en, state=PostState(row.state),
        reason=Reason(row.reason), since=at(row.since), present=row.present, required=row.required,
    )  # fmt: skip


def get(tx: Connection, principal: Principal, post: int) -> PostView:
    """A post within scope. Raises NotFound."""
    return view(plan.row_of(tx, principal, SORT, post))


def _mine(principal: Principal, below: str = ROOT) -> tuple[ColumnElement[bool], ...]:
    return (
        scope(principal, posts.c.node),
        posts.c.node.startswith(below, autoescape=True),
        posts.c.archived_at.is_(None),
    )


def listed(
    tx: Connection, principal: Principal, *, below: str = ROOT, limit: int = 100, cursor: str | None = None
) -> Page[PostView]:
    """Posts within scope, by id."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(posts).where(*_mine(principal, below))
    if cursor:
        wanted = wanted.where(posts.c.id > decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(posts.c.id).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[view(row) for row in rows[:limit]], next_cursor=following)


def posts_of(tx: Connection, principal: Principal, below: str = ROOT) -> list[PostView]:
    """Every post within scope at or below a node, by id."""
    return [view(row) for row in tx.execute(sa.select(posts).where(*_mine(principal, below)).order_by(posts.c.id))]


def board(
    tx: Connection, principal: Principal, *, states: Collection[PostState] = (), below: str = ROOT, limit: int = 100,
    cursor: str | None = None,
) -> Page[PresenceView]:  # fmt: skip
    """How posts within scope stand, worst first; of equal ones the longest so first."""
    limit = min(max(limit, 1), MAX_LIMIT)
    rank = sa.case({state.value: place for place, state in enumerate(PostState)}, value=posts.c.state, else_=9)
    wanted = sa.select(posts, rank.label("rank")).where(*_mine(principal, below))
    if states:
        wanted = wanted.where(posts.c.state.in_([state.value for state in states]))
    if cursor:
        after = sa.tuple_(*decode_cursor(cursor, int, int, int))
        wanted = wanted.where(sa.tuple_(rank, posts.c.since, posts.c.id) > after)
    rows = tx.execute(wanted.order_by(rank, posts.c.since, posts.c.id).limit(limit + 1)).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].rank, shown[-1].since, shown[-1].id) if len(rows) > limit else None
    return Page(items=[presence_view(row) for row in shown], next_cursor=following)


def counts(tx: Connection, principal: Principal, below: str = ROOT) -> dict[PostState, int]:
    """How many posts within scope are in each state."""
    counted = sa.select(posts.c.state, sa.func.count()).where(*_mine(principal, below)).group_by(posts.c.state)
    found = {PostState(state): int(count) for state, count in tx.execute(counted)}
    return {state: found.get(state, 0) for state in PostState}


def history(
    tx: Connection, principal: Principal, post: int, *, limit: int = 100, cursor: str | None = None
) -> Page[MomentView]:
    """When the state of a post changed, newest first. Raises NotFound."""
    plan.row_of(tx, principal, SORT, post)
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(post_history).where(post_history.c.post == post)
    if cursor:
        wanted = wanted.where(post_history.c.at < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(post_history.c.at.desc()).limit(limit + 1)).all()
    items = [
        MomentView(
            at=at(row.at), state=PostState(row.state), reason=Reason(row.reason), present=row.present,
            required=row.required,
        )
        for row in rows[:limit]
    ]  # fmt: skip
    return Page(items=items, next_cursor=encode_cursor(rows[limit - 1].at) if len(rows) > limit else None)
