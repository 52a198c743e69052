"""Visits: checkpoints of routes and cells of areas that patrols pass, routes that go overdue, and who can be seen.

Keeps in memory where checkpoints and cells are and when they were last seen; writes a visit once a minute at most. The
minutes and slots are those of event time, so any order of evidence leaves the same rows. No member's name is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.alerts import service as alerts
from cloud.db import insert, many
from cloud.devices.places import Place
from cloud.incidents.levels import service as levels
from cloud.presence import rounds
from cloud.presence.geometry import INDEX_RESOLUTION, Ground, around, cell_at, cell_edge_m
from cloud.presence.intake import FIX
from cloud.presence.rosters import lookup
from cloud.presence.rules import MINUTE_MS, SILENCE_MS, SLOT_MS, USABLE_M, overdue_at, severity_at, usable, visits
from cloud.presence.store import area_cells, areas, evidence, routes, visibility

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Row

    from cloud.presence.rosters.service import Duty

HOUR_MS: Final = 3_600_000
_VISIT: Final = 'INSERT INTO route_visits(route, checkpoint, "at") VALUES (?, ?, ?) ON CONFLICT DO NOTHING'
_CELL_VISIT: Final = "INSERT INTO cell_visits(cell, slot) VALUES (?, ?) ON CONFLICT DO NOTHING"
_CELL_SEEN: Final = "UPDATE area_cells SET seen_at = ? WHERE cell = ? AND (seen_at IS NULL OR seen_at < ?)"


class Checkpoint(NamedTuple):
    """One point of a route."""

    route: int
    number: int
    name: str
    ground: Ground


@dataclass
class Route:
    """A route as it is watched. revisit_ms: at the level in force."""

    id: int
    node: str
    name: str
    revisit_ms: int
    overdue_since: int | None
    level: int
    points: list[Checkpoint]


@dataclass
class Patrols:
    """What patrols pass."""

    routes: dict[int, Route] = field(default_factory=dict)
    near: dict[str, list[Checkpoint]] = field(default_factory=dict)
    visited: dict[tuple[int, int], int] = field(default_factory=dict)
    cells: dict[int, dict[str, int]] = field(default_factory=dict)
    """By resolution: the minute in which each cell was last seen, 0 for never."""
    seen_at: dict[int, int] = field(default_factory=dict)
    """By member: the newest usable fix."""


def load(tx: Connection, now_ms: int) -> Patrols:
    """Everything, from the rows."""
    made = Patrols()
    for row in tx.execute(sa.select(routes).where(routes.c.archived_at.is_(None))):
        level = levels.effective(tx, row.node, now_ms)
        percent = levels.policy(tx, row.node, level).revisit_percent
        points = [
            Checkpoint(row.id, number, each["name"], Ground(each["lat"], each["lon"], each["radius_m"]))
            for number, each in enumerate(json.loads(row.checkpoints))
        ]
        revisit_ms = row.revisit_s * 10 * percent
        made.routes[row.id] = Route(row.id, row.node, row.name_zh, revisit_ms, row.overdue_since, level, points)
        for point in points:
            for cell in around(point.ground.lat, point.ground.lon):
                made.near.setdefault(cell, []).append(point)
    made.visited = rounds.last_visits(tx, made.routes)
    wanted = sa.select(areas.c.resolution, area_cells.c.cell, sa.func.max(area_cells.c.seen_at)).join(
        areas, areas.c.id == area_cells.c.area
    )
    kept = wanted.where(areas.c.archived_at.is_(None)).group_by(areas.c.resolution, area_cells.c.cell)
    for resolution, cell, seen in tx.execute(kept):
        made.cells.setdefault(resolution, {})[cell] = seen or 0
    e = evidence.c
    fresh = (e.kind == FIX, e.at > now_ms - SILENCE_MS, e.accuracy_m <= USABLE_M)
    newest = sa.select(e.member, sa.func.max(e.at)).where(*fresh).group_by(e.member)
    made.seen_at = {member: int(at) for member, at in tx.execute(newest)}
    return made


def pass_by(tx: Connection, patrols: Patrols, rows: Iterable[Row[Any]]) -> None:
    """Take in evidence: what its fixes visit."""
    fixes = [row for row in rows if row.kind == FIX]
    for row in fixes:
        if usable(row.accuracy_m, 0):
            patrols.seen_at[row.member] = max(row.at, patrols.seen_at.get(row.member, 0))
    if patrols.near:
        _pass_checkpoints(tx, patrols, fixes)
    for resolution, known in patrols.cells.items():
        _pass_cells(tx, known, fixes, resolution)


def _pass_checkpoints(tx: Connection, patrols: Patrols, fixes: Iterable[Row[Any]]) -> None:
    visited: dict[tuple[int, int, int], None] = {}
    for row in fixes:
        for point in patrols.near.get(cell_at(row.lat, row.lon, INDEX_RESOLUTION), ()):
            ground = point.ground
            if visits(ground.beyond(row.lat, row.lon), row.accuracy_m, ground.reach_m):
                visited[point.route, point.number, row.at // MINUTE_MS * MINUTE_MS] = None
    new = [key for key in visited if patrols.visited.get(key[:2]) != key[2]]
    for route, number, minute in new:
        patrols.visited[route, number] = max(minute, patrols.visited.get((route, number), 0))
    many(tx, _VISIT, new)


def _pass_cells(tx: Connection, known: dict[str, int], fixes: Iterable[Row[Any]], resolution: int) -> None:
    slots: dict[tuple[str, int], None] = {}
    minutes: dict[str, int] = {}
    side_m = cell_edge_m(resolution)
    for row in fixes:
        minute = row.at // MINUTE_MS * MINUTE_MS
        cell = cell_at(row.lat, row.lon, resolution)
        last = known.get(cell)
        if last is None or last == minute or not usable(row.accuracy_m, side_m):
            continue
        slots[cell, row.at // SLOT_MS] = None
        if minute > last:
            known[cell] = minutes[cell] = minute
    many(tx, _CELL_VISIT, list(slots))
    many(tx, _CELL_SEEN, [(minute, cell, minute) for cell, minute in minutes.items()])


def on_since(duties: Sequence[Duty], now_ms: int) -> int | None:
    """Since when somebody has been on a route without a break, None when nobody is. duties: of the route."""
    begun: int | None = None
    end = 0
    for duty in sorted(duties, key=lambda each: each.starts_at):
        if duty.starts_at > now_ms:
            break
        if begun is None or duty.starts_at > end:
            begun = duty.starts_at
        end = max(end, duty.ends_at)
    return begun if begun is not None and end > now_ms else None


def watch(tx: Connection, patrols: Patrols, now_ms: int) -> None:
    """Raise and clear `patrol-overdue`: a checkpoint not seen in time while a patrol is rostered on its route."""
    if not patrols.routes:
        return
    by_route: dict[int | None, list[Duty]] = {}
    for duty in lookup.route_duties(tx, max(route.revisit_ms for route in patrols.routes.values()), now_ms):
        by_route.setdefault(duty.route, []).append(duty)
    for route in patrols.routes.values():
        begun = on_since(by_route.get(route.id, ()), now_ms)
        dues = [
            (overdue_at(patrols.visited.get((route.id, point.number)), begun, route.revisit_ms), point)
            for point in route.points
            if begun is not None
        ]
        first = min(dues, key=lambda due: due[0], default=None)
        since = first[0] if first is not None and first[0] <= now_ms else None
        if (since is None) == (route.overdue_since is None):
            continue
        route.overdue_since = since
        tx.execute(routes.update().where(routes.c.id == route.id).values(overdue_since=since))
        if since is None or first is None:
            alerts.clear_own(tx, "", rounds.device_of(route.id), rounds.OVERDUE, now_ms)
        else:
            name = f"{route.name} · {first[1].name}" if first[1].name else route.name
            alerts.raise_own(
                tx, "", rounds.device_of(route.id), rounds.OVERDUE, severity_at(route.level), at_ms=since,
                now_ms=now_ms, where=Place(route.node, name),
            )  # fmt: skip


def look_around(tx: Connection, patrols: Patrols, duties: Iterable[Duty], now_ms: int) -> None:
    """One look at who on shift can be seen, by node."""
    counted: dict[str, list[int]] = {}
    for duty in duties:
        if duty.starts_at <= now_ms < duty.ends_at:
            entry = counted.setdefault(duty.node, [0, 0])
            entry[0] += 1
            entry[1] += now_ms - patrols.seen_at.get(duty.member, 0) < SILENCE_MS
    rows = [
        {"node": node, "hour": now_ms // HOUR_MS, "asked": asked, "seen": seen}
        for node, (asked, seen) in sorted(counted.items())
    ]
    if rows:
        put = insert(tx, visibility)
        added = {name: visibility.c[name] + put.excluded[name] for name in ("asked", "seen")}
        tx.execute(put.on_conflict_do_update(index_elements=["node", "hour"], set_=added), rows)
