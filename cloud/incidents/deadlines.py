"""What happens to an incident when nobody acts: clocks that are due, levels that are told next, nobody who takes it.

Owns the timers' handlers. Each acts on what the rows say when it is called, however late that is, and writes the time
at which it was due. The incident's row is taken without waiting: whoever holds it may want the timer's row, so a
handler that finds it held comes again a moment later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.incidents import chain, clocks, scene, views
from cloud.incidents.rules import DWELL_MS, ClockName, State, step_up
from cloud.incidents.store import incidents
from cloud.incidents.tell import tell
from cloud.org.rules import SYSTEM, ancestors

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.timers import Timer

RECEIVE: Final = "incident-receive"
AGAIN_MS: Final = 200
PENDING_MS: Final = 2 * DWELL_MS
"""A clock that is due while somebody is inside, and not yet for the dwell, waits this long for the dwell to end."""


def _held(tx: Connection, timer: Timer, now_ms: int) -> tuple[Row[Any], str] | None:
    """The open incident of a timer and the rest of its key; None when there is none, or it is held just now."""
    incident, _, name = timer.key.partition("/")
    mine = sa.select(incidents).where(incidents.c.id == int(incident))
    row = tx.execute(mine.with_for_update(skip_locked=True)).first()
    if row is None and tx.execute(mine).first() is not None:
        timers.set_timer(tx, timer.kind, timer.key, now_ms + AGAIN_MS, timer.data)
    return None if row is None or row.state == State.CLOSED else (row, name)


def on_due(tx: Connection, timer: Timer, now_ms: int) -> None:
    """A clock should have stopped by now."""
    found = _held(tx, timer, now_ms)
    clock = clocks.get(tx, found[0].id, found[1]) if found else None
    if found is None or clock is None or clock.how is not None or clock.breached_at is not None:
        return
    row, _ = found
    if now_ms < clock.due_at:
        timers.set_timer(tx, timer.kind, timer.key, clock.due_at)
        return
    if now_ms < clock.due_at + PENDING_MS and _about_to_stop(tx, row, clock):
        timers.set_timer(tx, timer.kind, timer.key, clock.due_at + PENDING_MS)
        return
    clocks.breach(tx, row, clock, now_ms)
    views.announce(tx, row.id, now_ms)


def _about_to_stop(tx: Connection, row: Row[Any], clock: Row[Any]) -> bool:
    """Whether those inside, once their dwell is over, will have arrived in time."""
    if clock.name == ClockName.AREA:
        return False
    wanted = 1 if clock.name == ClockName.ON_SCENE else row.arrivals
    waiting = sum(since <= clock.due_at for since in scene.pending(tx, row.id))
    there = sum(arrived_at <= clock.due_at for arrived_at, _ in scene.arrivals(tx, row.id))
    return bool(waiting > 0 and there + waiting >= wanted)


def on_escalate(tx: Connection, timer: Timer, now_ms: int) -> None:
    """A breached clock still runs: the next level up is told."""
    found = _held(tx, timer, now_ms)
    clock = clocks.get(tx, found[0].id, found[1]) if found else None
    if found and clock and clock.how is None and clock.breached_at is not None:
        row, _ = found
        clocks.escalate(tx, row, clock, timer.data["step"], due_at=timer.data["due"], now_ms=now_ms)
        views.announce(tx, row.id, now_ms)


def await_receiver(tx: Connection, row: Row[Any], now_ms: int) -> None:
    """Tell one level up when nobody takes an incident in the plan's time, by the response level's policy."""
    due_at = now_ms + clocks.wait_ms(tx, row.node, row.receive_s, now_ms)
    timers.set_timer(tx, RECEIVE, f"{row.id}/receive", due_at, {"step": 1, "due": due_at})


def received(tx: Connection, incident: int) -> None:
    """Somebody has taken it."""
    timers.drop_timer(tx, RECEIVE, f"{incident}/receive")


def on_receive(tx: Connection, timer: Timer, now_ms: int) -> None:
    """Nobody has taken it."""
    found = _held(tx, timer, now_ms)
    if found is None or found[0].owner is not None:
        return
    row, _ = found
    step, due_at = timer.data["step"], timer.data["due"]
    node = step_up(ancestors(row.node), step)
    chain.append(tx, row.id, SYSTEM.label, "untaken", {"step": step, "to": node}, at=due_at, now_ms=now_ms)
    tell(tx, row, "incident.untaken", f"untaken/{due_at}", node=node, roles=clocks.TOLD, now_ms=now_ms, step=str(step))
    if step + 1 < len(ancestors(row.node)):
        following = due_at + clocks.wait_ms(tx, row.node, row.escalate_s, now_ms)
        timers.set_timer(tx, RECEIVE, timer.key, following, {"step": step + 1, "due": following})
    views.announce(tx, row.id, now_ms)


timers.HANDLERS[clocks.DUE] = on_due
timers.HANDLERS[clocks.ESCALATE] = on_escalate
timers.HANDLERS[RECEIVE] = on_receive
