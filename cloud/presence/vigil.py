"""The alarm of an unmanned post: after its grace, by a timer that survives a restart; cleared when somebody is back.

Want of data neither raises nor clears it: an unknown post keeps the alarm that it had. It clears when the post is
manned or understaffed again, or when nobody is rostered any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloud import timers
from cloud.alerts import service as alerts
from cloud.devices.places import Place
from cloud.incidents.levels import service as levels
from cloud.presence.posts import UNMANNED, device_of, watch
from cloud.presence.rules import PostState, Reason, severity_at
from cloud.presence.store import posts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from cloud.presence.world import Post, Shown
    from cloud.timers import Timer


def changed(tx: Connection, post: Post, before: Shown, now_ms: int) -> None:
    """What a post shows has changed."""
    state, _, since, _, _ = post.shown
    if state is PostState.UNMANNED:
        if (before[0], before[2]) != (state, since):
            watch(tx, post.id, since + post.grace_s * 1000, now_ms)
        return
    if before[0] is PostState.UNMANNED:
        timers.drop_timer(tx, UNMANNED, str(post.id))
    if _over(post.shown):
        alerts.clear_own(tx, "", device_of(post.id), UNMANNED, now_ms)


def _over(shown: Shown) -> bool:
    """Whether what a post shows ends its alarm."""
    state, reason = shown[:2]
    return state in {PostState.MANNED, PostState.UNDERSTAFFED} or reason is Reason.NO_ROSTER


def expired(tx: Connection, timer: Timer, now_ms: int) -> None:
    """The grace is over: an alarm, if the post is unmanned still, and since long enough."""
    row = tx.execute(sa.select(posts).where(posts.c.id == int(timer.key), posts.c.archived_at.is_(None))).first()
    if row is None or row.state != PostState.UNMANNED:
        return
    due = row.since + row.grace_s * 1000
    if due > now_ms:
        timers.set_timer(tx, UNMANNED, timer.key, due)
        return
    severity = severity_at(levels.effective(tx, row.node, now_ms))
    alerts.raise_own(
        tx, "", device_of(row.id), UNMANNED, severity, at_ms=due, now_ms=now_ms, where=Place(row.node, row.name_zh)
    )


def reconcile(tx: Connection, known: Mapping[int, Post], now_ms: int) -> None:
    """Clear alarms that no longer fit: on PostgreSQL a timer and the judge may act at the same moment."""
    names = {device_of(post.id): post for post in known.values()}
    for (gateway, device), kinds in alerts.active_kinds(tx, [""]).items():
        post = names.get(device)
        if UNMANNED in kinds and post is not None and _over(post.shown):
            alerts.clear_own(tx, gateway, device, UNMANNED, now_ms)


timers.HANDLERS[UNMANNED] = expired
