"""What happened in a drill, gathered for its score.

Owns the reading: of its incidents and their clocks, checklists, responders and timelines, of alarms that opened none,
and of messages to the sandbox. Users are given by their role, members by their call sign.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.alerts import drilled
from cloud.alerts.notify import drilled as messages
from cloud.incidents.drills import rules
from cloud.incidents.drills.models import AnswerView, MessagesView, PartView, RunView, ScoreView, TimingView
from cloud.incidents.drills.rules import Run, Timing
from cloud.incidents.store import clocks, incident_alarms, incidents, responders, timeline
from cloud.org import service as org
from cloud.org.rules import SYSTEM
from cloud.paging import at
from cloud.presence.rosters import service as rosters

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, Row

_STOPPED: Final = ("evidence", "hand")
"""How a clock was stopped in earnest; closing an incident only puts it to rest."""


class Measured(NamedTuple):
    """A run, and what it was measured of."""

    incident: int | None
    alarm: int | None
    began_at: int
    run: Run


def incidents_of(tx: Connection, drill: int, *, open_only: bool = False) -> list[int]:
    """The ids of a drill's incidents, oldest first."""
    wanted = sa.select(incidents.c.id).where(incidents.c.drill == drill).order_by(incidents.c.id)
    return list(tx.execute(wanted.where(incidents.c.state != "closed") if open_only else wanted).scalars())


def score_of(tx: Connection, drill: int, began_at: int, ended_at: int, now_ms: int) -> ScoreView:
    """Score a drill that began and ended at these times."""
    rows = tx.execute(sa.select(incidents).where(incidents.c.drill == drill).order_by(incidents.c.id)).all()
    ids = [row.id for row in rows]
    alarms = drilled.of_drill(tx, drill)
    tied = set(tx.execute(sa.select(incident_alarms.c.alarm).where(incident_alarms.c.incident.in_(ids))).scalars())
    measured = [_of_incident(tx, row, ended_at) for row in rows]
    measured += [_of_alarm(alarm, ended_at) for alarm in alarms if alarm.id not in tied]
    sent = messages.of_subjects(
        tx, [("drill", drill), *(("incident", each) for each in ids), *(("alarm", alarm.id) for alarm in alarms)]
    )
    scored = rules.score([each.run for each in measured], sent.delivered, sent.failed)
    acknowledged = [(a.acknowledged_by, a.acknowledged_at) for a in alarms if a.acknowledged_by]
    return ScoreView(
        total=scored.total,
        parts=[PartView(name=part.name, points=part.points, got=part.got) for part in scored.parts],
        runs=[_view(each) for each in measured],
        answered=_answered(tx, ids, acknowledged, (began_at, ended_at), now_ms),
        messages=MessagesView(delivered=sent.delivered, failed=sent.failed, waiting=sent.waiting),
    )


def _of_incident(tx: Connection, row: Row[Any], ended_at: int) -> Measured:
    timings = [rules.timing(rules.RECEIPT, rules.RECEIPT_TARGET_S, row.event_at, row.owned_at, ended_at)]
    found = {each.name: each for each in tx.execute(sa.select(clocks).where(clocks.c.incident == row.id))}
    for name in ("on_scene", "reinforcement", "area"):
        clock = found.get(name)
        if clock is not None:
            stopped = clock.stopped_at if clock.how in _STOPPED else None
            timings.append(rules.timing(name, clock.target_s, row.event_at, stopped, ended_at))
    steps = json.loads(row.checklist)
    done = sum(1 for step in steps if step.get("done_at"))
    return Measured(row.id, None, row.event_at, Run(timings, done, len(steps)))


def _of_alarm(alarm: drilled.DrilledAlarm, ended_at: int) -> Measured:
    receipt = rules.timing(rules.RECEIPT, rules.RECEIPT_TARGET_S, alarm.received_at, alarm.acknowledged_at, ended_at)
    return Measured(None, alarm.id, alarm.received_at, Run([receipt]))


def _view(measured: Measured) -> RunView:
    def view(each: Timing) -> TimingView:
        return TimingView(name=each.name, target_s=each.target_s, took_s=each.took_s, judged=each.judged)

    return RunView(
        incident=measured.incident, alarm=measured.alarm, began_at=at(measured.began_at),
        timings=[view(each) for each in measured.run.timings], done=measured.run.done, steps=measured.run.steps,
    )  # fmt: skip


def _answered(
    tx: Connection, ids: Collection[int], acknowledged: list[tuple[str, int | None]], span: tuple[int, int], now_ms: int
) -> list[AnswerView]:
    """By role and by call sign: how often, and how soon. The system itself does not answer."""
    began_at, ended_at = span
    roles = {user.name: user.role.value for user in org.list_users(tx)}
    roles |= {f"token:{token.name}": token.role.value for token in org.list_tokens(tx, now_ms)}
    wanted = sa.select(timeline.c.actor, timeline.c.at).where(timeline.c.incident.in_(ids), timeline.c.at <= ended_at)
    acts = [(row.actor, row.at) for row in tx.execute(wanted)]
    acts += [(who, when) for who, when in acknowledged if when is not None and when <= ended_at]
    seen: dict[tuple[str, bool], list[int]] = {}
    for who, when in acts:
        if who in roles and who != SYSTEM.label:
            seen.setdefault((roles[who], False), []).append(when)
    came = tx.execute(
        sa.select(responders.c.member, responders.c.accepted_at, responders.c.arrived_at).where(
            responders.c.incident.in_(ids)
        )
    ).all()
    signs = rosters.member_names(tx, {row.member for row in came})
    for row in came:
        times = [when for when in (row.accepted_at, row.arrived_at) if when is not None and when <= ended_at]
        if times and row.member in signs:
            seen.setdefault((signs[row.member], True), []).extend(times)
    views = [
        AnswerView(who=who, call_sign=sign, acts=len(times), first_s=max(0.0, (min(times) - began_at) / 1000))
        for (who, sign), times in seen.items()
    ]
    return sorted(views, key=lambda view: (view.first_s, view.who))
