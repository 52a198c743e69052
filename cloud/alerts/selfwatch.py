"""The cloud watches itself: late deadlines, lagging ingest, failing messages, a series store away are alarms as well.

Owns the limits and their hysteresis. The alarms are the cloud's own, of the device `cloud` at the root: who runs the
whole system sees them. What is measured stands in the database, or is asked of the series store, so it does not matter
which process measures; time in which nobody watched is nobody's lateness.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa
import structlog

from cloud import timers
from cloud.alerts import beyond
from cloud.alerts.apply import clear_own, raise_own
from cloud.alerts.rules import family_key
from cloud.alerts.store import alarms
from cloud.devices import liveness
from cloud.devices.places import Place, hearing
from cloud.org.rules import ROOT
from cloud.state import now_ms
from cloud.threads import in_thread
from firmware_specs.errors import StoreError
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.state import AppState

EVERY_S: Final = 15.0
DEVICE: Final = "cloud"
LATE_WINDOW_MS: Final = 300_000
MANY_GATEWAYS: Final = 2
"""Fewer may all be silent by themselves; from here on it is ingest that hears nobody."""
log: Final = structlog.get_logger("selfwatch")


class Limit(NamedTuple):
    """Raised above `high`, cleared below `low`; between them it stays as it is."""

    kind: str
    high: int
    low: int


TIMER_LATE: Final = Limit("self-timer-late", 10_000, 2_000)
INGEST_LAG: Final = Limit("self-ingest-lag", 60_000, 30_000)
NOTIFY_FAILING: Final = Limit("self-notify-failing", 0, 1)
"""Channels that have failed for five minutes; it clears when none does."""
SERIES_AWAY: Final = Limit("self-series-away", 60_000, 1)
"""It clears with the first answer."""


async def run(state: AppState) -> None:
    """Look every quarter of a minute, until cancelled."""
    watched = now_ms()
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await in_thread(_look_once, state, watched)
        except StoreError as e:
            log.warning("the cloud cannot watch itself", error=str(e))


def _look_once(state: AppState, watched_ms: int) -> None:
    with state.db.begin() as tx:
        look(tx, now_ms(), watched_ms)
    series_away_ms = round(state.telemetry.away_s() * 1000)  # may take as long as a server that does not answer
    with state.db.begin() as tx:
        judge(tx, SERIES_AWAY, series_away_ms, now_ms())


def look(tx: Connection, now_ms: int, watched_ms: int) -> None:
    """Measure what stands in the database, raise and clear. watched_ms: since when this process looks."""
    due = [each for each in (timers.next_due(tx), liveness.next_due(tx)) if each is not None]
    overdue = now_ms - max(min(due), watched_ms) if due else 0
    judge(tx, TIMER_LATE, max(timers.late_since(tx, now_ms - LATE_WINDOW_MS), overdue), now_ms)
    online, newest = hearing(tx)
    if newest is not None:
        lag = now_ms - max(newest, watched_ms)
        # Offline gateways are their own alarms; one that stands ends by a pack and not by their going offline too.
        judge(tx, INGEST_LAG, lag if online >= MANY_GATEWAYS else min(lag, INGEST_LAG.high), now_ms)
    judge(tx, NOTIFY_FAILING, beyond.failing(tx, now_ms), now_ms)


def judge(tx: Connection, limit: Limit, measured: int, now_ms: int) -> None:
    """Raise or clear one alarm by what was measured."""
    key = family_key("", DEVICE, limit.kind)
    stands = tx.execute(sa.select(alarms.c.id).where(alarms.c.open_key == key)).first() is not None
    if measured > limit.high and not stands:
        here = Place(ROOT, "")
        raise_own(tx, "", DEVICE, limit.kind, Severity.MAJOR, at_ms=now_ms, now_ms=now_ms, where=here)
        log.error("the cloud raised an alarm of its own", kind=limit.kind, measured=measured)
    elif measured < limit.low and stands:
        clear_own(tx, "", DEVICE, limit.kind, now_ms)
