"""What the map shows somebody: put together from the services of the folders, each of which scopes what it gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, get_args

from cloud.devices import service as devices
from cloud.devices.models import DeviceState
from cloud.incidents import service as incidents
from cloud.maps import rules
from cloud.maps.datum import Datum, to_datum
from cloud.maps.models import MapDevices, MapIncident, MapMember, MapNode, MapShape, MapView
from cloud.org import tree
from cloud.org.tree import Kind
from cloud.paging import at
from cloud.presence import service as presence
from cloud.presence.rosters import service as rosters
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.maps.rules import Window
    from cloud.org.rules import Principal

FIX_AGE_MS: Final = 15 * 60 * 1000
"""An older position is not where a member is."""
MAX_ASKED: Final = 400
"""Nodes of a window whose devices are asked for by name; with more of them it is quicker to ask for all."""
SHAPES: Final = get_args(MapShape.model_fields["kind"].annotation)


def look(tx: Connection, who: Principal, window: Window, now_ms: int, datum: Datum = Datum.WGS84) -> MapView:
    """What lies in a window: outlines, devices, posts, routes, areas, open incidents. Members are another question."""
    nodes = tree.list_nodes(tx, who)
    marks, clustered = rules.marks(_spots(tx, who, nodes, window), window)
    return MapView(
        datum=datum, nodes=_nodes(nodes, window, datum), devices=[_mark(mark, datum) for mark in marks],
        clustered=clustered, shapes=_shapes(tx, who, window, datum, now_ms),
        incidents=_incidents(tx, who, window, datum), members=None,
    )  # fmt: skip


def _spots(tx: Connection, who: Principal, nodes: list[tree.Node], window: Window) -> list[rules.Spot]:
    """Every device that is somewhere; what is carried is where its member is, and that is another question.

    A small window asks for the devices of its own nodes only.
    """
    points = {node.path: (node.lat, node.lon) for node in nodes if node.lat is not None and node.lon is not None}
    drawn_at = {node.path: rules.nearest_point(node.path, points) for node in nodes}
    inside = [path for path, point in drawn_at.items() if point and window.holds(*point)]
    carried = rosters.carried(tx)
    spots = []
    for each in devices.standing(tx, who, inside if len(inside) <= MAX_ASKED else None):
        if (each.gateway, each.device) in carried:
            continue
        own = (each.lat, each.lon) if each.lat is not None and each.lon is not None else None
        point = own or drawn_at.get(each.node)
        if point:
            spots.append(rules.Spot(each.gateway, each.device, each.node, each.state, *point))
    return spots


def _mark(mark: rules.Mark, datum: Datum) -> MapDevices:
    states: dict[DeviceState, int] = {}
    for spot in mark.spots:
        states[DeviceState(spot.state)] = states.get(DeviceState(spot.state), 0) + 1
    lat, lon = to_datum(mark.lat, mark.lon, datum)
    one = mark.spots[0] if len(mark.spots) == 1 else None
    return MapDevices(
        lat=lat, lon=lon, count=len(mark.spots), states=states, node=mark.spots[0].node,
        gateway=one.gateway if one else None, device=one.device if one else None,
    )  # fmt: skip


def _nodes(nodes: list[tree.Node], window: Window, datum: Datum) -> list[MapNode]:
    by_path = {node.path: node for node in nodes}
    drawn = rules.seen({node.path: node.outline for node in nodes if node.outline}, window)
    return [
        MapNode(
            id=by_path[path].id, path=path, kind=by_path[path].kind, name_zh=by_path[path].name_zh,
            name_en=by_path[path].name_en, outline=rules.shifted(outline, datum),
        )
        for path, outline in drawn.items()
    ]  # fmt: skip


def _shapes(tx: Connection, who: Principal, window: Window, datum: Datum, now_ms: int) -> list[MapShape]:
    found = []
    for shape in presence.shapes(tx, who, now_ms):
        geometry: dict[str, Any] = json.loads(shape.geojson)
        if shape.kind in SHAPES and _touches(geometry["coordinates"], window):
            found.append(
                MapShape(
                    kind=shape.kind, id=shape.id, name_zh=shape.name_zh, name_en=shape.name_en, state=shape.state,
                    geometry=rules.shifted(geometry, datum),
                )
            )  # fmt: skip
    return found


def _touches(coordinates: Any, window: Window) -> bool:  # noqa: ANN401 - nested lists of positions
    """Whether the box around a geometry meets a window."""
    lats, lons = [], []
    todo = [coordinates]
    while todo:
        part = todo.pop()
        if part and isinstance(part[0], int | float):
            lons.append(part[0])
            lats.append(part[1])
        else:
            todo += part
    if not lats:
        return False
    apart = max(lons) < window.west or min(lons) > window.east or max(lats) < window.south or min(lats) > window.north
    return not apart


def _incidents(tx: Connection, who: Principal, window: Window, datum: Datum) -> list[MapIncident]:
    found = []
    for place in incidents.open_places(tx, who):
        if window.holds(place.lat, place.lon):
            lat, lon = to_datum(place.lat, place.lon, datum)
            found.append(
                MapIncident(
                    id=place.id, title_zh=place.title, title_en=place.title_en or place.title,
                    category=str(place.category), severity=Severity(place.severity),
                    lat=lat, lon=lon, drill=place.drill,
                )
            )  # fmt: skip
    return found


def members(tx: Connection, who: Principal, window: Window, now_ms: int, datum: Datum = Datum.WGS84) -> list[MapMember]:
    """Where the members on shift within scope were last; the look at those in the window is recorded.

    In a write transaction. The caller has checked that `who` may locate.
    """
    duties = {duty.member: duty for duty in rosters.on_duty(tx, now_ms, who.node)}
    fixes = presence.last_fixes(tx, list(duties), now_ms, FIX_AGE_MS)
    inside = {member: fix for member, fix in sorted(fixes.items()) if window.holds(fix.lat, fix.lon)}
    if inside:
        rosters.look(tx, who, list(inside), "map", now_ms)
    found = []
    for member, fix in inside.items():
        lat, lon = to_datum(fix.lat, fix.lon, datum)
        found.append(
            MapMember(
                id=member, call_sign=duties[member].call_sign, lat=lat, lon=lon, accuracy_m=fix.accuracy_m,
                at=at(fix.at_ms),
            )
        )  # fmt: skip
    return found


def extent(tx: Connection, who: Principal, datum: Datum = Datum.WGS84) -> tuple[float, float, float, float] | None:
    """West, south, east, north of where work is done, None when nothing has a place.

    That is the communities and their buildings; without any, whatever of the tree has a place. The outline of a
    district would make everything in it a dot.
    """
    placed = [node for node in tree.list_nodes(tx, who) if node.outline or None not in {node.lat, node.lon}]
    nodes = [node for node in placed if node.kind in {Kind.COMMUNITY, Kind.BUILDING}] or placed
    boxes = [rules.box_of(node.outline) for node in nodes if node.outline]
    boxes += [
        (node.lon, node.lat, node.lon, node.lat) for node in nodes if node.lat is not None and node.lon is not None
    ]
    if not boxes:
        return None
    wests, souths, easts, norths = zip(*boxes, strict=True)
    south, west = to_datum(min(souths), min(wests), datum)
    north, east = to_datum(max(norths), max(easts), datum)
    return west, south, east, north
