"""Things that are due at a time: rows that survive a restart, one table for every kind.

Owns the table, the order in which due rows are taken and the measure of how late that is, which any process can read.
Who has something to do later calls `set_timer`; whoever knows what to do then enters a handler in `HANDLERS` when its
module is loaded. A due row is deleted and its handler called in one transaction, so whatever it does happens once; the
handler may set it again. A handler that fails sets its own row back and nobody else's.
"""

from __future__ import annotations

import json
from logging import ERROR, WARNING
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from cloud import metrics
from cloud.db import insert, metadata, work_of
from firmware_specs.errors import PatrolError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from sqlalchemy import Connection

BATCH: Final = 25
"""Whoever else writes waits while a tick's transaction is open: with this many, for a quarter of a second."""
NOTED_MS: Final = 2_000
"""Lateness below it is not written down: a tick in good order writes nothing of its own."""
RETRY_MS: Final = 60_000
BUSY_MS: Final = 1_000
"""After what the database refused for want of a lock: two that waited for each other; one of them comes again."""
log: Final = structlog.get_logger("timers")

timers: Final = sa.Table(
    "timers",
    metadata,
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("due_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("data", sa.Text, nullable=False),
)


lateness: Final = sa.Table(
    "timer_lateness",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("late_ms", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""One row: how late the last deadline was that fired late, and when that was. So any process can tell."""


class Timer(NamedTuple):
    """A row that is due. key: what it is about, within its kind. data: what its owner wanted to remember."""

    kind: str
    key: str
    due_at: int
    data: dict[str, Any]


HANDLERS: Final[dict[str, Callable[[Connection, Timer, int], None]]] = {}
"""By kind: what to do, within the caller's transaction; given the timer and the present in milliseconds UTC."""


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)


def set_timer(tx: Connection, kind: str, key: str, due_at: int, data: dict[str, Any] | None = None) -> None:
    """Have the handler of `kind` called at a time; a timer of the same kind and key is set anew."""
    values = {"kind": kind, "key": key, "due_at": due_at, "data": _text(data or {})}
    changed = {"due_at": values["due_at"], "data": values["data"]}
    tx.execute(insert(tx, timers).values(values).on_conflict_do_update(index_elements=["kind", "key"], set_=changed))


def set_timers(tx: Connection, kind: str, keys: Iterable[str], due_at: int) -> None:
    """The same for many at once, which remember nothing."""
    put = insert(tx, timers).on_conflict_do_update(
        index_elements=["kind", "key"], set_={"due_at": due_at, "data": "{}"}
    )
    rows = [{"kind": kind, "key": key, "due_at": due_at, "data": "{}"} for key in sorted(keys)]
    if rows:
        tx.execute(put, rows)


def drop_timers(tx: Connection, kind: str, keys: Iterable[str]) -> None:
    """Forget timers."""
    tx.execute(timers.delete().where(timers.c.kind == kind, timers.c.key.in_(sorted(keys))))


def drop_timer(tx: Connection, kind: str, key: str) -> None:
    """Forget a timer; no error when there is none."""
    tx.execute(timers.delete().where(timers.c.kind == kind, timers.c.key == key))


def drop_alike(tx: Connection, timer: Timer, now_ms: int) -> None:
    """Forget the other timers that are due with the same kind and data: one call of the handler is for all of them.

    For a handler to call before it reads anything: what is set from then on is due once more.
    """
    same = (timers.c.kind == timer.kind, timers.c.data == _text(timer.data), timers.c.due_at <= now_ms)
    mine = sa.select(timers.c.key).where(*same).with_for_update(skip_locked=True)
    keys = tx.execute(mine).scalars().all()
    if keys:
        tx.execute(timers.delete().where(timers.c.kind == timer.kind, timers.c.key.in_(keys)))


def due_of(tx: Connection, kind: str, key: str) -> int | None:
    """When a timer is due, None when there is none."""
    due: int | None = tx.execute(sa.select(timers.c.due_at).where(timers.c.kind == kind, timers.c.key == key)).scalar()
    return due


def get_timers(tx: Connection, kind: str, keys: Collection[str]) -> dict[str, Timer]:
    """Those of a kind that wait, by key."""
    rows = tx.execute(sa.select(timers).where(timers.c.kind == kind, timers.c.key.in_(keys))) if keys else ()
    return {row.key: Timer(row.kind, row.key, row.due_at, json.loads(row.data)) for row in rows}


def late_since(tx: Connection, since_ms: int) -> int:
    """By how many milliseconds the last late deadline was late, 0 when none was since a time."""
    late: int | None = tx.execute(sa.select(lateness.c.late_ms).where(lateness.c.at >= since_ms)).scalar()
    return late or 0


def next_due(tx: Connection) -> int | None:
    """When the next timer is due, None when there is none."""
    due: int | None = tx.execute(sa.select(sa.func.min(timers.c.due_at))).scalar()
    return due


def tick(tx: Connection, now_ms: int, watched_ms: int = 0) -> int:
    """Call the handlers of what is due, oldest first, at most 25. Gives how many were due.

    Several workers may call it: on PostgreSQL each takes rows that no other holds.
    watched_ms: since when somebody looks. What was due before was late for want of a worker, not for want of speed.
    """
    due = sa.select(timers).where(timers.c.due_at <= now_ms).order_by(timers.c.due_at).limit(BATCH)
    rows = tx.execute(due.with_for_update(skip_locked=True)).all()
    _note(tx, now_ms, max((now_ms - max(row.due_at, watched_ms) for row in rows), default=0))
    for row in rows:
        timer = Timer(row.kind, row.key, row.due_at, json.loads(row.data))
        still = sa.select(timers.c.due_at).where(timers.c.kind == timer.kind, timers.c.key == timer.key)
        if tx.execute(still).scalar() != timer.due_at:
            continue  # the handler of an earlier one moved or dropped it
        metrics.TIMER_LATENESS.observe((now_ms - timer.due_at) / 1000)
        _call(tx, timer, now_ms)
    return len(rows)


def _note(tx: Connection, now_ms: int, late_ms: int) -> None:
    if late_ms < NOTED_MS:
        return
    values = {"late_ms": late_ms, "at": now_ms}
    tx.execute(insert(tx, lateness).values(id=1, **values).on_conflict_do_update(index_elements=["id"], set_=values))


def _call(tx: Connection, timer: Timer, now_ms: int) -> None:
    handler = HANDLERS.get(timer.kind)
    if handler is None:
        log.error("no handler for a timer", kind=timer.kind, key=timer.key)
        set_timer(tx, timer.kind, timer.key, now_ms + RETRY_MS, timer.data)
        return
    work = work_of(tx)
    said = {name: len(rows) for name, rows in work.buffers.items()}
    try:
        with tx.begin_nested():
            drop_timer(tx, timer.kind, timer.key)
            handler(tx, timer, now_ms)
    except (PatrolError, SQLAlchemyError, ArithmeticError, LookupError, TypeError, ValueError) as e:
        metrics.TIMER_FAILURES.labels(timer.kind).inc()
        for name, rows in work.buffers.items():
            del rows[said.get(name, 0) :]
        busy = isinstance(e, OperationalError)
        log.log(WARNING if busy else ERROR, "timer failed", kind=timer.kind, key=timer.key, error=str(e)[:300],
                exc_info=not busy)  # fmt: skip
        set_timer(tx, timer.kind, timer.key, now_ms + (BUSY_MS if busy else RETRY_MS), timer.data)
