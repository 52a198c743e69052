"""From what is stored of a gateway to how it is; and the look at each gateway every five minutes.

Owns the gathering of facts, the row that says how a gateway was last judged, and the alarms that must not wait. A look
is a timer of the gateway: set by its first status and when its clock changed, and by each look again. Each gateway has
its own turn by its name, so that a fleet that comes all at once, or back after an outage, is judged evenly.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from cloud import timers
from cloud.alerts import service as alerts
from cloud.db import insert
from cloud.devices import service as devices
from cloud.devices.health import history
from cloud.devices.health.alarms import ALARMS, Want, alarms
from cloud.devices.health.rules import WORST, Facts, Finding, Lost, State, judge, overall, turn
from cloud.devices.health.store import vitals
from cloud.devices.places import hold, known_place
from cloud.errors import NotFound
from cloud.ingest import hooks
from cloud.ingest import service as ingest
from cloud.org.rules import SYSTEM
from cloud.paging import to_ms
from cloud.text import clean
from firmware_specs.readings import Clock, Severity
from firmware_specs.wire_vitals import Vitals

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.devices.models import GatewayView
    from firmware_specs.wire import Status

LOOK: Final = "health-look"
EVERY_MS: Final = 300_000
SOON_MS: Final = 60_000
"""Within it a gateway is judged that has news."""
SEVERITIES: Final = {
    "gateway-disk-full": Severity.MAJOR, "gateway-certificate": Severity.MAJOR, "gateway-clock": Severity.MINOR,
    "gateway-wear": Severity.MINOR,
}  # fmt: skip
DAY_MS: Final = 86_400_000
MAX_TOLD: Final = 64 * 1024
"""Characters; what the wire allows is less."""
_decode: Final = msgspec.json.Decoder(Vitals).decode


def took(tx: Connection, gateway: str, status: Status, now_ms: int) -> None:
    """A gateway told its status."""
    before = row_of(tx, gateway)
    if before is None and known_place(tx, gateway) is None:
        return
    synced = status.clock is Clock.SYNCED
    values: dict[str, Any] = {
        "told_at": now_ms,
        "unsynced_since": None if synced else now_ms,
        "synced_since": now_ms if synced else None,
    }
    if before is not None and (before.unsynced_since is None) is synced:
        values |= {"unsynced_since": before.unsynced_since, "synced_since": before.synced_since}
    if status.vitals is not None:
        values["told"] = clean(msgspec.json.encode(status.vitals).decode(), MAX_TOLD)
        history.take(tx, gateway, status.vitals, _decode(before.told) if before is not None else Vitals(), now_ms)
    if before is None:
        fresh = {"told": "{}", "state": State.UNKNOWN.value, "reasons": "[]", **values}
        put = insert(tx, vitals).values(gateway=gateway, **fresh)
        tx.execute(put.on_conflict_do_update(index_elements=["gateway"], set_=values))
    else:
        tx.execute(vitals.update().where(vitals.c.gateway == gateway).values(values))
    changed = before is None or (before.unsynced_since is None) is not synced
    if changed or timers.due_of(tx, LOOK, gateway) is None:
        timers.set_timer(tx, LOOK, gateway, turn(gateway, SOON_MS, now_ms))


def row_of(tx: Connection, gateway: str) -> Row[Any] | None:
    """What is stored of a gateway, None before it told anything."""
    return tx.execute(sa.select(vitals).where(vitals.c.gateway == gateway)).first()


def facts_of(tx: Connection, view: GatewayView, now_ms: int) -> Facts:
    """What is known of a gateway."""
    row = row_of(tx, view.id)
    told = _decode(row.told) if row is not None and row.told != "{}" else None
    oldest = [to_ms(lane.oldest_at) for lane in view.outbox.values() if lane.oldest_at]
    week = ingest.ledger_between(tx, [view.id], now_ms - 7 * DAY_MS, now_ms + DAY_MS).get(view.id, ingest.Tally())
    return Facts(
        online=view.online,
        heard_at=to_ms(view.last_seen_at) if view.last_seen_at else None,
        changed_at=to_ms(view.changed_at) if view.changed_at else None,
        told_at=row.told_at if row is not None else None,
        vitals=told,
        degraded=view.degraded,
        connectors=view.connectors,
        oldest_at=min(oldest, default=None),
        waiting=sum(lane.waiting for lane in view.outbox.values()),
        unsynced_since=row.unsynced_since if row is not None else None,
        shares=history.shares(tx, view.id, now_ms),
        latest=_own_metrics(tx, view.id, now_ms),
        devices=view.devices,
        silent=view.devices_silent,
        gauges=[(gauge.role, gauge.value) for gauge in devices.gauges(tx, view.id)],
        written=[(each.day, each.written) for each in history.written(tx, view.id, 10)],
        loss=Lost(week.lost, week.thinned),
        agent_version=view.agent_version,
    )


def _own_metrics(tx: Connection, gateway: str, now_ms: int) -> dict[str, float]:
    """The latest figures of the gateway as a device."""
    try:
        view = devices.get_device(tx, SYSTEM, gateway, gateway, now_ms)
    except NotFound:
        return {}
    return {
        name: float(each.value)
        for name, each in view.latest.items()
        if isinstance(each.value, int | float) and not isinstance(each.value, bool)
    }


def reasons(findings: list[Finding]) -> list[str]:
    """The measures that are not good, the worst first."""
    worst = sorted(findings, key=lambda each: WORST.index(each.state))
    return [each.measure for each in worst if each.state in {State.BAD, State.WATCH}]


def look(tx: Connection, gateway: str, now_ms: int) -> None:
    """Judge a gateway, keep how it is, raise and clear what must not wait."""
    hold(tx, gateway)
    facts = facts_of(tx, devices.get_gateway(tx, SYSTEM, gateway), now_ms)
    findings = judge(facts, now_ms)
    values = {
        "state": overall(findings).value, "reasons": json.dumps(reasons(findings)), "judged_at": now_ms,
    }  # fmt: skip
    tx.execute(vitals.update().where(vitals.c.gateway == gateway).values(values))
    row = row_of(tx, gateway)
    wanted = alarms(facts, row.synced_since if row is not None else None, now_ms)
    open_kinds = {kind for kind in alerts.active_kinds(tx, [gateway]).get((gateway, ""), ()) if kind in ALARMS}
    for kind, want in wanted.items():
        if want is Want.RAISE and kind not in open_kinds:
            alerts.raise_own(tx, gateway, "", kind, SEVERITIES[kind], at_ms=now_ms, now_ms=now_ms)
        elif want is Want.CLEAR and kind in open_kinds:
            alerts.clear_own(tx, gateway, "", kind, now_ms)


def _look(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    """A look that is due; the gateway may be gone."""
    if known_place(tx, timer.key) is None:
        return
    look(tx, timer.key, now_ms)
    history.forget(tx, timer.key, now_ms)
    timers.set_timer(tx, LOOK, timer.key, turn(timer.key, EVERY_MS, now_ms))


hooks.STATUS.append(took)
timers.HANDLERS[LOOK] = _look
