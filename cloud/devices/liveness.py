"""When silence becomes a state: leases, deadlines, and what follows when a gateway goes or returns.

Owns the deadline rows. A deadline says when to look; whether it has passed is judged then, from the lease, which every
word of a gateway or device renews. So hearing costs no deadline write, and nothing is edge-triggered: whatever a
restart, a lost message or a repeat did, the next look reconciles state with the lease.

A gateway's outage raises one alarm and none for its devices, whose states are unknown meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from cloud import catalogue, metrics
from cloud.alerts import service as alerts
from cloud.db import insert
from cloud.devices import hooks, views
from cloud.devices.places import hold
from cloud.devices.rules import GATEWAY_KIND, SILENT_KIND, allowed_silence_ms, lease_left_ms
from cloud.devices.store import deadlines, devices, gateways, watch
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from sqlalchemy import Connection, Row

BATCH: Final = 100
FALLEN: Final = 10
"""Gateways and devices that one transaction calls silent: alarms of others wait while it is open."""
WATCH_GAP_MS: Final = 5000
"""A longer pause between two looks means that the cloud was away and could not have heard."""
AWAY: Final[list[Callable[[Connection, int, int], None]]] = []
"""Told when the cloud was away: for how many milliseconds, and the present. Whoever waits for answers gives it back."""


class Allowed(NamedTuple):
    """How long silence is allowed."""

    gateway_ms: int = 90_000
    device_grace_ms: int = 15_000


def next_due(tx: Connection) -> int | None:
    """When the next deadline is due, None when there is none."""
    due: int | None = tx.execute(sa.select(sa.func.min(deadlines.c.due_at))).scalar()
    return due


def attend(tx: Connection, now_ms: int) -> None:
    """Note that the cloud watches, and give back to every lease the time in which it did not."""
    alive = tx.execute(sa.select(watch.c.alive_at)).scalar()
    if alive is None:
        tx.execute(watch.insert().values(id=1, alive_at=now_ms))
        return
    away = now_ms - alive
    tx.execute(watch.update().values(alive_at=now_ms))
    if 0 <= away <= WATCH_GAP_MS:
        return
    for call in AWAY:
        call(tx, max(away, 0), now_ms)
    for table in (gateways, devices):
        given = table.c.lease_at + max(away, 0)
        tx.execute(table.update().values(lease_at=sa.case((given > now_ms, now_ms), else_=given)))
    # After a clock was set back every deadline lies too far ahead: the next look puts it right.
    tx.execute(deadlines.update().where(deadlines.c.due_at > now_ms).values(due_at=now_ms))


def tick(tx: Connection, now_ms: int, allowed: Allowed) -> int:
    """Judge the deadlines that are due, at most 100. Gives how many were taken; less than 100: none is left.

    Several workers may call it: on PostgreSQL each takes rows that no other holds.
    """
    due = sa.select(deadlines).where(deadlines.c.due_at <= now_ms).order_by(deadlines.c.due_at).limit(BATCH)
    rows = tx.execute(due.with_for_update(skip_locked=True)).all()
    fallen = 0
    for row in rows:
        if fallen == FALLEN:
            return BATCH
        look = _look_at_gateway if row.kind == "gateway" else _look_at_device
        fallen += look(tx, row, now_ms, allowed)
    return len(rows)


def _look_at_gateway(tx: Connection, row: Row[Any], now_ms: int, allowed: Allowed) -> bool:
    """Whether it fell silent."""
    hold(tx, row.gateway)
    gateway = tx.execute(sa.select(gateways).where(gateways.c.id == row.gateway)).first()
    if gateway is None or not gateway.online or gateway.lease_at is None:
        drop(tx, "gateway", row.gateway)
        return False
    left = lease_left_ms(gateway.lease_at, allowed.gateway_ms, now_ms)
    if left > 0:
        _later(tx, row, now_ms + left)
        return False
    metrics.TIMER_LATENESS.observe(-left / 1000)
    went_offline(tx, row.gateway, at_ms=now_ms + left, now_ms=now_ms)
    return True


def _look_at_device(tx: Connection, row: Row[Any], now_ms: int, allowed: Allowed) -> bool:
    """Whether it fell silent."""
    # Before the lease is read: on PostgreSQL a word of the device may be on its way to commit.
    hold(tx, row.gateway)
    device = tx.execute(
        sa.select(devices, gateways.c.online)
        .join(gateways, gateways.c.id == devices.c.gateway)
        .where(devices.c.gateway == row.gateway, devices.c.id == row.device)
    ).first()
    profile = catalogue.profile(device.profile) if device else None
    if device is None or profile is None or device.silent or not device.online:
        # An offline gateway's return, and a silent device's first word, set it again.
        drop(tx, "device", row.gateway, row.device)
        return False
    left = lease_left_ms(device.lease_at, allowed_silence_ms(profile, allowed.device_grace_ms), now_ms)
    if left > 0:
        _later(tx, row, now_ms + left)
        return False
    metrics.TIMER_LATENESS.observe(-left / 1000)
    drop(tx, "device", row.gateway, row.device)
    mine = (devices.c.gateway == row.gateway, devices.c.id == row.device)
    tx.execute(devices.update().where(*mine).values(silent=True, touched_at=now_ms))
    alerts.raise_own(
        tx, row.gateway, row.device, SILENT_KIND, Severity.MINOR, at_ms=now_ms + left, now_ms=now_ms
    )  # fmt: skip
    return True


def _later(tx: Connection, row: Row[Any], due_at: int) -> None:
    mine = (deadlines.c.kind == row.kind, deadlines.c.gateway == row.gateway, deadlines.c.device == row.device)
    tx.execute(deadlines.update().where(*mine).values(due_at=due_at))


def drop(tx: Connection, kind: str, gateway: str, device: str = "") -> None:
    """Forget a deadline."""
    mine = (deadlines.c.kind == kind, deadlines.c.gateway == gateway, deadlines.c.device == device)
    tx.execute(deadlines.delete().where(*mine))


def expect(tx: Connection, kind: str, gateway: str, names: Iterable[str], now_ms: int) -> None:
    """Look at these soon: the first look sets the true time. Deadlines that exist stay as they are."""
    wanted = [{"kind": kind, "gateway": gateway, "device": name, "due_at": now_ms} for name in sorted(names)]
    if wanted:
        tx.execute(insert(tx, deadlines).on_conflict_do_nothing(), wanted)


def heard_silent(tx: Connection, gateway: str, names: Iterable[str], now_ms: int) -> None:
    """Devices that were silent spoke."""
    for name in sorted(names):
        mine = (devices.c.gateway == gateway, devices.c.id == name)
        tx.execute(devices.update().where(*mine).values(silent=False, touched_at=now_ms))
        alerts.clear_own(tx, gateway, name, SILENT_KIND, now_ms)
        expect(tx, "device", gateway, [name], now_ms)


def came_online(tx: Connection, gateway: str, now_ms: int) -> None:
    """The gateway is back: its alarm clears, its devices are judged anew from now."""
    values = {"online": True, "changed_at": now_ms, "touched_at": now_ms}
    tx.execute(gateways.update().where(gateways.c.id == gateway).values(values))
    mine = devices.c.gateway == gateway
    tx.execute(devices.update().where(mine).values(lease_at=now_ms, touched_at=now_ms))
    hooks.tell_line(tx, gateway, online=True, at_ms=now_ms)
    alerts.clear_own(tx, gateway, "", GATEWAY_KIND, now_ms)
    alerts.fold(tx, gateway, SILENT_KIND, None, now_ms)
    expect(tx, "gateway", gateway, [""], now_ms)
    names = tx.execute(sa.select(devices.c.id).where(mine, devices.c.profile != "", ~devices.c.silent)).scalars()
    expect(tx, "device", gateway, names.all(), now_ms)
    views.announce_gateway(tx, gateway, now_ms)


def went_offline(tx: Connection, gateway: str, *, at_ms: int, now_ms: int) -> None:
    """The gateway is gone: one alarm, and its devices' states are unknown."""
    values = {"online": False, "changed_at": now_ms, "touched_at": now_ms}
    tx.execute(gateways.update().where(gateways.c.id == gateway).values(values))
    tx.execute(devices.update().where(devices.c.gateway == gateway).values(touched_at=now_ms))
    drop(tx, "gateway", gateway)
    hooks.tell_line(tx, gateway, online=False, at_ms=min(at_ms, now_ms))
    alarm = alerts.raise_own(tx, gateway, "", GATEWAY_KIND, Severity.MAJOR, at_ms=at_ms, now_ms=now_ms)
    if alarm is not None:
        alerts.fold(tx, gateway, SILENT_KIND, alarm, now_ms)
    views.announce_gateway(tx, gateway, now_ms)
