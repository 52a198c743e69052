"""What other folders may do with the fleet: apply what gateways tell, judge silence, read views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from cloud.db import insert, many
from cloud.devices import liveness, placing, states, views
from cloud.devices.gauges import Gauge, gauges
from cloud.devices.liveness import Allowed, attend, next_due, tick
from cloud.devices.models import DeviceState, DeviceView, GatewayView, StateCounts
from cloud.devices.places import hold
from cloud.devices.placing import Point, Standing, at_node, count_by_node, place, standing
from cloud.devices.store import deadlines, devices, gateways, latest
from cloud.errors import Conflict, Forbidden, NotFound
from cloud.ingest import outgoing
from cloud.order import ordinal_of, rank
from cloud.org import audit
from cloud.org.rules import ROOT, Permission, Principal, scope
from cloud.paging import MAX_LIMIT, Page, decode_cursor, encode_cursor, to_ms
from cloud.presence.rosters import service as rosters
from cloud.text import clean, clean_ms
from firmware_specs.carried import TRACK_METRICS
from firmware_specs.readings import Clock, Reading, checked_name

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection, Row

    from cloud.db import Database
    from firmware_specs.wire import Reported, Status

__all__ = [
    "Allowed", "Gauge", "Point", "Standing", "add_gateway", "apply_readings", "apply_reported", "apply_status",
    "at_node", "attend", "count_by_node", "devices_by_key", "forget_positions", "gauges", "get_device", "get_gateway",
    "heard", "known_gateways", "list_devices", "list_gateways", "next_due", "place", "remove_gateway", "see_device",
    "see_track", "served", "standing", "state_counts", "tick", "touched_devices", "touched_gateways",
]  # fmt: skip


_LATEST: Final = ("rank", "value", "unit", "observed_at", "received_at", "quality", "clock")
_PUT_LATEST: Final = (
    f"INSERT INTO latest(gateway, device, metric, {', '.join(_LATEST)}) VALUES ({', '.join('?' * 10)}) "  # noqa: S608
    f"ON CONFLICT (gateway, device, metric) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _LATEST)} "
    "WHERE latest.rank < excluded.rank"
)
_RENEW_DEVICE: Final = "UPDATE devices SET heard_at = ?, lease_at = ?, touched_at = ? WHERE gateway = ? AND id = ?"
"""Plain SQL: these run for every reading, and SQLAlchemy's parameters cost ten times what the database does."""


def apply_readings(tx: Connection, gateway: str, epoch: str, items: Sequence[tuple[int, Reading]], now_ms: int) -> None:
    """Take new readings of one gateway and outbox epoch, each with its sequence number, into the latest values.

    The highest sequence wins, whatever the clocks say: it is the last thing that the gateway heard. A device that sends
    an older value later is thus shown with that value and its true age. Unknown devices are created with profile "".
    """
    newest: dict[tuple[str, str], tuple[int, Reading]] = {}
    for sequence, reading in items:
        key = (reading.device, reading.metric)
        if key not in newest or newest[key][0] < sequence:
            newest[key] = (sequence, reading)
    if not newest:
        return
    _hear_devices(tx, gateway, sorted({device for device, _ in newest}), now_ms)
    ordinal = ordinal_of(tx, gateway, epoch, now_ms)
    rows = [
        (gateway, device, clean(metric, 32), rank(ordinal, sequence), views.encode_value(reading.value),
         clean(reading.unit, 32), clean_ms(reading.observed_at), clean_ms(reading.received_at), reading.quality.value,
         reading.clock.value)
        for (device, metric), (sequence, reading) in sorted(newest.items())
    ]  # fmt: skip
    many(tx, _PUT_LATEST, rows)


def _hear_devices(tx: Connection, gateway: str, names: Sequence[str], now_ms: int) -> None:
    """Renew the leases of devices; make those that are new; bring back those that were silent."""
    rows = tx.execute(sa.select(devices.c.id, devices.c.silent).where(devices.c.gateway == gateway)).all()
    silent = {row.id for row in rows if row.silent}.intersection(names)
    new = set(names).difference(row.id for row in rows)
    if new:
        _insert_devices(tx, gateway, [{"id": name} for name in sorted(new)], now_ms)
    many(tx, _RENEW_DEVICE, [(now_ms, now_ms, now_ms, gateway, name) for name in names])
    if silent:
        hold(tx, gateway)
        liveness.heard_silent(tx, gateway, silent, now_ms)


def _insert_devices(tx: Connection, gateway: str, rows: Sequence[dict[str, Any]], now_ms: int) -> None:
    hold(tx, gateway)
    node = tx.execute(sa.select(gateways.c.node).where(gateways.c.id == gateway)).scalar() or ROOT
    own = placing.nodes_of(tx, gateway, {row["id"] for row in rows})
    common = {
        "gateway": gateway, "profile": "", "connector": "", "address": "", "location": "",
        "created_at": now_ms, "heard_at": None, "lease_at": now_ms, "touched_at": now_ms, "silent": False,
    }  # fmt: skip
    tx.execute(
        insert(tx, devices).on_conflict_do_nothing(),
        [common | {"node": own.get(row["id"], node)} | row for row in rows],
    )


def heard(tx: Connection, gateway: str, now_ms: int) -> None:
    """The gateway is alive: a pack or a canary came. Renews its lease; brings it back online."""
    renew = gateways.update().where(gateways.c.id == gateway).values(heard_at=now_ms, lease_at=now_ms)
    online = tx.execute(renew.returning(gateways.c.online)).scalar()
    if online is False:
        liveness.came_online(tx, gateway, now_ms)


def apply_status(tx: Connection, gateway: str, status: Status, now_ms: int, *, retained: bool = False) -> None:
    """Take a status. `online: false` (the will) puts the gateway offline at once; a retained one proves no life."""
    hold(tx, gateway)
    before = tx.execute(sa.select(gateways).where(gateways.c.id == gateway)).first()
    if before is None:
        return
    if not status.online:
        if before.online:
            liveness.went_offline(tx, gateway, at_ms=now_ms, now_ms=now_ms)
        return
    values = {
        "boot": status.boot, "agent_version": clean(status.agent_version, 64), "clock": status.clock.value,
        "config_hash": clean(status.config_hash, 128), "degraded": clean(status.degraded, 500),
        "connectors": msgspec.json.encode(status.connectors).decode(),
    }  # fmt: skip
    values = {name: clean(value, 20_000) for name, value in values.items()}
    moving = {
        "lanes": msgspec.json.encode(status.lanes).decode(),
        "counters": msgspec.json.encode(status.counters).decode(),
        "touched_at": now_ms,
    }
    tx.execute(gateways.update().where(gateways.c.id == gateway).values(values | moving))
    if not retained:
        heard(tx, gateway, now_ms)
    if before.online and any(getattr(before, name) != value for name, value in values.items()):
        views.announce_gateway(tx, gateway, now_ms)


def apply_reported(tx: Connection, gateway: str, reported: Reported, now_ms: int) -> None:
    """Take the devices that a gateway serves; those it serves no longer are forgotten, their history stays.

    The same report again changes nothing.
    """
    hold(tx, gateway)
    state = {"config_version": clean_ms(reported.version), "config_hash": clean(reported.config_hash, 128)}
    tx.execute(gateways.update().where(gateways.c.id == gateway).values(state))
    known = {row.id: row for row in tx.execute(sa.select(devices).where(devices.c.gateway == gateway))}
    wanted = {
        device.id: {
            "profile": clean(device.profile, 64), "connector": clean(device.connector, 64),
            "address": clean(device.address, 500), "location": clean(device.location, 500),
        }
        for device in reported.devices
    }  # fmt: skip
    new = [{"id": name, **wanted[name]} for name in sorted(wanted.keys() - known.keys())]
    if new:
        _insert_devices(tx, gateway, new, now_ms)
    for name in sorted(wanted.keys() & known.keys()):
        if any(getattr(known[name], key) != value for key, value in wanted[name].items()):
            mine = (devices.c.gateway == gateway, devices.c.id == name)
            tx.execute(devices.update().where(*mine).values(**wanted[name], touched_at=now_ms))
    gone = sorted(known.keys() - wanted.keys())
    if gone:
        tx.execute(devices.delete().where(devices.c.gateway == gateway, devices.c.id.in_(gone)))
        tx.execute(deadlines.delete().where(deadlines.c.gateway == gateway, deadlines.c.device.in_(gone)))
    liveness.expect(tx, "device", gateway, wanted, now_ms)
    if new or gone:
        views.announce_gateway(tx, gateway, now_ms)


def known_gateways(tx: Connection) -> set[str]:
    """The gateways whose packs are accepted."""
    return set(tx.execute(sa.select(gateways.c.id)).scalars())


def add_gateway(tx: Connection, actor: Principal, gateway: str, now_ms: int, location: str = "") -> None:
    """Make a gateway known. Raises Conflict when it is, NameRefused when the name cannot be."""
    checked_name("gateway", gateway)
    row = {
        "id": gateway, "node": actor.node, "location": clean(location, 500), "added_at": now_ms, "online": False,
        "touched_at": now_ms, "boot": "", "agent_version": "", "config_hash": "", "config_version": 0,
        "clock": Clock.SYNCED.value, "degraded": "", "lanes": "{}", "connectors": "{}", "counters": "{}",
    }  # fmt: skip
    put = insert(tx, gateways).on_conflict_do_nothing().returning(gateways.c.id)
    if tx.execute(put.values(row)).first() is None:
        raise Conflict(f"gateway {gateway}: known already")
    audit.record(tx, actor, "gateway.add", f"gateway/{gateway}", at=now_ms)


def remove_gateway(tx: Connection, actor: Principal, gateway: str, now_ms: int) -> None:
    """Forget a gateway and its devices, and take back what was sent to it; telemetry and alarms stay. NotFound."""
    gone = gateways.delete().where(gateways.c.id == gateway, scope(actor, gateways.c.node)).returning(gateways.c.id)
    if tx.execute(gone).first() is None:
        raise NotFound(f"gateway {gateway}: not known")
    tx.execute(deadlines.delete().where(deadlines.c.gateway == gateway))
    outgoing.forget_gateway(tx, gateway, now_ms)
    audit.record(tx, actor, "gateway.remove", f"gateway/{gateway}", at=now_ms)


def _fleet() -> sa.Select[Any]:
    return sa.select(devices, gateways.c.online).join(gateways, gateways.c.id == devices.c.gateway)


def list_devices(
    tx: Connection, principal: Principal, now_ms: int, *, gateway: str | None = None, profile: str | None = None,
    category: str | None = None, state: Collection[DeviceState] = (), search: str | None = None, limit: int = 100,
    cursor: str | None = None,
) -> Page[DeviceView]:  # fmt: skip
    """Devices within scope, by gateway and id. state: any of them. search: a part of the id or the location."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = _fleet().where(scope(principal, devices.c.node))
    if gateway is not None:
        wanted = wanted.where(devices.c.gateway == gateway)
    if profile is not None:
        wanted = wanted.where(devices.c.profile == profile)
    if category is not None:
        wanted = wanted.where(states.in_category(category))
    if state:
        wanted = states.in_states(wanted, state)
    if search:
        found = (column.icontains(search, autoescape=True) for column in (devices.c.id, devices.c.location))
        wanted = wanted.where(sa.or_(*found))
    if cursor:
        after = sa.tuple_(*decode_cursor(cursor, str, str))
        wanted = wanted.where(sa.tuple_(devices.c.gateway, devices.c.id) > after)
    rows = tx.execute(wanted.order_by(devices.c.gateway, devices.c.id).limit(limit + 1)).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].gateway, shown[-1].id) if len(rows) > limit else None
    return Page(items=views.device_views(tx, shown, now_ms), next_cursor=following)


def served(tx: Connection, principal: Principal, gateway: str, now_ms: int) -> list[DeviceView]:
    """Every device of a gateway within scope but itself, by id."""
    found: list[DeviceView] = []
    cursor: str | None = None
    while True:
        page = list_devices(tx, principal, now_ms, gateway=gateway, limit=MAX_LIMIT, cursor=cursor)
        found += [each for each in page.items if each.id != gateway]
        cursor = page.next_cursor
        if cursor is None:
            return found


def get_device(
    tx: Connection, principal: Principal, gateway: str, device: str, now_ms: int, *, positions: bool = False
) -> DeviceView:  # fmt: skip
    """One device. positions: as in `views.device_views`. Raises NotFound when absent or out of scope."""
    mine = (devices.c.gateway == gateway, devices.c.id == device, scope(principal, devices.c.node))
    row = tx.execute(_fleet().where(*mine)).first()
    if row is None:
        raise NotFound(f"device {gateway}/{device}: not found")
    return views.device_views(tx, [row], now_ms, positions=positions)[0]


def see_device(db: Database, viewer: Principal, gateway: str, device: str, now_ms: int) -> DeviceView:
    """One device for a person's eyes: where its wearer is only when the role permits it, and on record (P5).

    Raises NotFound when absent or out of scope.
    """
    with db.read() as tx:
        plain = get_device(tx, viewer, gateway, device, now_ms)
        if not viewer.may(Permission.LOCATE) or (gateway, device) not in rosters.worn(tx, [gateway]):
            return plain
        full = get_device(tx, viewer, gateway, device, now_ms, positions=True)
    shown = [to_ms(value.observed_at) for name, value in full.latest.items() if name not in plain.latest]
    if shown:
        with db.begin() as tx:
            rosters.look_at_device(tx, viewer, gateway, device, span=(min(shown), max(shown) + 1), now_ms=now_ms)
    return full


def see_track(
    db: Database, viewer: Principal, gateway: str, device: str, *, span: tuple[int, int], place: bool, now_ms: int
) -> None:  # fmt: skip
    """Let a person see where a device was, or how it moved, on record.

    place: whether it is the former; how something moves that nobody carries is not worth a record.
    Raises Forbidden when it is carried and the role may not locate members.
    """
    with db.begin() as tx:
        if (gateway, device) not in rosters.worn(tx, [gateway]):
            if not place:
                return
            what = f"device/{gateway}/{device}"
            audit.record(tx, viewer, "position.view", what, at=now_ms, detail=f"{span[0]}..{span[1]}")
            return
        if not viewer.may(Permission.LOCATE):
            raise Forbidden(f"role {viewer.role} may not locate members of the patrol")
        rosters.look_at_device(tx, viewer, gateway, device, span=span, now_ms=now_ms)


def forget_positions(tx: Connection, before_ms: int) -> None:
    """Forget the last known place of carried devices when it is older than tracks are kept (P3)."""
    for gateway, device in sorted(rosters.worn(tx, None)):
        mine = (latest.c.gateway == gateway, latest.c.device == device, latest.c.observed_at < before_ms)
        says = sa.or_(latest.c.metric.in_(TRACK_METRICS), latest.c.value.startswith('{"lat"'))
        tx.execute(latest.delete().where(*mine, latest.c.received_at < before_ms, says))


def list_gateways(
    tx: Connection, principal: Principal, *, heard: bool | None = None, limit: int = 100, cursor: str | None = None
) -> Page[GatewayView]:
    """Gateways within scope, by id. heard: only those that were ever heard, or never."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(gateways).where(scope(principal, gateways.c.node))
    if heard is not None:
        wanted = wanted.where(gateways.c.heard_at.is_not(None) if heard else gateways.c.heard_at.is_(None))
    if cursor:
        wanted = wanted.where(gateways.c.id > decode_cursor(cursor, str)[0])
    rows = tx.execute(wanted.order_by(gateways.c.id).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=views.gateway_views(tx, rows[:limit]), next_cursor=following)


def get_gateway(tx: Connection, principal: Principal, gateway: str) -> GatewayView:
    """One gateway. Raises NotFound when absent or out of scope."""
    wanted = sa.select(gateways).where(gateways.c.id == gateway, scope(principal, gateways.c.node))
    row = tx.execute(wanted).first()
    if row is None:
        raise NotFound(f"gateway {gateway}: not found")
    return views.gateway_views(tx, [row])[0]


def state_counts(tx: Connection, principal: Principal) -> StateCounts:
    """Devices by state and by category, gateways by line, within scope."""
    kinds = states.counts(tx, principal)
    counts = {state: sum(by_state.get(state, 0) for by_state in kinds.values()) for state in DeviceState}
    counted = sa.select(gateways.c.online, sa.func.count()).where(scope(principal, gateways.c.node))
    lines = {bool(online): int(count) for online, count in tx.execute(counted.group_by(gateways.c.online))}
    return StateCounts(
        devices=counts, kinds=kinds, gateways_online=lines.get(True, 0), gateways_offline=lines.get(False, 0)
    )


def touched_devices(tx: Connection, since_ms: int) -> list[tuple[tuple[str, str], int]]:
    """Gateway and id of devices touched at or after a time, and when, the longest waiting first."""
    wanted = sa.select(devices.c.gateway, devices.c.id, devices.c.touched_at).where(devices.c.touched_at >= since_ms)
    rows = tx.execute(wanted.order_by(devices.c.touched_at))
    return [((row.gateway, row.id), row.touched_at) for row in rows]


def devices_by_key(tx: Connection, keys: Sequence[tuple[str, str]], now_ms: int) -> list[tuple[str, DeviceView]]:
    """Node and view of devices, for the live stream, which checks the scope of each."""
    rows: Sequence[Row[Any]] = ()
    if keys:
        rows = tx.execute(_fleet().where(sa.tuple_(devices.c.gateway, devices.c.id).in_(keys))).all()
    return [(row.node, view) for row, view in zip(rows, views.device_views(tx, rows, now_ms), strict=True)]


def touched_gateways(tx: Connection, since_ms: int) -> list[tuple[str, int, GatewayView]]:
    """Node, time and view of gateways touched at or after a time, for the live stream."""
    wanted = sa.select(gateways).where(gateways.c.touched_at >= since_ms).order_by(gateways.c.touched_at)
    rows: Sequence[Row[Any]] = tx.execute(wanted.limit(MAX_LIMIT)).all()
    return [(row.node, row.touched_at, view) for row, view in zip(rows, views.gateway_views(tx, rows), strict=True)]
