"""Walk tests: from detector to detector, each ticked off when its alarm or its test value arrives.

Owns `walks` and `walk_devices` and their timer. What a device under test raises is recorded and shown as always; only
that nobody is called out is held, by a maintenance of that very device (`cloud.alerts.silences`), as long as
`rules.hold_ends` says. When the hold of an alarm that still stands ends, alerts tell it as if it were new.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.alerts import hooks, silences
from cloud.alerts import service as alerts
from cloud.alerts.hooks import Happening
from cloud.catalogue import profiles
from cloud.devices import service as devices
from cloud.devices.field import rules, walk_views
from cloud.devices.field.adoption import may_provision
from cloud.devices.field.news import tell
from cloud.devices.field.rules import Mark, Proof
from cloud.devices.field.store import walk_devices, walks
from cloud.devices.places import hold
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import audit
from cloud.org.rules import SYSTEM, Permission, Principal, Role, scope, visible
from cloud.paging import MAX_LIMIT, Page, decode_cursor, encode_cursor, to_ms
from cloud.text import clean
from firmware_specs.readings import Clock, Lane, Quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from cloud.alerts.facts import Facts
    from cloud.devices.field.models import MarkBody, NewWalk, ShownBody, WalkDetail, WalkView
    from cloud.devices.models import DeviceView
    from cloud.timers import Timer

TIMER: Final = "walk"
LOOK_MS: Final = 2_000
"""How often a walk is looked at: for test values, which raise no alarm, and for holds that end."""
_TOLD: Final = ("marked_at", "marked_by", "alarm", "alarm_at", "observed_at", "received_at", "shown_at")
"""Columns that a device tested once more begins without."""


def start(tx: Connection, actor: Principal, given: NewWalk, now_ms: int) -> WalkDetail:
    """Begin a walk test. Raises Forbidden, NotFound, Conflict when one is under way, Invalid when it has no device."""
    may_provision(actor)
    if not actor.may(Permission.MAINTAIN):
        raise Forbidden(f"role {actor.role} may not {Permission.MAINTAIN}")
    home = devices.get_gateway(tx, actor, given.gateway)
    hold(tx, given.gateway)
    running = sa.select(walks.c.id).where(walks.c.gateway == given.gateway, walks.c.ended_at.is_(None))
    if (other := tx.execute(running).scalar()) is not None:
        raise Conflict(f"gateway {given.gateway}: walk test {other} is under way")
    chosen = _chosen(tx, actor, given, now_ms)
    if not chosen:
        raise Invalid("devices: none of this gateway's is meant")
    row: dict[str, Any] = {
        "node": home.node, "gateway": given.gateway, "part": clean(given.part, 256), "started_at": now_ms,
        "started_by": actor.label, "ends_at": now_ms + given.minutes * 60_000,
    }  # fmt: skip
    walk = int(tx.execute(walks.insert().values(row).returning(walks.c.id)).scalar_one())
    standing = alerts.active_kinds(tx, [given.gateway])
    quiet = {  # an alarm that stands already stays loud
        each.id: each.node
        for each in chosen
        if not any(map(rules.counts, standing.get((given.gateway, each.id), ())))
    }  # fmt: skip
    held = silences.hold_devices(tx, actor, given.gateway, quiet, _why(walk), row["ends_at"], now_ms)
    tx.execute(walk_devices.insert(), [_taken_in(walk, each, held.get(each.id)) for each in chosen])
    timers.set_timer(tx, TIMER, str(walk), now_ms + LOOK_MS)
    audit.record(tx, actor, "walk.start", f"walk/{walk}", at=now_ms, detail=f"{given.gateway} {len(chosen)} devices")
    tell(tx, given.gateway, home.node, "walk", now_ms, walk=walk)
    return get(tx, actor, walk)


def _chosen(tx: Connection, actor: Principal, given: NewWalk, now_ms: int) -> list[DeviceView]:
    """The devices that are meant. Raises NotFound for one that is not the gateway's or not within scope, Invalid."""
    own = {each.id: each for each in devices.served(tx, actor, given.gateway, now_ms)}
    for name in given.devices:
        if name not in own:
            raise NotFound(f"device {given.gateway}/{name}: not found")
    wanted = set(given.devices) or own.keys()
    chosen = [each for name, each in own.items() if name in wanted and each.location.startswith(given.part)]
    if len(chosen) > rules.MAX_DEVICES:
        raise Invalid(
            f"part: {len(chosen)} devices; a walk has at most {rules.MAX_DEVICES}, take a building or a floor"
        )
    return chosen


def _taken_in(walk: int, device: DeviceView, silence: int | None) -> dict[str, Any]:
    """A device's row when it is taken in. silence: what holds its alarms."""
    profile = profiles().get(device.profile)
    events = {n for n, spec in profile.metrics.items() if spec.lane is Lane.ALARMS} if profile else set[str]()
    states = {
        name: each.value for name, each in device.latest.items()
        if isinstance(each.value, bool | str) and name not in events
    }  # fmt: skip
    before = rules.Before(states, {name: to_ms(each.received_at) for name, each in device.latest.items()})
    return {
        "walk": walk, "device": device.id, "node": device.node, "profile": device.profile,
        "location": clean(device.location, 256), "proof": rules.proof_of(profile).value,
        "before": json.dumps(before._asdict(), ensure_ascii=False), "silence": silence, "mark": Mark.WAITING.value,
    }  # fmt: skip


def _why(walk: int) -> str:
    return f"walk test {walk}"


# ---- what arrives


def _on_alarm(tx: Connection, happening: Happening, alarm: Facts, now_ms: int) -> None:
    """An alarm of a device under test: its button was pressed. Within the transaction that raised it."""
    if happening is not Happening.RAISED or not alarm.gateway or not alarm.device or not rules.counts(alarm.kind):
        return
    wanted = (
        sa.select(walk_devices, walks.c.ends_at, walks.c.started_at)
        .join(walks, walks.c.id == walk_devices.c.walk)
        .where(walks.c.gateway == alarm.gateway, walks.c.ended_at.is_(None), walk_devices.c.device == alarm.device)
    )
    row = tx.execute(wanted).first()
    # One that is told again, since its hold ended, is no new press.
    if row is None or row.alarm is not None or alarm.received_at < row.started_at:
        return
    if rules.is_early(alarm.raised_at, row.started_at):  # nobody's test: the next look lets it be told
        tx.execute(walk_devices.update().where(*_one(row.walk, alarm.device)).values(alarm_at=0))
        return
    values: dict[str, Any] = {"alarm": alarm.id, "alarm_at": now_ms if row.alarm_at is None else row.alarm_at}
    if row.mark not in rules.JUDGED:
        values |= {"what": clean(alarm.kind, 64), "observed_at": alarm.raised_at, "received_at": now_ms}
        found = devices.devices_by_key(tx, [(alarm.gateway, alarm.device)], now_ms)
        values |= _passed(_latest(found[0][1]) if found else {}, now_ms)
    tx.execute(walk_devices.update().where(*_one(row.walk, alarm.device)).values(values))
    _told(tx, row.walk, alarm.device, now_ms)


def _passed(latest: Mapping[str, rules.Value], heard_at: int) -> dict[str, Any]:
    """What is written of a device that passed when the cloud heard something of it."""
    return {
        "mark": Mark.PASSED.value, "marked_at": heard_at, "marked_by": None,
        "signal": rules.first_of(latest, rules.SIGNAL_METRICS),
        "battery": rules.first_of(latest, rules.BATTERY_METRICS),
    }  # fmt: skip


def _latest(device: DeviceView) -> dict[str, rules.Value]:
    return {
        name: rules.Value(
            each.value, to_ms(each.observed_at), to_ms(each.received_at), each.quality is not Quality.BAD,
            each.clock is Clock.SYNCED,
        )
        for name, each in device.latest.items()
    }  # fmt: skip


def _one(walk: int, device: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (walk_devices.c.walk == walk, walk_devices.c.device == device)


def _look(tx: Connection, timer: Timer, now_ms: int) -> None:
    """Look at a walk: test values that came, holds that end, alarms that came too fast, its own end."""
    walk = _lock(tx, int(timer.key))
    if walk is None or walk.ended_at is not None:
        return
    rows = tx.execute(sa.select(walk_devices).where(walk_devices.c.walk == walk.id)).all()
    if rules.is_storm(alerts.raised_at(tx, [row.alarm for row in rows if row.alarm is not None])):
        _end(tx, SYSTEM, walk, now_ms, storm=True)
        return
    if now_ms >= walk.ends_at:
        _end(tx, SYSTEM, walk, now_ms)
        return
    _look_at_values(tx, walk, rows, now_ms)
    over = [row for row in rows if row.silence is not None and now_ms >= rules.hold_ends(row.alarm_at, walk.ends_at)]
    _release(tx, walk, over, now_ms)
    for row in over:
        _told(tx, walk.id, row.device, now_ms)
    timers.set_timer(tx, TIMER, timer.key, min(now_ms + LOOK_MS, walk.ends_at))


def _look_at_values(tx: Connection, walk: Row[Any], rows: Iterable[Row[Any]], now_ms: int) -> None:
    waiting = {row.device: row for row in rows if row.mark == Mark.WAITING}
    for _, device in devices.devices_by_key(tx, [(walk.gateway, name) for name in waiting], now_ms):
        row = waiting[device.id]
        latest = _latest(device)
        before = rules.Before(**json.loads(row.before))
        shown = rules.proven(Proof(row.proof), before, latest, walk.started_at)
        if shown is None:
            continue
        heard = now_ms if device.last_seen_at is None else min(now_ms, to_ms(device.last_seen_at))
        values = {"what": clean(shown.metric, 64), "observed_at": shown.observed_at, "received_at": shown.received_at}
        values |= _passed(latest, heard)
        tx.execute(walk_devices.update().where(*_one(walk.id, device.id)).values(values))
        _told(tx, walk.id, device.id, now_ms)


def _release(tx: Connection, walk: Row[Any], rows: Sequence[Row[Any]], now_ms: int) -> None:
    """End the holds of devices: what of them still stands is told now."""
    if not rows:
        return
    held = {row.device: row.silence for row in rows}
    mine = (walk_devices.c.walk == walk.id, walk_devices.c.device.in_(held))
    tx.execute(walk_devices.update().where(*mine).values(silence=None))
    silences.end_holds(tx, _holder(walk), walk.gateway, held, now_ms)


def _holder(walk: Row[Any]) -> Principal:
    """Who ends holds when nobody does: the walk itself."""
    return Principal("system", 0, f"walk {walk.id}", Role.ADMINISTRATOR)


def _lock(tx: Connection, walk: int) -> Row[Any] | None:
    """The walk's row for change, its gateway first, since that is the order in which ingest takes them."""
    gateway = tx.execute(sa.select(walks.c.gateway).where(walks.c.id == walk)).scalar()
    if gateway is None:
        return None
    hold(tx, gateway)
    return tx.execute(sa.select(walks).where(walks.c.id == walk).with_for_update()).first()


def _end(tx: Connection, actor: Principal, walk: Row[Any], now_ms: int, *, storm: bool = False) -> None:
    values = {"ended_at": now_ms, "ended_by": actor.label, "storm": storm}
    tx.execute(walks.update().where(walks.c.id == walk.id).values(values))
    held = sa.select(walk_devices).where(walk_devices.c.walk == walk.id, walk_devices.c.silence.is_not(None))
    _release(tx, walk, tx.execute(held).all(), now_ms)
    audit.record(tx, actor, "walk.storm" if storm else "walk.end", f"walk/{walk.id}", at=now_ms)
    tell(tx, walk.gateway, walk.node, "walk", now_ms, walk=walk.id)


def _told(tx: Connection, walk: int, device: str, now_ms: int) -> None:
    row = tx.execute(
        sa.select(walks.c.gateway, walk_devices.c.node, walk_devices.c.mark)
        .join(walks, walks.c.id == walk_devices.c.walk).where(*_one(walk, device))
    ).one()  # fmt: skip
    tell(tx, row.gateway, row.node, "walk", now_ms, walk=walk, device=device, mark=row.mark)


# ---- what people do


def _mine(tx: Connection, who: Principal, walk: int) -> Row[Any]:
    row = tx.execute(sa.select(walks).where(walks.c.id == walk, scope(who, walks.c.node))).first()
    if row is None:
        raise NotFound(f"walk test {walk}: not found")
    return row


def end(tx: Connection, actor: Principal, walk: int, now_ms: int) -> WalkDetail:
    """End a walk test. A repeat changes nothing. Raises Forbidden, NotFound."""
    may_provision(actor)
    _mine(tx, actor, walk)
    row = _lock(tx, walk)
    if row is not None and row.ended_at is None:
        _end(tx, actor, row, now_ms)
    return get(tx, actor, walk)


def mark(  # noqa: PLR0917 - who, what, how, when
    tx: Connection, actor: Principal, walk: int, device: str, given: MarkBody, now_ms: int
) -> WalkView:  # fmt: skip
    """Say by hand how a device stands, also after the walk. `waiting` has it tested once more, with its alarms held.

    Raises Forbidden, NotFound, Conflict.
    """
    may_provision(actor)
    _mine(tx, actor, walk)
    row = _lock(tx, walk)
    if row is None or not (found := tx.execute(sa.select(walk_devices).where(*_one(walk, device))).first()):
        raise NotFound(f"walk test {walk}: has no device {clean(device, 64)}")
    if not visible(actor, found.node):
        raise NotFound(f"walk test {walk}: has no device {clean(device, 64)}")
    values: dict[str, Any] = {
        "mark": given.mark.value, "marked_at": now_ms, "marked_by": actor.label, "note": clean(given.note, 500),
    }  # fmt: skip
    if given.mark is Mark.WAITING:  # once more: the next press counts
        values |= dict.fromkeys(_TOLD) | {"what": ""} | _hold_again(tx, actor, row, found, now_ms)
    tx.execute(walk_devices.update().where(*_one(walk, device)).values(values))
    said = f"{device} {given.mark} {given.note}".strip()
    audit.record(tx, actor, "walk.mark", f"walk/{walk}", at=now_ms, detail=clean(said, 600))
    _told(tx, walk, device, now_ms)
    return walk_views.views(tx, actor, [row])[0]


def _hold_again(tx: Connection, actor: Principal, walk: Row[Any], row: Row[Any], now_ms: int) -> dict[str, Any]:
    """Take a device in hand once more. Raises Conflict when the walk is over."""
    if walk.ended_at is not None:
        raise Conflict(f"walk test {walk.id}: is over; start another one")
    if row.silence is not None:
        return {}
    return {"silence": silences.hold_devices(
        tx, actor, walk.gateway, {row.device: row.node}, _why(walk.id), walk.ends_at, now_ms
    )[row.device]}  # fmt: skip


def show(tx: Connection, actor: Principal, walk: int, given: ShownBody, now_ms: int) -> WalkView:
    """Results appeared on the technician's page so long ago; the first time counts. Raises Forbidden, NotFound.

    What the request took on its way counts too, so a figure is never better than what was seen.
    """
    may_provision(actor)
    row = _mine(tx, actor, walk)
    fresh = (walk_devices.c.shown_at.is_(None), walk_devices.c.marked_at.is_not(None))
    wanted = sa.select(walk_devices.c.device, walk_devices.c.marked_at).where(walk_devices.c.walk == walk, *fresh)
    for device, marked_at in tx.execute(wanted.where(walk_devices.c.device.in_(given.devices))).all():
        at_ms = max(marked_at, now_ms - given.devices[device])
        tx.execute(walk_devices.update().where(*_one(walk, device)).values(shown_at=at_ms))
    return walk_views.views(tx, actor, [row])[0]


def get(tx: Connection, who: Principal, walk: int) -> WalkDetail:
    """One walk test with the devices within scope. Raises NotFound."""
    return walk_views.detail(tx, who, _mine(tx, who, walk))


def list_walks(
    tx: Connection, who: Principal, gateway: str | None = None, limit: int = 50, cursor: str | None = None
) -> Page[WalkView]:
    """Walk tests within scope, the latest first. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(walks).where(scope(who, walks.c.node))
    if gateway is not None:
        wanted = wanted.where(walks.c.gateway == gateway)
    if cursor:
        wanted = wanted.where(walks.c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(walks.c.id.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].id) if len(rows) > limit else None
    return Page(items=walk_views.views(tx, who, shown), next_cursor=following)


def last_of(tx: Connection, who: Principal, gateway: str) -> int | None:
    """The latest walk test of a gateway."""
    wanted = sa.select(walks.c.id).where(walks.c.gateway == gateway, scope(who, walks.c.node))
    found: int | None = tx.execute(wanted.order_by(walks.c.id.desc()).limit(1)).scalar()
    return found


def held(tx: Connection, gateway: str) -> set[int]:
    """The maintenances by which a walk holds alarms of a gateway's devices now."""
    wanted = sa.select(walk_devices.c.silence).join(walks, walks.c.id == walk_devices.c.walk)
    mine = (walks.c.gateway == gateway, walks.c.ended_at.is_(None), walk_devices.c.silence.is_not(None))
    return set(tx.execute(wanted.where(*mine)).scalars())


timers.HANDLERS[TIMER] = _look
hooks.LISTENERS.append(_on_alarm)
