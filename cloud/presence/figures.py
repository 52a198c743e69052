"""What a review says of presence over a time: how long posts were manned, what was covered, who could be seen."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.org.rules import SYSTEM
from cloud.presence import coverage
from cloud.presence.rules import PostState
from cloud.presence.store import post_history, posts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection


class PostFigures(NamedTuple):
    """One post over a time. seconds: by state. unmanned_times: how often it became so."""

    id: int
    node: str
    name_zh: str
    name_en: str
    seconds: dict[PostState, int]
    unmanned_times: int


class PresenceFigures(NamedTuple):
    """A node over a time; shares from 0 to 1, None where there is nothing to take a share of.

    manned: of the time in which posts' state was known. known: of all time. posts: the longest unmanned first.
    area_time, route_time: the average `time_share` of areas and of routes. visibility: of the looks at members on
    shift, those in which a usable fix was at hand.
    """

    seconds: dict[PostState, int]
    manned: float | None
    known: float | None
    posts: list[PostFigures]
    area_time: float | None
    route_time: float | None
    visibility: float | None


def of_post(moments: Iterable[tuple[int, PostState]], from_ms: int, to_ms: int) -> tuple[dict[PostState, int], int]:
    """Seconds by state between two times, and how often a post became unmanned. moments: in order, from before."""
    spent = dict.fromkeys(PostState, 0)
    times = 0
    steps = [*moments, (to_ms, PostState.UNKNOWN)]
    before: PostState | None = None
    for (at, state), (following, _) in pairwise(steps):
        spent[state] += max(0, min(following, to_ms) - max(at, from_ms))
        times += state is PostState.UNMANNED and before is not state and from_ms <= at < to_ms
        before = state
    return {state: ms // 1000 for state, ms in spent.items()}, times


def review(tx: Connection, node: str, from_ms: int, to_ms: int) -> PresenceFigures:
    """The figures of a node and all below it. Raises Invalid when the time is longer than 31 days."""
    found = _posts(tx, node, from_ms, to_ms)
    found.sort(key=lambda each: (-each.seconds[PostState.UNMANNED], each.id))
    seconds = {state: sum(each.seconds[state] for each in found) for state in PostState}
    known = sum(seconds.values()) - seconds[PostState.UNKNOWN]
    seen = coverage.whole(tx, node, to_ms, from_ms, to_ms)
    looks = coverage.visible(tx, SYSTEM, from_ms=from_ms, to_ms=to_ms, below=node)
    return PresenceFigures(
        seconds,
        _share(seconds[PostState.MANNED], known),
        _share(known, sum(seconds.values())),
        found,
        _share(sum(each.time_share for each in seen["area"]), len(seen["area"])),
        _share(sum(each.time_share for each in seen["route"]), len(seen["route"])),
        _share(sum(each.seen for each in looks), sum(each.looks for each in looks)),
    )


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _posts(tx: Connection, node: str, from_ms: int, to_ms: int) -> list[PostFigures]:
    mine = posts.c.node.startswith(node, autoescape=True)
    h = post_history.c
    before = sa.select(h.post, sa.func.max(h.at).label("at")).where(h.at <= from_ms).group_by(h.post).subquery()
    joined = sa.select(h.post, h.at, h.state).join(posts, posts.c.id == h.post)
    wanted = joined.outerjoin(before, before.c.post == h.post).where(
        mine, h.at < to_ms, h.at >= sa.func.coalesce(before.c.at, from_ms)
    )
    moments: dict[int, list[tuple[int, PostState]]] = {}
    for row in tx.execute(wanted.order_by(h.post, h.at)):
        moments.setdefault(row.post, []).append((row.at, PostState(row.state)))
    named = sa.select(posts.c.id, posts.c.node, posts.c.name_zh, posts.c.name_en).where(mine)
    return [
        PostFigures(row.id, row.node, row.name_zh, row.name_en, *of_post(moments[row.id], from_ms, to_ms))
        for row in tx.execute(named)
        if row.id in moments
    ]
