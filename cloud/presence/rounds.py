"""Routes and areas: what patrols are to see again and again. Making, changing and listing them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.alerts import service as alerts
from cloud.errors import Invalid
from cloud.org.rules import ROOT, Principal, scope
from cloud.paging import MAX_LIMIT, Page, at_or_none, decode_cursor, encode_cursor
from cloud.presence import geometry, plan
from cloud.presence.models import AreaIn, AreaView, CheckpointView, RouteIn, RouteView
from cloud.presence.store import area_cells, areas, route_visits, routes
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection, Row, Table

ROUTE: Final = plan.Sort(routes, "route")
AREA: Final = plan.Sort(areas, "area")
OVERDUE: Final = "patrol-overdue"


def device_of(route: int) -> str:
    """What a route is called as the thing that an alarm is about."""
    return f"route:{route}"


def route_values(given: RouteIn) -> dict[str, Any]:
    """The columns that a route given so has. Raises Invalid for its line."""
    if given.line is None:
        points = [each.model_dump() | {"name": clean(each.name, 100)} for each in given.checkpoints]
        kind, line = "checkpoints", None
    else:
        course = [(point[0], point[1]) for point in given.line.coordinates]
        if any(abs(lat) > 85 for _, lat in course):
            raise Invalid("line: longitude and latitude, in this order, within 180 and 85 degrees")
        points = [
            {"name": str(n), "lat": round(lat, 7), "lon": round(lon, 7), "radius_m": 25.0}
            for n, (lat, lon) in enumerate(geometry.cut(course, given.every_m), 1)
        ]
        kind, line = "line", geometry.line_text(course)
    checkpoints = json.dumps(points, ensure_ascii=False)
    return {"kind": kind, "line": line, "checkpoints": checkpoints, "revisit_s": given.revisit_s}


def add_route(tx: Connection, actor: Principal, given: RouteIn, now_ms: int) -> RouteView:
    """Make a route. Raises Forbidden, NotFound for its node, Conflict for its code, Invalid for its line."""
    made = plan.write(tx, actor, ROUTE, given, route_values(given), now_ms=now_ms)
    return get_route(tx, actor, made)


def change_route(tx: Connection, actor: Principal, route: int, given: RouteIn, now_ms: int) -> RouteView:
    """Change a route; when its checkpoints change, their visits begin anew. Raises as `add_route`."""
    before = plan.row_of(tx, actor, ROUTE, route)
    values = route_values(given)
    plan.write(tx, actor, ROUTE, given, values, now_ms=now_ms, row_id=route)
    if before.checkpoints != values["checkpoints"]:
        tx.execute(route_visits.delete().where(route_visits.c.route == route))
    return get_route(tx, actor, route)


def archive_route(tx: Connection, actor: Principal, route: int, now_ms: int) -> None:
    """Take a route out of use: its alarm clears, its visits stay. Raises NotFound, Forbidden."""
    plan.archive(tx, actor, ROUTE, route, now_ms)
    alerts.clear_own(tx, "", device_of(route), OVERDUE, now_ms)


def add_area(tx: Connection, actor: Principal, given: AreaIn, now_ms: int) -> AreaView:
    """Make an area. Raises Forbidden, NotFound for its node, Conflict for its code, Invalid for its outline."""
    values, cells = area_values(given)
    made = plan.write(tx, actor, AREA, given, values, now_ms=now_ms)
    tx.execute(area_cells.insert(), [{"area": made, "cell": cell} for cell in cells])
    return get_area(tx, actor, made)


def change_area(tx: Connection, actor: Principal, area: int, given: AreaIn, now_ms: int) -> AreaView:
    """Change an area; when its outline changes, its cells begin anew. Raises as `add_area`."""
    before = plan.row_of(tx, actor, AREA, area)
    values, cells = area_values(given)
    plan.write(tx, actor, AREA, given, values, now_ms=now_ms, row_id=area)
    if before.outline != values["outline"]:
        tx.execute(area_cells.delete().where(area_cells.c.area == area))
        tx.execute(area_cells.insert(), [{"area": area, "cell": cell} for cell in cells])
    return get_area(tx, actor, area)


def archive_area(tx: Connection, actor: Principal, area: int, now_ms: int) -> None:
    """Take an area out of use. Raises NotFound, Forbidden."""
    plan.archive(tx, actor, AREA, area, now_ms)
    tx.execute(area_cells.delete().where(area_cells.c.area == area))


def area_values(given: AreaIn) -> tuple[dict[str, Any], list[str]]:
    """The columns that an area given so has, and its cells. Raises Invalid for its outline."""
    outline = geometry.checked(given.outline.model_dump(), ("Polygon", "MultiPolygon"), geometry.MAX_AREA_M2)
    resolution, cells = geometry.cells_of(outline)
    return {"outline": outline.text, "resolution": resolution, "revisit_s": given.revisit_s}, cells


def last_visits(tx: Connection, wanted: Collection[int]) -> dict[tuple[int, int], int]:
    """When each checkpoint of routes was last visited, by (route, number)."""
    latest = sa.select(route_visits.c.route, route_visits.c.checkpoint, sa.func.max(route_visits.c.at))
    mine = latest.where(route_visits.c.route.in_(set(wanted)))
    rows = tx.execute(mine.group_by(route_visits.c.route, route_visits.c.checkpoint))
    return {(route, number): at_ms for route, number, at_ms in rows}


def _route_views(tx: Connection, rows: Sequence[Row[Any]]) -> list[RouteView]:
    seen = last_visits(tx, [row.id for row in rows])
    return [
        RouteView(
            id=row.id, node=row.node, code=row.code, name_zh=row.name_zh, name_en=row.name_en, kind=row.kind,
            line=json.loads(row.line) if row.line else None, revisit_s=row.revisit_s,
            overdue_since=at_or_none(row.overdue_since),
            checkpoints=[
                CheckpointView(**each, seen_at=at_or_none(seen.get((row.id, number))))
                for number, each in enumerate(json.loads(row.checkpoints))
            ],
        )
        for row in rows
    ]  # fmt: skip


def _area_views(tx: Connection, rows: Sequence[Row[Any]]) -> list[AreaView]:
    counted = sa.select(area_cells.c.area, sa.func.count()).where(area_cells.c.area.in_([row.id for row in rows]))
    cells = {area: int(count) for area, count in tx.execute(counted.group_by(area_cells.c.area))}
    return [
        AreaView(
            id=row.id, node=row.node, code=row.code, name_zh=row.name_zh, name_en=row.name_en,
            outline=json.loads(row.outline), resolution=row.resolution, cells=cells.get(row.id, 0),
            revisit_s=row.revisit_s,
        )
        for row in rows
    ]  # fmt: skip


def get_route(tx: Connection, principal: Principal, route: int) -> RouteView:
    """A route within scope. Raises NotFound."""
    return _route_views(tx, [plan.row_of(tx, principal, ROUTE, route)])[0]


def get_area(tx: Connection, principal: Principal, area: int) -> AreaView:
    """An area within scope. Raises NotFound."""
    return _area_views(tx, [plan.row_of(tx, principal, AREA, area)])[0]


def rows_of(
    tx: Connection, principal: Principal, table: Table, *, below: str = ROOT, after: int = 0, limit: int = MAX_LIMIT
) -> Sequence[Row[Any]]:
    """Rows of routes or areas within scope, by id."""
    mine = (
        scope(principal, table.c.node), table.c.node.startswith(below, autoescape=True),
        table.c.archived_at.is_(None), table.c.id > after,
    )  # fmt: skip
    return tx.execute(sa.select(table).where(*mine).order_by(table.c.id).limit(limit)).all()


def list_routes(
    tx: Connection, principal: Principal, *, limit: int = 100, cursor: str | None = None
) -> Page[RouteView]:
    """Routes within scope, by id."""
    rows, following = _paged(tx, principal, routes, limit, cursor)
    return Page(items=_route_views(tx, rows), next_cursor=following)


def list_areas(tx: Connection, principal: Principal, *, limit: int = 100, cursor: str | None = None) -> Page[AreaView]:
    """Areas within scope, by id."""
    rows, following = _paged(tx, principal, areas, limit, cursor)
    return Page(items=_area_views(tx, rows), next_cursor=following)


def _paged(
    tx: Connection, principal: Principal, table: Table, limit: int, cursor: str | None
) -> tuple[Sequence[Row[Any]], str | None]:
    limit = min(max(limit, 1), MAX_LIMIT)
    after = int(decode_cursor(cursor, int)[0]) if cursor else 0
    rows = rows_of(tx, principal, table, after=after, limit=limit + 1)
    return rows[:limit], encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
