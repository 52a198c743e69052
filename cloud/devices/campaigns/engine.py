"""The engine: one turn of a campaign, called when its timer is due.

Owns what `rules.next_step` decides being done. A turn holds the campaign's row, so a campaign takes one turn at a time
whatever processes there are; all that it does is one transaction, so a process that dies in it has done nothing, and
the timer is there again. At most 50 members are started, stopped, looked at or brought back a turn; then the timer is
due at once. Locks are taken in one order: the timer's row, the campaign's, the gateways', the members'. Who hears of a
gateway holds its row and may be waiting for a timer's, so a turn takes gateways' rows only when they are free.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog

from cloud import metrics, timers
from cloud.devices import places, selecting
from cloud.devices.campaigns import hooks, members, rules, telling
from cloud.devices.campaigns.models import PolicyBody
from cloud.devices.campaigns.rules import Act, Do, Event, Standing, State, Step, Tally, View
from cloud.devices.campaigns.store import campaigns, claims, waves
from cloud.devices.campaigns.store import members as members_table
from cloud.devices.health import service as health
from cloud.errors import NotFound
from cloud.org import zones
from cloud.org.rules import SYSTEM
from firmware_specs.errors import PatrolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import ColumnElement, Connection, Row

    from cloud.devices.campaigns.members import Key

log: Final = structlog.get_logger("campaigns")
TIMER: Final = "campaign"
LOOK_MS: Final = 60_000
"""How often those who wait for their gateways are looked at, whatever their statuses told."""
STEPS: Final = 12
"""Of one turn, before the timer's next."""
_c: Final = members_table.c


def nudge(tx: Connection, campaign: int, at_ms: int, *, news: bool = False) -> None:
    """Have a campaign take its turn at a time. news: pages are to look again whatever comes of the turn."""
    timers.set_timer(tx, TIMER, str(campaign), at_ms, {"news": True} if news else None)


def hold(tx: Connection, campaign: int) -> Row[Any] | None:
    """A campaign's row, kept from others until the transaction ends."""
    return tx.execute(sa.select(campaigns).where(campaigns.c.id == campaign).with_for_update()).first()


def change(tx: Connection, row: Row[Any], **values: Any) -> Row[Any]:  # noqa: ANN401 - the columns of a campaign
    """Give a campaign other values; the row as it is then."""
    tx.execute(campaigns.update().where(campaigns.c.id == row.id).values(**values))
    return tx.execute(sa.select(campaigns).where(campaigns.c.id == row.id)).one()


def turn(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    """Take a campaign as far as it goes now."""
    row = hold(tx, int(timer.key))
    if row is None:
        return
    late = _time_out(tx, row, now_ms)
    news = bool(late or timer.data)
    policy = PolicyBody.model_validate_json(row.policy).rule()
    again: int | None = now_ms
    for _ in range(STEPS if late < rules.BATCH else 0):
        view = look(tx, row, policy, now_ms)
        step = rules.next_step(view, policy)
        if step.do is Do.WAIT:
            again = step.until
            if any(each.waiting for each in view.waves[: view.wave]) and view.state is State.RUNNING:
                again = min(again or now_ms + LOOK_MS, now_ms + LOOK_MS)
            break
        row = _DO[step.do](tx, row, step, now_ms)
        news = True
        if step.do in _BY_BATCH:
            break
        if step.do in _LAST:
            again = step.until
            break
    if again is not None:
        nudge(tx, row.id, max(again, now_ms + 1))
    if news:
        telling.moved(tx, row, now_ms)


def look(tx: Connection, row: Row[Any], policy: rules.Policy, now_ms: int) -> View:
    """What is decided on."""
    opened = {each.wave: each for each in tx.execute(sa.select(waves).where(waves.c.campaign == row.id))}
    counted = members.tallies(tx, [row.id]).get(row.id, {})
    by_wave = tuple(counted.get(number, Tally()) for number in range(1, len(opened) + 1))
    open_now = [number for number in range(1, row.wave + 1) if by_wave[number - 1].waiting]
    missed = {n: (opened[n].opened_at or now_ms) + 1000 * policy.offline_s for n in open_now}
    over = [n for n in open_now if missed[n] <= now_ms]
    there = functools.partial(members.exist, tx, row.id)
    return View(
        state=State(row.state), wave=row.wave, waves=by_wave, approved_wave=row.approved_wave,
        gate_at=opened[row.wave].gate_at if row.wave else None,
        opens_at=rules.opens_at(policy.windows, zones.zone_of(tx, row.node), now_ms) if policy.windows else now_ms,
        reachable=bool(open_now) and there(rules.WAITING, *members.waiting(online=True, waves_=open_now)),
        overdue=bool(over) and there(rules.WAITING, *members.waiting(online=False, waves_=over)),
        missed_at=min((each for each in missed.values() if each > now_ms), default=None),
        deadline=members.deadline(tx, row.id), now_ms=now_ms,
        unstopped=there(rules.STOPPED_IN.get(State(row.state), ()), _c.stopped.is_(False)),
        closed=row.ended_at is not None,
    )  # fmt: skip


def _next(
    tx: Connection, campaign: int, standings: Iterable[Standing], *held: ColumnElement[bool]
) -> list[Key]:  # fmt: skip
    """The next members that stand so, with their gateways' rows held; who is being heard just now comes next time."""
    keys = members.batch(tx, campaign, standings, *held)
    busy = places.hold_free(tx, {key.gateway for key in keys}) if keys else set()
    return [key for key in keys if key.gateway not in busy]


def _time_out(tx: Connection, row: Row[Any], now_ms: int) -> int:
    """Silence is failure: of those in flight whose time is over. How many there were."""
    late = _next(tx, row.id, rules.IN_FLIGHT, _c.deadline_at <= now_ms)
    subject = json.loads(row.subject) if late else {}
    for key in late:
        if members.fail(tx, key, Event.FAIL, "timeout", now_ms):
            metrics.CAMPAIGN_OUTCOMES.labels(row.kind, "timeout").inc()
            _stop(tx, row, key, subject, now_ms)
        else:
            members.fail(tx, key, Event.BACK_FAIL, "timeout", now_ms)
    return len(late)


def _stop(tx: Connection, row: Row[Any], key: Key, subject: hooks.Subject, now_ms: int) -> None:
    members.note(tx, key, stopped=True)
    why = _order(tx, key, hooks.KINDS[row.kind].stop, subject, now_ms)
    if why:
        log.warning("an order cannot be taken back", campaign=row.id, gateway=key.gateway, error=why)


def _order(tx: Connection, key: Key, order: hooks.Order, subject: hooks.Subject, now_ms: int) -> str:
    """Put an order out. Gives why that cannot be done, empty when it was."""
    try:
        with tx.begin_nested():
            order(tx, key.campaign, subject, key.gateway, key.device, now_ms)
    except PatrolError as e:
        return str(e) or type(e).__name__
    return ""


def _pause(tx: Connection, row: Row[Any], step: Step, now_ms: int) -> Row[Any]:
    row = change(tx, row, state=State.PAUSED.value, reason=step.reason, detail=step.detail)
    telling.happened(tx, row, SYSTEM, "pause", now_ms, wave=row.wave, detail=f"{step.reason} {step.detail}")
    telling.notified(tx, row, "paused", now_ms)
    return row


def _open(tx: Connection, row: Row[Any], step: Step, now_ms: int) -> Row[Any]:
    if row.wave:
        mine = (waves.c.campaign == row.id, waves.c.wave == row.wave)
        tx.execute(waves.update().where(*mine).values(passed_at=now_ms))
    mine = (waves.c.campaign == row.id, waves.c.wave == step.wave)
    tx.execute(waves.update().where(*mine).values(opened_at=now_ms))
    row = change(tx, row, wave=step.wave)
    telling.happened(tx, row, SYSTEM, "wave", now_ms, wave=step.wave)
    return row


def _start(tx: Connection, row: Row[Any], _step: Step, now_ms: int) -> Row[Any]:
    due = now_ms + 1000 * PolicyBody.model_validate_json(row.policy).timeout_s
    subject = json.loads(row.subject)
    opened = members.waiting(online=True, waves_=range(1, row.wave + 1))
    for key in _next(tx, row.id, rules.WAITING, *opened):
        fresh = {"phase": "", "reason": "", "started_at": now_ms, "ended_at": None, "deadline_at": due,
                 "attempt": _c.attempt + 1, "stopped": False}  # fmt: skip
        if not members.move(tx, key, Event.START, **fresh):
            continue
        metrics.CAMPAIGN_OUTCOMES.labels(row.kind, "started").inc()
        why = _order(tx, key, hooks.KINDS[row.kind].start, subject, now_ms)
        if why:
            members.fail(tx, key, Event.FAIL, why, now_ms)
    return row


def _miss(tx: Connection, row: Row[Any], _step: Step, now_ms: int) -> Row[Any]:
    policy = PolicyBody.model_validate_json(row.policy)
    opened = sa.select(waves.c.wave, waves.c.opened_at).where(waves.c.campaign == row.id, waves.c.wave <= row.wave)
    over = [each.wave for each in tx.execute(opened) if (each.opened_at or now_ms) + 1000 * policy.offline_s <= now_ms]
    gone = members.waiting(online=False, waves_=over)
    count = members.move_all(tx, row.id, Event.MISS, *gone, most=rules.CHUNK, reason="offline", ended_at=now_ms)
    telling.happened(tx, row, SYSTEM, "miss", now_ms, wave=row.wave, detail=str(count))
    return row


def _cancel(tx: Connection, row: Row[Any], _step: Step, now_ms: int) -> Row[Any]:
    members.move_all(tx, row.id, Event.CANCEL, most=rules.CHUNK, ended_at=now_ms)
    return row


def _soak(tx: Connection, row: Row[Any], step: Step, now_ms: int) -> Row[Any]:
    mine = (waves.c.campaign == row.id, waves.c.wave == row.wave)
    tx.execute(waves.update().where(*mine).values(gate_at=step.until))
    telling.happened(tx, row, SYSTEM, "soak", now_ms, wave=row.wave)
    return row


def _check(tx: Connection, row: Row[Any], _step: Step, now_ms: int) -> Row[Any]:
    """A line that is down for a moment is not held against the change: who is away is looked at last, and again."""
    judged = False
    for key in members.batch(tx, row.id, [Standing.COMMITTED], _c.wave == row.wave, _c.checked.is_(False)):
        found = _verdict(tx, key.gateway, now_ms)
        if found.away_since is not None and now_ms - found.away_since < rules.LINE_MS:
            continue
        judged = True
        reason = {} if found.good else {"reason": found.why[: members.REASON]}
        members.note(tx, key, checked=True, unhealthy=not found.good, **reason)
    if not judged:
        mine = (waves.c.campaign == row.id, waves.c.wave == row.wave)
        tx.execute(waves.update().where(*mine).values(gate_at=now_ms + rules.LOOK_AGAIN_MS))
    return row


def _verdict(tx: Connection, gateway: str, now_ms: int) -> health.Verdict:
    try:
        return health.healthy(tx, gateway, now_ms)
    except NotFound as e:  # it was removed meanwhile
        return health.Verdict(False, str(e))


def _ask(tx: Connection, row: Row[Any], step: Step, now_ms: int) -> Row[Any]:
    if row.awaits == step.wave:
        return row
    row = change(tx, row, awaits=step.wave)
    telling.happened(tx, row, SYSTEM, "ask", now_ms, wave=step.wave)
    telling.notified(tx, row, "asks", now_ms)
    return row


def _back(tx: Connection, row: Row[Any], step: Step, now_ms: int) -> Row[Any]:
    policy = PolicyBody.model_validate_json(row.policy)
    back = hooks.KINDS[row.kind].back
    only = (_c.wave == step.wave,) if step.wave else ()
    due = sa.case(
        (selecting.online(_c.gateway), sa.literal(now_ms + 1000 * policy.timeout_s, sa.BigInteger)),
        else_=sa.literal(now_ms + 1000 * policy.offline_s, sa.BigInteger),
    )
    subject = json.loads(row.subject)
    for key in _next(tx, row.id, [Standing.COMMITTED], *only):
        values = {"phase": "", "reason": "", "ended_at": None, "deadline_at": due}
        if not members.move(tx, key, Event.GO_BACK, **values):
            continue
        why = _order(tx, key, back, subject, now_ms) if back else "nothing leads back"
        if why:
            members.fail(tx, key, Event.BACK_FAIL, why, now_ms)
    return row


def _stop_some(tx: Connection, row: Row[Any], _step: Step, now_ms: int) -> Row[Any]:
    subject = json.loads(row.subject)
    for key in _next(tx, row.id, rules.STOPPED_IN[State(row.state)], _c.stopped.is_(False)):
        _stop(tx, row, key, subject, now_ms)
    return row


def _finish(tx: Connection, row: Row[Any], _step: Step, now_ms: int) -> Row[Any]:
    state = rules.after(State(row.state), Act.FINISH) or State(row.state)
    if row.wave and state is State.ENDED:
        mine = (waves.c.campaign == row.id, waves.c.wave == row.wave)
        tx.execute(waves.update().where(*mine).values(passed_at=now_ms))
    row = change(tx, row, state=state.value, ended_at=now_ms, awaits=None, reason="", detail="")
    tx.execute(claims.delete().where(claims.c.campaign == row.id))
    telling.happened(tx, row, SYSTEM, "end", now_ms, detail=state.value)
    telling.notified(tx, row, "ended", now_ms)
    return row


def _reopen(tx: Connection, row: Row[Any], _step: Step, now_ms: int) -> Row[Any]:
    row = change(tx, row, state=State.ROLLING_BACK.value, ended_at=None)
    telling.happened(tx, row, SYSTEM, "reopen", now_ms)
    return row


_DO: Final[dict[Do, Callable[[Connection, Row[Any], Step, int], Row[Any]]]] = {
    Do.PAUSE: _pause, Do.OPEN: _open, Do.START: _start, Do.MISS: _miss, Do.SOAK: _soak, Do.CHECK: _check,
    Do.CANCEL: _cancel, Do.ASK: _ask, Do.BACK: _back, Do.STOP: _stop_some, Do.FINISH: _finish, Do.REOPEN: _reopen,
}  # fmt: skip
_BY_BATCH: Final = frozenset({Do.START, Do.MISS, Do.CHECK, Do.CANCEL, Do.BACK, Do.STOP})
_LAST: Final = frozenset({Do.ASK, Do.FINISH})
timers.HANDLERS[TIMER] = turn
