"""Reviews that are made by themselves: which are due, and making what is due.

Owns two kinds of timers and the pending rows. Every hour `reviews` looks for streets, towns and districts without a
timer of their own; `review`, one a node, is due on the first day after a period at 02:00 in the node's zone, writes one
pending row and sets itself to the next one. It goes by the time it was due, not by the time it is called: what fell
due while the cloud was down is made in order, each once. The figures are read by the worker outside of any write
transaction; a pending row survives whatever happens meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from cloud import timers
from cloud.db import insert
from cloud.errors import NotFound
from cloud.org import tree
from cloud.org.rules import SYSTEM
from cloud.reports import archive
from cloud.reports.models import ReviewState
from cloud.reports.periods import BY_NODE, due_after, ended_before
from cloud.reports.store import reviews
from cloud.state import now_ms
from cloud.threads import in_thread
from firmware_specs.errors import PatrolError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.db import Database
    from cloud.reports.periods import ReviewKind
    from cloud.state import AppState
    from cloud.timers import Timer

SWEEP: Final = "reviews"
DUE: Final = "review"
SWEEP_MS: Final = 3_600_000
LOOK_S: Final = 5.0
AGAIN_S: Final = 60.0
log: Final = structlog.get_logger("reviews")


def zone_of(tx: Connection, node: str, site: str) -> str:
    """The time zone of a node: its own or that of the nearest above, else the site's."""
    return tree.inherited(tx, node, "time_zone") or site


def _sweep(tx: Connection, timer: Timer, now: int) -> None:
    site = str(timer.data["zone"])
    for node in tree.list_nodes(tx, SYSTEM):
        kind = BY_NODE.get(node.kind)
        if kind is not None and timers.due_of(tx, DUE, str(node.id)) is None:
            due = due_after(kind, now, ZoneInfo(zone_of(tx, node.path, site)))
            timers.set_timer(tx, DUE, str(node.id), due, {"node": node.path, "zone": site})
    timers.set_timer(tx, SWEEP, "all", now + SWEEP_MS, timer.data)


def _due(tx: Connection, timer: Timer, now: int) -> None:
    try:
        node = tree.get_node(tx, SYSTEM, timer.data["node"])
    except NotFound:  # archived meanwhile: no more reviews of it
        return
    kind = BY_NODE.get(node.kind)
    if kind is None:
        return
    zone = zone_of(tx, node.path, str(timer.data["zone"]))
    _put(tx, node.path, (kind, *ended_before(kind, timer.due_at, ZoneInfo(zone))), zone, now)
    timers.set_timer(tx, DUE, timer.key, due_after(kind, timer.due_at, ZoneInfo(zone)), timer.data)


def _put(tx: Connection, node: str, what: tuple[ReviewKind, int, int], zone: str, now: int) -> None:
    kind, from_ms, to_ms = what
    row: dict[str, Any] = {
        "node": node, "kind": kind.value, "from_at": from_ms, "to_at": to_ms, "zone": zone,
        "created_at": now, "created_by": SYSTEM.label, "state": ReviewState.PENDING.value, "data": "",
        "once": f"{node}|{kind}|{from_ms}",
    }  # fmt: skip
    tx.execute(insert(tx, reviews).values(row).on_conflict_do_nothing(index_elements=["once"]))


timers.HANDLERS[SWEEP] = _sweep
timers.HANDLERS[DUE] = _due


def begin(db: Database, site_zone: str, now: int) -> None:
    """Have the nodes looked through now, and every hour from then on."""
    with db.begin() as tx:
        timers.set_timer(tx, SWEEP, "all", now, {"zone": site_zone})


def make_pending(db: Database, now: int) -> bool:
    """Make every review that is pending. Gives whether all of them could be; those that could not stay pending."""
    wanted = sa.select(reviews.c.id).where(reviews.c.state == ReviewState.PENDING.value).order_by(reviews.c.id)
    with db.read() as tx:
        waiting = tx.execute(wanted).scalars().all()
    good = True
    for review in waiting:
        try:
            archive.make_one(db, review, now)
        except StoreError:
            raise
        except (PatrolError, SQLAlchemyError, ArithmeticError, LookupError, TypeError, ValueError) as e:
            log.exception("a review could not be made", review=review, error=str(e)[:300])
            good = False
    return good


async def run(state: AppState) -> None:
    """Background work of the worker role, until cancelled: set the first timer, then make what is pending."""
    begun = False
    while True:
        good = False
        try:
            if not begun:
                await in_thread(begin, state.db, state.config.time_zone, now_ms())
                begun = True
            good = await in_thread(make_pending, state.db, now_ms())
        except StoreError as e:
            log.warning("reviews cannot be made", error=str(e))
        await asyncio.sleep(LOOK_S if good else AGAIN_S)
