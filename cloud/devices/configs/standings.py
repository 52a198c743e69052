"""How gateways stand to what is wanted of them: what they tell, what that means, and who never answers.

Owns `config_states`. A report is taken as often as it comes; the same one again changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import stream, timers
from cloud.db import work_of
from cloud.devices import service as fleet
from cloud.devices.configs import rules
from cloud.devices.configs.models import StandingView
from cloud.devices.configs.rules import Phase, Told
from cloud.devices.configs.store import config_documents, config_states
from cloud.devices.places import gateway_node, hold
from cloud.ingest import hooks
from cloud.org.rules import SYSTEM
from cloud.paging import at, at_or_none, to_ms
from cloud.text import clean, clean_ms
from firmware_specs.wire_fleet import ConfigState, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Row

    from cloud.devices.models import GatewayView
    from cloud.timers import Timer

NO_ANSWER: Final = "config-answer"
KIND: Final = "config"
"""Of the events that say how a gateway stands."""
ENDED: Final[list[Callable[[Connection, str, int, Phase, str, int], None]]] = []
"""Told of each report of an order's phase: gateway, version, phase, reason, the present."""


def take(tx: Connection, gateway: str, _rest: str, payload: bytes, now_ms: int) -> None:
    """Take a report. Raises PackError when it is none."""
    state = decode(payload, ConfigState)
    hold(tx, gateway)
    node = gateway_node(tx, gateway)
    if node is None:
        return
    values: dict[str, Any] = {
        "phase": state.phase.value, "version": state.version, "hash": clean(state.hash, 64),
        "reason": clean(state.reason, 2000), "at": clean_ms(state.at_ms), "running_version": state.running_version,
        "running_hash": clean(state.running_hash, 64),
    }  # fmt: skip
    before = tx.execute(sa.select(config_states).where(config_states.c.gateway == gateway)).first()
    if before is None:
        tx.execute(config_states.insert().values(gateway=gateway, told_at=now_ms, **values))
    elif any(getattr(before, name) != value for name, value in values.items()):
        mine = config_states.c.gateway == gateway
        tx.execute(config_states.update().where(mine).values(told_at=now_ms, **values))
    else:
        return
    for listener in ENDED:
        listener(tx, gateway, state.version, Phase(state.phase) if state.phase != "none" else Phase.UNSET,
                 values["reason"], now_ms)  # fmt: skip
    announce(tx, gateway, now_ms)


def told(tx: Connection, gateway: str) -> Row[Any] | None:
    """What a gateway last told, None before it told anything."""
    return tx.execute(sa.select(config_states).where(config_states.c.gateway == gateway)).first()


def newest_told(tx: Connection, gateway: str) -> int:
    """The highest version that a gateway ever named: a cloud that forgot some must not order an older one."""
    row = told(tx, gateway)
    return max(row.version, row.running_version) if row else 0


def ended(tx: Connection, gateway: str, version: int, digest: str) -> Phase | None:
    """What came of an order, None while nothing did or when it is not the last that was told of."""
    row = told(tx, gateway)
    if row is None or (row.version, row.hash) != (version, digest) or row.phase == "none":
        return None
    return Phase(row.phase)


def ordered(tx: Connection, gateway: str, now_ms: int, trial_s: int) -> None:
    """A version was ordered: look again when an answer is due, and say so."""
    timers.set_timer(tx, NO_ANSWER, gateway, rules.answer_due(now_ms, trial_s, now_ms))
    announce(tx, gateway, now_ms)


def _unanswered(tx: Connection, timer: Timer, now_ms: int) -> None:
    if gateway_node(tx, timer.key) is not None:
        announce(tx, timer.key, now_ms)


def announce(tx: Connection, gateway: str, now_ms: int) -> None:
    """Say how a gateway stands to whoever watches, once a transaction."""
    work = work_of(tx)
    view = of(tx, [fleet.get_gateway(tx, SYSTEM, gateway)], now_ms)[0]
    rows = work.buffers.get("events", [])
    rows[:] = [row for row in rows if (row["kind"], row["gateway"]) != (KIND, gateway)]
    stream.append(tx, KIND, view, at=now_ms, node=view.node, gateway=gateway)


def of(tx: Connection, gateways: Sequence[GatewayView], now_ms: int) -> list[StandingView]:
    """How gateways stand, in their order."""
    names = [gateway.id for gateway in gateways]
    c = config_documents.c
    newest = (
        sa.select(c.gateway, sa.func.max(c.version).label("version")).where(c.gateway.in_(names)).group_by(c.gateway)
    ).subquery()
    wanted: sa.Select[Any] = sa.select(c.gateway, c.version, c.hash, c.at, c.trial_s).join(
        newest, sa.and_(newest.c.gateway == c.gateway, newest.c.version == c.version)
    )
    documents = {row.gateway: row for row in tx.execute(wanted)}
    states = {
        row.gateway: row for row in tx.execute(sa.select(config_states).where(config_states.c.gateway.in_(names)))
    }
    return [_standing(g, documents.get(g.id), states.get(g.id), now_ms) for g in gateways]


def _standing(gateway: GatewayView, wanted: Row[Any] | None, state: Row[Any] | None, now_ms: int) -> StandingView:
    since = to_ms(gateway.changed_at) if gateway.online and gateway.changed_at else None
    phase, reason = rules.phase_of(
        (wanted.version, wanted.hash) if wanted else None,
        Told(state.phase, state.version, state.hash, state.reason) if state else None,
        ordered_at=wanted.at if wanted else 0, trial_s=wanted.trial_s if wanted else 0, online_since=since,
        now_ms=now_ms,
    )  # fmt: skip
    running = state.running_hash if state else ""
    return StandingView(
        gateway=gateway.id, node=gateway.node, online=gateway.online, wanted_version=wanted.version if wanted else 0,
        wanted_hash=wanted.hash if wanted else "", ordered_at=at(wanted.at) if wanted else None, phase=phase,
        reason=reason, running_version=state.running_version if state else 0, running_hash=running,
        told_at=at_or_none(state.told_at) if state else None,
        drift=bool(wanted and state and running != wanted.hash and state.phase != Phase.TRIAL),
    )  # fmt: skip


hooks.DOCUMENTS["reported/config"] = take
timers.HANDLERS[NO_ANSWER] = _unanswered
