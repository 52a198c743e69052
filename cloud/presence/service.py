"""What other folders may do with presence: take evidence in, judge posts, read views."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
import structlog

from cloud.incidents.levels import hooks as level_hooks
from cloud.presence import imports, plan, vigil
from cloud.presence.coverage import listed as coverage
from cloud.presence.hooks import Evidence
from cloud.presence.intake import take
from cloud.presence.judge import BATCH, Judge
from cloud.presence.posts import board, counts, history, posts_of
from cloud.presence.posts import get as get_post
from cloud.presence.rules import SLOT_MS, PostState, Reason, Standing
from cloud.presence.store import cell_visits, evidence, post_history, route_visits, tracks, visibility
from cloud.presence.views import Shape, last_fixes, shapes, who
from cloud.state import now_ms
from cloud.threads import in_thread
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.state import AppState

__all__ = [
    "LOADED",
    "Evidence",
    "PostState",
    "Reason",
    "Shape",
    "Standing",
    "board",
    "counts",
    "coverage",
    "forget",
    "forget_aggregates",
    "get_post",
    "history",
    "last_fixes",
    "posts_of",

    "run",
    "shapes",
    "take",
    "who",
]  # fmt: skip

TURN_EVERY_S: Final = 0.25
AGAIN_S: Final = 1.0
FORGET: Final = 10_000
LOADED: Final = (imports, vigil)
"""Importers and timers that are in place now."""
log: Final = structlog.get_logger("presence")


def _level_changed(tx: Connection, node: str, at_ms: int) -> None:
    del node, at_ms
    plan.changed(tx)


level_hooks.LISTENERS.append(_level_changed)


async def run(state: AppState) -> None:
    """Judge presence until cancelled: a turn every quarter of a second, at once while more is waiting."""
    judge = Judge(state.db)
    while True:
        try:
            taken = await in_thread(judge.turn, now_ms())
        except StoreError as e:
            log.warning("presence cannot be judged", error=str(e))
            await asyncio.sleep(AGAIN_S)
        else:
            await asyncio.sleep(AGAIN_S if judge.held else 0 if taken >= BATCH else TURN_EVERY_S)


def forget(tx: Connection, before_ms: int) -> int:
    """Delete raw evidence older than a time, at most 10,000 pieces a call, and what was kept of it to be quicker (P3).

    How many were deleted: in a large site there is more, and no transaction should hold others up for it.
    """
    e = evidence.c
    oldest = sa.select(e.id).where(e.at < before_ms).order_by(e.at).limit(FORGET)
    gone = tx.execute(evidence.delete().where(e.id.in_(oldest))).rowcount
    tx.execute(tracks.delete().where(tracks.c.at < before_ms))
    return gone


def forget_aggregates(tx: Connection, before_ms: int) -> None:
    """Delete visits, looks and post histories older than a time; none of them names anybody.

    What a post was at that time stays: it may be so still.
    """
    tx.execute(cell_visits.delete().where(cell_visits.c.slot < before_ms // SLOT_MS))
    tx.execute(route_visits.delete().where(route_visits.c.at < before_ms))
    tx.execute(visibility.delete().where(visibility.c.hour < before_ms // 3_600_000))
    h = post_history.c
    stands = post_history.alias()
    newest = sa.select(sa.func.max(stands.c.at)).where(stands.c.post == h.post, stands.c.at <= before_ms)
    tx.execute(post_history.delete().where(h.at < newest.scalar_subquery()))
