"""Telling people of an alarm until somebody acknowledges it: the first notice, the chain's steps, the repetitions.

Owns the timers of telling and the columns `round` and `escalation`. A round begins when an alarm is raised, or comes
back after something kept it quiet; within a round each step is taken once, whenever its timer is looked at: the time
of a step is a row that survives a restart, and what is overdue then is taken at once. A step is taken only while the
alarm stands, nobody acknowledged it and nothing keeps it quiet; so nothing has to be called off when one of these ends.

- Of a group the first alarm tells, for all that are as severe at most.
- What flaps tells in a digest every quarter of an hour. What is protected is never put off.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.alerts import beyond, chains, rules, views
from cloud.alerts.hooks import LISTENERS, Happening
from cloud.alerts.notify.service import Message
from cloud.alerts.quiet import OPEN, note
from cloud.alerts.store import alarms
from cloud.devices.places import hold
from cloud.incidents.levels import hooks as levels
from cloud.org import tree
from cloud.org.rules import Role
from cloud.paging import at
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.alerts.rules import Chain, Step
    from cloud.timers import Timer

STEP: Final = "alarm-step"
DIGEST: Final = "alarm-digest"
DIGEST_MS: Final = 900_000
TELLS: Final = (*OPEN, alarms.c.acknowledged_at.is_(None), alarms.c.quiet == "")


def heard(tx: Connection, happening: Happening, alarm_id: int, now_ms: int) -> None:
    """Begin a round when an alarm is raised or returns. Acknowledged and cleared end it by themselves."""
    if happening is not Happening.RAISED:
        return
    row = tx.execute(sa.select(alarms).where(alarms.c.id == alarm_id, *TELLS)).first()
    if row is not None and row.escalation == 0 and timers.due_of(tx, STEP, _key(row)) is None:
        _advance(tx, row, begun=now_ms, last=now_ms, now_ms=now_ms)


def _key(row: Row[Any]) -> str:
    return f"{row.id}.{row.round}"


def _step(tx: Connection, timer: Timer, now_ms: int) -> None:
    alarm_id, _, number = timer.key.partition(".")
    gateway = tx.execute(sa.select(alarms.c.gateway).where(alarms.c.id == int(alarm_id))).scalar()
    hold(tx, gateway or "")
    mine = sa.select(alarms).where(alarms.c.id == int(alarm_id), alarms.c.round == int(number), *TELLS)
    row = tx.execute(mine.with_for_update()).first()
    if row is not None:
        _advance(tx, row, begun=timer.data["begun"], last=timer.data["last"], now_ms=now_ms)
        views.announce(tx, [row.id], now_ms)


def chain_of(tx: Connection, row: Row[Any], now_ms: int) -> tuple[Chain, int]:
    """The chain of an alarm, and the percentage of its times that the response level demands."""
    chain = chains.of_alarm(tx, row.node, row.kind, Severity(row.severity))
    return chain, beyond.escalation_percent(tx, row.node, now_ms)


def _advance(tx: Connection, row: Row[Any], *, begun: int, last: int, now_ms: int) -> None:
    """Take every telling that is due, and set the timer of the next."""
    chain, percent = chain_of(tx, row, now_ms)
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
    """The alarm of the same group that tells for this one, None when it tells for itself."""
    if row.group_key is None:
        return None
    mine = (rules.urgency(Severity(row.severity)), row.raised_at, row.id)
    others = tx.execute(
        sa.select(alarms.c.severity, alarms.c.raised_at, alarms.c.id).where(
            alarms.c.group_key == row.group_key, alarms.c.id != row.id, *TELLS
        )
    )
    ahead = [(at_ms, alarm) for severity, at_ms, alarm in others
             if rules.leads((rules.urgency(Severity(severity)), at_ms, alarm), mine)]  # fmt: skip
    return min(ahead)[1] if ahead else None


def _tell(tx: Connection, row: Row[Any], chain: Chain, taken: int, now_ms: int) -> None:
    number, repetition = rules.telling(chain, taken)
    step = chain.steps[number]
    node = node_of(row, step)
    what = f"{number + 1}/{len(chain.steps)} {', '.join(step.roles)} {node}"
    leader = leader_of(tx, row)
    if leader is not None:
        if taken:
            note(tx, row.id, "grouped", f"{what} alarm/{leader}", now_ms)
        return
    if row.flapping and row.kind not in rules.PROTECTED:
        _put_off(tx, row, step, node, now_ms)
        note(tx, row.id, "digested", what, now_ms)
        return
    key = f"alarm/{row.id}.{row.round}/{number}/{repetition}"
    told = beyond.send(tx, _message(tx, row, step, node, key=key, template="alarm", more={"step": str(number + 1)}))
    if told or taken:
        action = "told" if not taken else "repeated" if repetition else "escalated"
        note(tx, row.id, action, f"{what} ×{told}", now_ms)


def _message(
    tx: Connection, row: Row[Any], step: Step, node: str, *, key: str, template: str, more: dict[str, str]
) -> Message:
    zh, en = views.title(row.kind, row.rule)
    together = 1
    if row.group_key is not None:
        mine = (alarms.c.group_key == row.group_key, alarms.c.cleared_at.is_(None))
        together = int(tx.execute(sa.select(sa.func.count()).select_from(alarms).where(*mine)).scalar_one())
    names = tree.names(tx, [row.node]).get(row.node, ("", ""))
    values = {
        "id": str(row.id), "title_zh": zh, "title_en": en, "kind": row.kind, "severity": row.severity,
        "gateway": row.gateway, "device": row.device, "location": row.location, "node": row.node,
        "node_zh": names[0], "node_en": names[1], "raised_at": at(row.raised_at).isoformat(),
        "together": str(together), "maintenance": str(row.maintenance or ""), "late": "1" if row.late else "",
        **more,
    }  # fmt: skip
    severity = Severity(row.severity)
    urgent = severity is Severity.CRITICAL or row.kind in rules.PROTECTED
    roles = tuple(Role(role) for role in step.roles)
    return Message(node, "alarm", row.id, template, values, severity, roles, urgent, row.drill, key)


def _put_off(tx: Connection, row: Row[Any], step: Step, node: str, now_ms: int) -> None:
    """Have it told in the digest of this quarter of an hour: one for each family and those who are told."""
    family = f"{row.gateway}|{row.device}|{row.kind}|{','.join(step.roles)}|{node}"
    window = now_ms // DIGEST_MS
    key = f"{hashlib.sha256(family.encode()).hexdigest()[:32]}.{window}"
    known = timers.get_timer(tx, DIGEST, key)
    data = {
        "alarm": row.id, "roles": list(step.roles), "node": node,
        "count": known.data["count"] + 1 if known else 1,
    }  # fmt: skip
    timers.set_timer(tx, DIGEST, key, (window + 1) * DIGEST_MS, data)


def _digest(tx: Connection, timer: Timer, now_ms: int) -> None:
    """Tell of what flapped: how often, and how its last alarm stands. Told also when that is cleared by now."""
    row = tx.execute(sa.select(alarms).where(alarms.c.id == timer.data["alarm"])).first()
    if row is None:
        return
    step = rules.Step(0, tuple(timer.data["roles"]))
    more = {"count": str(timer.data["count"]), "state": views.state_of(row).value}
    key = f"alarm-digest/{timer.key}"
    message = _message(tx, row, step, timer.data["node"], key=key, template="alarm-digest", more=more)
    told = beyond.send(tx, message)
    note(tx, row.id, "told", f"{', '.join(step.roles)} {timer.data['node']} ×{told}", now_ms)


def level_changed(tx: Connection, node: str, now_ms: int) -> None:
    """Another level demands other times: what waits for its next step is due at another time."""
    below = alarms.c.node.startswith(node, autoescape=True)
    for row in tx.execute(sa.select(alarms).where(below, *TELLS).order_by(alarms.c.id)).all():
        timer = timers.get_timer(tx, STEP, _key(row))
        if timer is None:
            continue
        chain, percent = chain_of(tx, row, now_ms)
        begun, last = timer.data["begun"], timer.data["last"]
        due = rules.due_at(chain, row.escalation, begun_ms=begun, last_ms=last, percent=percent)
        if due is not None and due != timer.due_at:
            timers.set_timer(tx, STEP, timer.key, due, timer.data)


def next_step(tx: Connection, row: Row[Any]) -> int | None:
    """When the next telling of an alarm is due, None when none is to come."""
    tells = row.cleared_at is None and row.open_key is not None and row.acknowledged_at is None and not row.quiet
    return timers.due_of(tx, STEP, _key(row)) if tells else None


timers.HANDLERS[STEP] = _step
timers.HANDLERS[DIGEST] = _digest
LISTENERS.append(heard)
levels.LISTENERS.append(level_changed)
