"""What the judge keeps in memory of the plan: posts with their grounds and history, the duties of the look-back.

Owns reading it from the rows. Everything here can be made again from them at any time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloud.incidents.levels import service as levels
from cloud.incidents.levels.rules import strictest
from cloud.presence.geometry import Ground
from cloud.presence.rules import Establishment, Moment, PostState, Reason, required
from cloud.presence.store import post_history, posts

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

Shown = tuple[PostState, Reason, int, int, int]
"""State, reason, since, present, required."""


@dataclass
class Post:
    """A post as the judge sees it. names: in Chinese and English.

    shown: what its row says. due: when to look again if nothing comes.
    """

    id: int
    node: str
    names: tuple[str, str]
    ground: Ground
    judged_from: int
    grace_s: int
    headcount: int
    headcounts: dict[str, int]
    shown: Shown
    history: list[Moment] = field(default_factory=list)
    required: list[tuple[int, int]] = field(default_factory=list)
    due: int | None = None

    def since(self) -> int:
        """When its present state began."""
        newest = self.history[-1]
        begun = newest.at
        for moment in reversed(self.history):
            if moment.state is not newest.state:
                return begun
            begun = moment.at
        # The run goes on before what is kept in memory: the row knows, unless it tells of another state.
        state, _, since, _, _ = self.shown
        return min(begun, since) if state is newest.state else begun

    def trim(self, cutoff_ms: int) -> None:
        """Forget moments that no late evidence can change: all before the newest one that is older."""
        old = 0
        while old + 1 < len(self.history) and self.history[old + 1].at <= cutoff_ms:
            old += 1
        if old > 16:
            del self.history[:old]


def load_posts(tx: Connection, known: dict[int, Post], cutoff_ms: int) -> dict[int, Post]:
    """Every post in use; what is known of one whose place stayed is taken over."""
    found: dict[int, Post] = {}
    for row in tx.execute(sa.select(posts).where(posts.c.archived_at.is_(None))):
        post = post_of(row)
        old = known.get(post.id)
        if old is not None:
            post.history, post.required, post.due, post.shown = old.history, old.required, old.due, old.shown
            if old.judged_from == post.judged_from:
                post.ground = old.ground
        found[post.id] = post
    new = [post for post in found.values() if post.id not in known]
    if new:
        _load_history(tx, {post.id: post for post in new}, cutoff_ms)
    return found


def post_of(row: Row[Any]) -> Post:
    """A post from its row, without its history."""
    shown = (PostState(row.state), Reason(row.reason), row.since, row.present, row.required)
    return Post(
        row.id, row.node, (row.name_zh, row.name_en), Ground(row.lat, row.lon, row.radius_m, row.outline),
        row.judged_from, row.grace_s, row.headcount, json.loads(row.headcounts), shown,
    )  # fmt: skip


def _load_history(tx: Connection, wanted: dict[int, Post], cutoff_ms: int) -> None:
    """The moments since a time, and for each post the newest one before."""
    h = post_history.c
    before = sa.select(h.post, sa.func.max(h.at).label("at")).where(h.at <= cutoff_ms).group_by(h.post).subquery()
    rows = sa.select(post_history).outerjoin(before, before.c.post == h.post)
    mine = rows.where(h.at >= sa.func.coalesce(before.c.at, cutoff_ms)).order_by(h.post, h.at)
    for row in tx.execute(mine):
        if row.post in wanted:
            post = wanted[row.post]
            moment = Moment(row.at, PostState(row.state), Reason(row.reason), row.present, row.required)
            post.history.append(moment)
            if not post.required or post.required[-1][1] != row.required:
                post.required.append((row.at, row.required))


def requirements(tx: Connection, found: dict[int, Post], now_ms: int) -> set[int]:
    """Bring what posts require in line with the levels in force; the posts for which that changed.

    A share of the headcount is one of all posts that the same declaration is about.
    """
    units: dict[tuple[str, int, int], list[Establishment]] = {}
    of_node: dict[str, tuple[str, int, int]] = {}
    for post in found.values():
        if post.node not in of_node:
            decides = strictest(levels.path_of(tx, post.node, now_ms), now_ms)
            level = decides.level if decides else levels.ROUTINE
            percent = levels.policy(tx, post.node, level).headcount_percent
            of_node[post.node] = decides.node if decides else "", level, percent
        unit = units.setdefault(of_node[post.node], [])
        unit.append(Establishment(post.id, post.node, post.headcount, post.headcounts))
    changed = set()
    for (_, level, percent), unit in units.items():
        for post_id, needed in required(unit, level, percent).items():
            post = found[post_id]
            if not post.required:
                post.required.append((post.judged_from, needed))
                changed.add(post_id)
            elif post.required[-1][1] != needed:
                post.required.append((max(now_ms, post.required[-1][0] + 1), needed))
                changed.add(post_id)
    return changed
