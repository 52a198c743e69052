"""From an alarm, an SOS or a hand to an incident.

Owns the rule that alarms of one place or group share one incident while it is open, and the copy of the plan that an
incident keeps. An alarm that tells nobody (maintenance, a silence, a cause) opens none; a drill's alarm opens or joins
a drill's incident only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.alerts import hooks
from cloud.alerts.hooks import Happening
from cloud.db import insert
from cloud.devices import service as devices
from cloud.devices.models import PositionView
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.incidents import chain, clocks, deadlines, plans, scene, views
from cloud.incidents.drills import service as drills
from cloud.incidents.levels import service as levels
from cloud.incidents.models import Source
from cloud.incidents.rules import SOS_KINDS, Category, ClockName, State, event_time, open_key, place_key
from cloud.incidents.store import incident_alarms, incidents
from cloud.incidents.tell import tell
from cloud.org import tree
from cloud.org.rules import SYSTEM, Permission, Principal
from cloud.org.zones import moment
from cloud.presence import service as presence
from cloud.presence.rosters import service as rosters
from cloud.text import clean
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row

    from cloud.alerts.facts import Facts

DAY_MS: Final = 86_400_000
FIX_AGE_S: Final = 300
"""A caller's position that is older does not say where the scene is."""
BUILT: Final = (tree.Kind.BUILDING, tree.Kind.FLOOR, tree.Kind.UNIT)


class Spot(NamedTuple):
    """Where something is. building: path of the building, None when it is in none."""

    building: str | None
    point: tuple[float, float] | None


class Opening(NamedTuple):
    """What an incident is opened from."""

    node: str
    category: Category
    title: tuple[str, str]
    place: str
    place_key: str
    group_key: str | None
    point: tuple[float, float] | None
    source: Source
    severity: Severity
    event_at: int
    by: str
    drill: int | None


def spot_of(tx: Connection, node: str) -> Spot:
    """The building of a node, and the point of the node itself, else of what it lies in up to the building."""
    building, point = None, None
    for place in reversed(tree.places(tx, node)):
        within = place.kind in BUILT
        if point is None and place.lat is not None and place.lon is not None and (within or place.path == node):
            point = (place.lat, place.lon)
        if place.kind is tree.Kind.BUILDING:
            building = place.path
        if not within or building:
            break
    return Spot(building, point)


def on_alarm(tx: Connection, happening: Happening, alarm: Facts, now_ms: int) -> None:
    """An alarm was raised, acknowledged or cleared."""
    mine = tx.execute(sa.select(incident_alarms.c.incident).where(incident_alarms.c.alarm == alarm.id)).scalar()
    if mine is not None:
        _followed(tx, happening, alarm, mine, now_ms)
    elif happening is Happening.RAISED and not alarm.quiet:
        category = plans.category_of(tx, alarm.node, alarm.kind)
        if category is not None:
            _raise(tx, alarm, category, now_ms)


def _raise(tx: Connection, alarm: Facts, category: Category, now_ms: int) -> None:
    """An alarm that asks for an incident: the open one of its group or place, else a new one."""
    drill = _drill_of(tx, alarm, now_ms)
    spot = spot_of(tx, alarm.node)
    place = place_key(spot.building, alarm.node, alarm.location, f"{alarm.gateway}/{alarm.device}")[:500]
    row = _standing(tx, open_key(place, category, drill), alarm.group_key, drill)
    sos = alarm.kind in SOS_KINDS
    event_at = event_time(alarm.raised_at, alarm.received_at)
    caller = rosters.holder(tx, alarm.gateway, alarm.device, event_at) if sos and alarm.device else None
    if row is None:
        own = _where(tx, caller.member, now_ms) if caller else _position(tx, alarm, now_ms)
        point = own or (None if sos and _carried(tx, alarm) else spot.point)
        made = Opening(
            alarm.node, category, alarm.title, alarm.location, place, alarm.group_key, point,
            Source.SOS if sos else Source.ALARM, alarm.severity, event_at, SYSTEM.label, drill,
        )  # fmt: skip
        row, joined = _open(tx, made, {"alarm": alarm.id, "kind": alarm.kind}, now_ms)
    else:
        joined = True
    member = caller.member if caller else None
    tx.execute(incident_alarms.insert().values(alarm=alarm.id, incident=row.id, member=member))
    if joined:
        _join(tx, row, alarm, now_ms)
    views.announce(tx, row.id, now_ms)


def _carried(tx: Connection, alarm: Facts) -> bool:
    """Whether somebody carries the device: then the point of its unit does not say where it is."""
    return (alarm.gateway, alarm.device) in rosters.carried(tx)


def _drill_of(tx: Connection, alarm: Facts, now_ms: int) -> int | None:
    """Which drill an alarm belongs to; 0 when it is marked as drill and nobody entered one."""
    if not alarm.drill and alarm.drill_id is None:
        return None
    return alarm.drill_id or drills.running(tx, alarm.node, now_ms) or 0


def _standing(tx: Connection, key: str, group: str | None, drill: int | None) -> Row[Any] | None:
    """The open incident that an alarm joins, held."""
    same = incidents.c.drill.is_(None) if drill is None else incidents.c.drill == drill
    alike = incidents.c.open_key == key
    if group is not None:
        alike = sa.or_(alike, incidents.c.group_key == group)
    wanted = sa.select(incidents).where(incidents.c.state != State.CLOSED.value, same, alike)
    return tx.execute(wanted.order_by(incidents.c.id).limit(1).with_for_update()).first()


def _where(tx: Connection, member: int, now_ms: int) -> tuple[float, float] | None:
    """Where a caller on shift was last."""
    fix = presence.last_fixes(tx, [member], now_ms, FIX_AGE_S * 1000).get(member)
    return (fix.lat, fix.lon) if fix else None


def _position(tx: Connection, alarm: Facts, now_ms: int) -> tuple[float, float] | None:
    """Where the device itself says that it is."""
    if not alarm.device or not alarm.gateway:
        return None
    try:
        latest = devices.get_device(tx, SYSTEM, alarm.gateway, alarm.device, now_ms).latest.get("position")
    except NotFound:
        return None
    if latest is None or not isinstance(latest.value, PositionView) or latest.age_s > FIX_AGE_S:
        return None
    return latest.value.lat, latest.value.lon


def _open(tx: Connection, made: Opening, why: Mapping[str, str | int | None], now_ms: int) -> tuple[Row[Any], bool]:
    """Open an incident; the one that stands for its place when somebody was quicker, and whether that is so."""
    plan = plans.effective(tx, made.node, made.category)
    key = open_key(made.place_key, made.category, made.drill)
    checks = [{"zh": step.zh, "en": step.en, "done_at": None, "done_by": None} for step in plan.checklist]
    values = {
        "node": made.node, "category": made.category.value, "title_zh": clean(made.title[0], 200),
        "title_en": clean(made.title[1], 200), "place": clean(made.place, 200), "place_key": made.place_key,
        "group_key": made.group_key, "open_key": key, "radius_m": plan.scene_m, "source": made.source.value,
        "lat": made.point[0] if made.point else None, "lon": made.point[1] if made.point else None,
        "state": State.OPEN.value, "severity": made.severity.value,
        "level": levels.effective(tx, made.node, now_ms), "plan": plan.id, "arrivals": plan.arrivals,
        "receive_s": plan.receive_s, "escalate_s": plan.escalate_s,
        "area_by": plan.area_by, "checklist": json.dumps(checks, ensure_ascii=False), "event_at": made.event_at,
        "opened_at": now_ms, "opened_by": made.by, "cause": "", "follow_up": "", "drill": made.drill,
    }  # fmt: skip
    put = insert(tx, incidents).on_conflict_do_nothing(index_elements=["open_key"]).returning(incidents)
    row = tx.execute(put, values).first()
    if row is None:
        standing = _standing(tx, key, None, made.drill)
        if standing is not None and made.source is not Source.HAND:
            return standing, True
        # By hand a second one of the place is meant; it does not stand for the place.
        row = tx.execute(put, values | {"open_key": None}).one()
    told: dict[str, str | int | None] = {"category": made.category.value, "source": made.source.value, **why}
    chain.append(tx, row.id, made.by, "opened", told, at=made.event_at, now_ms=now_ms)
    clocks.start(tx, row.id, plan.targets, made.event_at)
    deadlines.await_receiver(tx, row, now_ms)
    due = moment(tx, row.node, made.event_at + plan.targets[ClockName.ON_SCENE] * 1000)
    tell(tx, row, "incident.opened", "opened", node=row.node, roles=plan.calls, now_ms=now_ms, due=due)
    return row, False


def _join(tx: Connection, row: Row[Any], alarm: Facts, now_ms: int) -> None:
    told: dict[str, str | int | None] = {"alarm": alarm.id, "kind": alarm.kind, "device": alarm.device}
    chain.append(tx, row.id, SYSTEM.label, "alarm-joined", told, at=alarm.raised_at, now_ms=now_ms)
    order = list(Severity)
    values: dict[str, Any] = {}
    if order.index(alarm.severity) < order.index(Severity(row.severity)):
        values["severity"] = alarm.severity.value
    if row.group_key is None and alarm.group_key is not None:
        values["group_key"] = alarm.group_key
    if values:
        tx.execute(incidents.update().where(incidents.c.id == row.id).values(values))


def _followed(tx: Connection, happening: Happening, alarm: Facts, incident: int, now_ms: int) -> None:
    """Something happened to an alarm of an incident."""
    row = tx.execute(sa.select(incidents).where(incidents.c.id == incident).with_for_update()).one()
    if row.state == State.CLOSED or happening is Happening.RAISED:
        return
    at = (alarm.cleared_at if happening is Happening.CLEARED else alarm.acknowledged_at) or now_ms
    chain.append(tx, row.id, SYSTEM.label, f"alarm-{happening}", {"alarm": alarm.id}, at=at, now_ms=now_ms)
    if happening is Happening.CLEARED:
        scene.area_by_alarms(tx, row, now_ms)
    views.announce(tx, row.id, now_ms)


class Report(NamedTuple):
    """What somebody reports. event_at: None for now. drill: the drill that it belongs to."""

    node: str
    category: Category
    title: str
    place: str
    severity: Severity
    point: tuple[float, float] | None
    event_at: int | None
    drill: int | None


def by_hand(tx: Connection, actor: Principal, given: Report, now_ms: int) -> Row[Any]:
    """Open what somebody reports. Raises NotFound when the node is not within scope, Forbidden, Invalid."""
    tree.get_node(tx, actor, given.node)
    if not actor.may(Permission.RESPOND):
        raise Forbidden(f"role {actor.role} may not {Permission.RESPOND} to incidents")
    event_at = now_ms if given.event_at is None else min(given.event_at, now_ms)
    if event_at < now_ms - DAY_MS:
        raise Invalid("event_at: more than a day ago")
    spot = spot_of(tx, given.node)
    title = clean(given.title, 200)
    place = place_key(spot.building, given.node, given.place, title)[:500]
    made = Opening(
        given.node, given.category, (title, title), given.place, place, None, given.point or spot.point, Source.HAND,
        given.severity, event_at, actor.label, given.drill,
    )  # fmt: skip
    return _open(tx, made, {"title": title}, now_ms)[0]


hooks.LISTENERS.append(on_alarm)


tree.OCCUPANTS["incidents"] = tree.counting(incidents, incidents.c.state != State.CLOSED.value)
