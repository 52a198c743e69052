"""Background work of the worker role: judging deadlines, and keeping house."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from cloud import stream, timers
from cloud.devices import liveness
from cloud.devices import service as devices
from cloud.ingest import service as ingest
from cloud.presence import service as presence
from cloud.state import now_ms
from cloud.threads import in_thread
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from cloud.devices.liveness import Allowed
    from cloud.state import AppState

ATTEND_EVERY_MS: Final = 2000
HOUSE_EVERY_S: Final = 3600.0
DAY_MS: Final = 86_400_000
RAW_DAYS: Final = 30
"""Whatever may hold a raw position is kept no longer than this."""
log: Final = structlog.get_logger("worker")


async def judge(state: AppState, allowed: Allowed) -> None:
    """Look at due deadlines until cancelled. A store that refuses is asked again; nothing due is forgotten."""
    attended, watched = 0, now_ms()
    while True:
        more = False
        try:
            attended, more = await in_thread(judge_once, state, allowed, attended, watched)
        except StoreError as e:
            log.warning("deadlines cannot be judged", error=str(e))
        if not more:
            await asyncio.sleep(state.config.liveness.tick_s)


def judge_once(state: AppState, allowed: Allowed, attended: int, watched: int = 0) -> tuple[int, bool]:
    """One look, by the clock of now, however long the looks before it took. watched: since when somebody looks.

    attended: when the cloud's own presence was last noted. Gives when it is now, and whether more is due at once.
    """
    now = now_ms()
    if not 0 <= now - attended < ATTEND_EVERY_MS:
        with state.db.begin() as tx:
            liveness.attend(tx, now)
        attended = now
    with state.db.read() as tx:
        due = [each for each in (liveness.next_due(tx), timers.next_due(tx)) if each is not None]
    if not due or min(due) > now:
        return attended, False
    with state.db.begin() as tx:
        judged = liveness.tick(tx, now, allowed)
    with state.db.begin() as tx:
        acted = timers.tick(tx, now, watched)
    return attended, judged >= liveness.BATCH or acted >= timers.BATCH


async def keep_house(state: AppState) -> None:
    """Delete what is older than its retention, every hour, until cancelled."""
    while True:
        await asyncio.sleep(HOUSE_EVERY_S)
        try:
            await in_thread(keep_house_once, state, now_ms())
        except StoreError as e:
            log.warning("old rows cannot be deleted", error=str(e))


def keep_house_once(state: AppState, now: int) -> None:
    """Telemetry by its own retention, events by `events_days`, places of members like their tracks."""
    kept = state.config.telemetry
    positions_before = now - kept.position_days * DAY_MS
    with state.db.begin() as tx:
        stream.forget(tx, now - state.config.limits.events_days * DAY_MS)
        devices.forget_positions(tx, positions_before)
        ingest.forget_dead_letters(tx, now - RAW_DAYS * DAY_MS)
        presence.forget_aggregates(tx, now - kept.minute_days * DAY_MS)
    gone = presence.FORGET
    while gone >= presence.FORGET:
        with state.db.begin() as tx:
            gone = presence.forget(tx, positions_before)
    state.telemetry.retain(now)  # last: a server that refuses to delete keeps nobody else from it
