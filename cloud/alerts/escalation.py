"""Telling people of an alarm until somebody acknowledges it: the first notice, the chain's steps, the repetitions.

Owns the timers of telling and the columns `round` and `escalation`. A round begins when an alarm is raised, or comes
back after something kept it quiet; within a round each step is taken once, whenever its timer is looked at: the time
of a step is a row that survives a restart, and what is overdue then is taken at once. A step is taken only while the
alarm stands, nobody acknowledged it and nothing keeps it quiet; so nothing has to be called off when one of these ends.

- Of a group the first alarm tells, for all that are as severe at most.
- What flaps is told in digests. What is protected is never put off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.alerts import beyond, chains, message, rules, views
from cloud.alerts.hooks import LISTENERS, Happening
from cloud.alerts.quiet import OPEN, note
from cloud.alerts.store import alarms
from cloud.devices.places import hold
from cloud.incidents.levels import hooks as levels
from cloud.org import tree
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from cloud.alerts.facts import Facts
    from cloud.alerts.rules import Chain, Step
    from cloud.timers import Timer

STEP: Final = "alarm-step"
TELLS: Final = (*OPEN, alarms.c.acknowledged_at.is_(None), alarms.c.quiet == "")


def heard(tx: Connection, happening: Happening, alarm: Facts, now_ms: int) -> None:
    """Begin a round when an alarm is raised or returns. Acknowledged and cleared end it by themselves."""
    if happening is not Happening.RAISED or alarm.quiet:
        return
    row = tx.execute(sa.select(alarms).where(alarms.c.id == alarm.id, *TELLS)).first()
    if row is None or row.escalation:
        return
    chain = chain_of(tx, row, now_ms)
    first = rules.due_at(chain[0], 0, begun_ms=now_ms, last_ms=now_ms, percent=chain[1])
    if first == now_ms or timers.due_of(tx, STEP, _key(row)) is None:
        _advance(tx, row, chain, begun=now_ms, last=now_ms, now_ms=now_ms)


def _key(row: Row[Any]) -> str:
    return f"{row.id}.{row.round}"


def _step(tx: Connection, timer: Timer, now_ms: int) -> None:
    alarm_id, _, number = timer.key.partition(".")
    gateway = tx.execute(sa.select(alarms.c.gateway).where(alarms.c.id == int(alarm_id))).scalar()
    hold(tx, gateway or "")
    mine = sa.select(alarms).where(alarms.c.id == int(alarm_id), alarms.c.round == int(number), *TELLS)
    row = tx.execute(mine.with_for_update()).first()
    if row is not None:
        of = chain_of(tx, row, now_ms)
        _advance(tx, row, of, begun=timer.data["begun"], last=timer.data["last"], now_ms=now_ms)
        views.announce(tx, [row.id], now_ms)


def chain_of(tx: Connection, row: Row[Any], now_ms: int) -> tuple[Chain, int]:
    """The chain of an alarm, and the percentage of its times that the response level demands."""
    return _chosen(row, chains.above(tx, row.node)), beyond.escalation_percent(tx, row.node, now_ms)


def _chosen(row: Row[Any], made: Sequence[Chain]) -> Chain:
    return rules.chain_for(made, row.node, row.kind, Severity(row.severity))


def _advance(tx: Connection, row: Row[Any], of: tuple[Chain, int], *, begun: int, last: int, now_ms: int) -> None:
    """Take every telling that is due, and set the timer of the next."""
    chain, percent = of
    taken = row.escalation
    while True:
        due = rules.due_at(chain, taken, begun_ms=begun, last_ms=last, percent=percent)
        if due is None or due > now_ms:
            break
        _tell(tx, row, chain, taken, now_ms)
        taken, last = taken + 1, now_ms
    tx.execute(alarms.update().where(alarms.c.id == row.id).values(escalation=taken))
    if due is not None:
        timers.set_timer(tx, STEP, _key(row), due, {"begun": begun, "last": last})


def node_of(row: Row[Any], step: Step) -> str:
    """The node whose people a step tells."""
    node: str = row.node
    for _ in range(step.up):
        node = tree.parent_of(node)
    return node


def leader_of(tx: Connection, row: Row[Any]) -> int | None:
    """The alarm of its group that tells for it: an earlier one, as urgent at least; None when it tells for itself."""
    if row.group_key is None:
        return None
    as_urgent = [each.value for each in Severity if rules.urgency(each) <= rules.urgency(Severity(row.severity))]
    earlier = sa.tuple_(alarms.c.raised_at, alarms.c.id) < sa.tuple_(row.raised_at, row.id)
    ahead = sa.select(alarms.c.id).where(
        alarms.c.group_key == row.group_key, alarms.c.severity.in_(as_urgent), earlier, *TELLS
    )
    first: int | None = tx.execute(ahead.order_by(alarms.c.raised_at, alarms.c.id).limit(1)).scalar()
    return first


def _tell(tx: Connection, row: Row[Any], chain: Chain, taken: int, now_ms: int) -> None:
    number, repetition = rules.telling(chain, taken)
    step = chain.steps[number]
    node = node_of(row, step)
    what = f"{number + 1}/{len(chain.steps)} {', '.join(step.audience)} {node}"
    leader = leader_of(tx, row)
    if leader is not None:
        if taken:
            note(tx, row.id, "grouped", f"{what} alarm/{leader}", now_ms)
        return
    key = f"alarm/{row.id}.{row.round}/{number}/{repetition}"
    sent = message.compose(tx, row, step, node, number=number, key=key, now_ms=now_ms)
    told = beyond.send(tx, sent, now_ms)
    if told or taken or sent.digest:
        action = "digested" if sent.digest else "repeated" if repetition else "escalated" if taken else "told"
        note(tx, row.id, action, f"{what} ×{told}", now_ms)


def level_changed(tx: Connection, node: str, now_ms: int) -> None:
    """Another level demands other times: what waits for its next step is due at another time."""
    below = alarms.c.node.startswith(node, autoescape=True)
    rows = tx.execute(sa.select(alarms).where(below, *TELLS).order_by(alarms.c.id)).all()
    waiting = timers.get_timers(tx, STEP, [_key(row) for row in rows])
    at = {
        each: (chains.above(tx, each), beyond.escalation_percent(tx, each, now_ms)) for each in {r.node for r in rows}
    }
    for row in rows:
        timer = waiting.get(_key(row))
        if timer is None:
            continue
        made, percent = at[row.node]
        chain = _chosen(row, made)
        begun, last = timer.data["begun"], timer.data["last"]
        due = rules.due_at(chain, row.escalation, begun_ms=begun, last_ms=last, percent=percent)
        if due is not None and due != timer.due_at:
            timers.set_timer(tx, STEP, timer.key, due, timer.data)


def next_step(tx: Connection, row: Row[Any]) -> int | None:
    """When the next telling of an alarm is due, None when none is to come."""
    tells = row.cleared_at is None and row.open_key is not None and row.acknowledged_at is None and not row.quiet
    return timers.due_of(tx, STEP, _key(row)) if tells else None


timers.HANDLERS[STEP] = _step
LISTENERS.append(heard)
levels.LISTENERS.append(level_changed)
