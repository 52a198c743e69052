"""The response clocks: their rows and timers, what stops them and what a breach does.

Owns `incident_clocks`. Every function is called by who holds the incident's row. A breach is written once, whoever
comes first to it: the timer at its due time, or a stop that lies behind it. It tells the level above the incident's
node; while the clock runs on, each further level after the plan's wait, by the response level's policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.incidents import chain
from cloud.incidents.levels import service as levels
from cloud.incidents.rules import ClockName, How, State, earlier, scaled_ms, step_up
from cloud.incidents.store import clocks, incidents
from cloud.incidents.tell import CLOCKS, tell
from cloud.org.rules import SYSTEM, Role, ancestors
from cloud.org.zones import moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row

DUE: Final = "incident-clock"
ESCALATE: Final = "incident-escalate"
TOLD: Final = (Role.DISPATCHER, Role.SUPERVISOR)
"""Who is told one level up."""


def timer_key(incident: int, name: str) -> str:
    """The key of a clock's timers."""
    return f"{incident}/{name}"


def start(tx: Connection, incident: int, targets: Mapping[ClockName, int], started_at: int) -> None:
    """Start all three clocks."""
    due = {name: started_at + targets[name] * 1000 for name in ClockName}
    common = {"incident": incident, "started_at": started_at, "reason": ""}
    rows = [{**common, "name": name.value, "target_s": targets[name], "due_at": due[name]} for name in ClockName]
    tx.execute(clocks.insert(), rows)
    for name in ClockName:
        timers.set_timer(tx, DUE, timer_key(incident, name), due[name])


def get(tx: Connection, incident: int, name: str) -> Row[Any] | None:
    """A clock's row."""
    return tx.execute(sa.select(clocks).where(clocks.c.incident == incident, clocks.c.name == name)).first()


def _write(tx: Connection, clock: Row[Any], **values: object) -> None:
    tx.execute(clocks.update().where(clocks.c.incident == clock.incident, clocks.c.name == clock.name).values(**values))


def stop(
    tx: Connection, row: Row[Any], name: ClockName, *, at_ms: int, by: str, how: How, now_ms: int, reason: str = ""
) -> bool:
    """Stop a clock, or move its stop back. False when nothing changed: later evidence, or a hand on a stopped clock."""
    clock = get(tx, row.id, name)
    if clock is None or not earlier(clock.stopped_at, at_ms) or (how is not How.EVIDENCE and clock.how is not None):
        return False
    if at_ms > clock.due_at and clock.breached_at is None:
        breach(tx, row, clock, now_ms)
    _rest(tx, row.id, name)
    _write(tx, clock, stopped_at=at_ms, stopped_by=by, how=how.value, reason=reason)
    action = "clock-stopped" if clock.stopped_at is None else "clock-moved"
    told = {"clock": name.value, "how": how.value, "reason": reason}
    chain.append(tx, row.id, by, action, told, at=at_ms, now_ms=now_ms)
    if name is ClockName.ON_SCENE:
        still = (incidents.c.id == row.id, incidents.c.state == State.OPEN.value)
        tx.execute(incidents.update().where(*still).values(state=State.ON_SCENE.value))
    return True


def _rest(tx: Connection, incident: int, name: str) -> None:
    for kind in (DUE, ESCALATE):
        timers.drop_timer(tx, kind, timer_key(incident, name))


def breach(tx: Connection, row: Row[Any], clock: Row[Any], now_ms: int) -> None:
    """Write a breach at its due time and tell one level up."""
    above = ancestors(row.node)
    node = step_up(above, 1)
    _write(tx, clock, breached_at=clock.due_at, escalated_to=node)
    told = {"clock": clock.name, "target_s": clock.target_s, "to": node}
    chain.append(tx, row.id, SYSTEM.label, "breached", told, at=clock.due_at, now_ms=now_ms)
    _tell(tx, row, clock, node, 1, now_ms=now_ms)
    _next_step(tx, row, clock, 2, due_at=clock.due_at, now_ms=now_ms)


def escalate(tx: Connection, row: Row[Any], clock: Row[Any], step: int, *, due_at: int, now_ms: int) -> None:
    """Tell the next level up that a breached clock still runs."""
    node = step_up(ancestors(row.node), step)
    _write(tx, clock, escalated_to=node)
    told = {"clock": clock.name, "step": step, "to": node}
    chain.append(tx, row.id, SYSTEM.label, "escalated", told, at=due_at, now_ms=now_ms)
    _tell(tx, row, clock, node, step, now_ms=now_ms)
    _next_step(tx, row, clock, step + 1, due_at=due_at, now_ms=now_ms)


def _tell(tx: Connection, row: Row[Any], clock: Row[Any], node: str, step: int, *, now_ms: int) -> None:
    key = f"{clock.name}/{clock.started_at}/{step}"
    zh, en = CLOCKS[ClockName(clock.name)]
    due = moment(tx, row.node, clock.due_at)
    tell(
        tx, row, "incident.breached", key, node=node, roles=TOLD, now_ms=now_ms, clock_zh=zh, clock_en=en,
        target=f"{clock.target_s} s", due=due, step=str(step),
    )  # fmt: skip


def _next_step(tx: Connection, row: Row[Any], clock: Row[Any], step: int, *, due_at: int, now_ms: int) -> None:
    if step >= len(ancestors(row.node)):
        return
    due = due_at + wait_ms(tx, row.node, row.escalate_s, now_ms)
    timers.set_timer(tx, ESCALATE, timer_key(row.id, clock.name), due, {"step": step, "due": due})


def wait_ms(tx: Connection, node: str, seconds: int, now_ms: int) -> int:
    """How long until somebody is told: by the policy of the response level, which never touches the clocks."""
    level = levels.effective(tx, node, now_ms)
    return scaled_ms(seconds, levels.policy(tx, node, level).escalation_percent)


def close(tx: Connection, row: Row[Any], now_ms: int, by: str) -> None:
    """The incident closes: what runs and is overdue is breached, then everything rests; the area is safe by this."""
    for clock in tx.execute(sa.select(clocks).where(clocks.c.incident == row.id, clocks.c.how.is_(None))).all():
        if now_ms > clock.due_at and clock.breached_at is None:
            breach(tx, row, clock, now_ms)
        stopped = {"stopped_at": now_ms, "stopped_by": by} if clock.name == ClockName.AREA else {}
        _write(tx, clock, how=How.CLOSED.value, **stopped)
    for name in ClockName:
        _rest(tx, row.id, name)


def restart(tx: Connection, row: Row[Any], now_ms: int) -> None:
    """The incident is open again: the clocks that its closing ended run anew from now."""
    ended = sa.select(clocks).where(clocks.c.incident == row.id, clocks.c.how == How.CLOSED.value)
    for clock in tx.execute(ended).all():
        due_at = now_ms + clock.target_s * 1000
        _write(tx, clock, how=None, stopped_at=None, stopped_by=None, started_at=now_ms, due_at=due_at)
        timers.set_timer(tx, DUE, timer_key(row.id, clock.name), due_at)
