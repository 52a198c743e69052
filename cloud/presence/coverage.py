"""How well areas and routes are seen: by cell and checkpoint, now and over a time, the longest unseen first.

`seen_share`: the share of places whose last visit is at most a revisit time old. `time_share`: for how much of a time
the last visit of a place was at most a revisit time old, averaged over the places. Revisit times are those at the
response level in force. Visits count from the start of their minute (checkpoints) or 5 minutes (cells).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.errors import Invalid
from cloud.incidents.levels import service as levels
from cloud.org.rules import ROOT, Principal, scope
from cloud.paging import Page, at_or_none, decode_cursor, encode_cursor
from cloud.presence import review, rounds
from cloud.presence.geometry import cell_centre
from cloud.presence.models import CoverageView, GapView, VisibilityView
from cloud.presence.rules import MINUTE_MS
from cloud.presence.store import area_cells, areas, routes, visibility

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

GAPS: Final = 10
HOUR_MS: Final = 3_600_000
MAX_SPAN_MS: Final = 31 * 86_400_000
_KINDS: Final = ("area", "route")


class _Place(NamedTuple):
    name: str
    lat: float
    lon: float
    seen_at: int | None


def checked_span(from_ms: int, to_ms: int) -> None:
    """Raises Invalid when a time is empty or longer than 31 days."""
    if not 0 < to_ms - from_ms <= MAX_SPAN_MS:
        raise Invalid("from, to: at least a moment and at most 31 days apart")


def revisit_ms(tx: Connection, node: str, revisit_s: int, now_ms: int) -> int:
    """The revisit time at the response level in force."""
    level = levels.effective(tx, node, now_ms)
    return revisit_s * 10 * levels.policy(tx, node, level).revisit_percent


def listed(
    tx: Connection, principal: Principal, now_ms: int, *, from_ms: int, to_ms: int, below: str = ROOT, limit: int = 20,
    cursor: str | None = None,
) -> Page[CoverageView]:  # fmt: skip
    """Areas, then routes, within scope, each with its figures. Raises Invalid."""
    checked_span(from_ms, to_ms)
    limit = min(max(limit, 1), 100)
    kind, after = decode_cursor(cursor, str, int) if cursor else ("area", 0)
    if kind not in _KINDS or not isinstance(after, int):
        raise Invalid("cursor: not one that this API gave out")
    found: list[tuple[str, Row[Any]]] = []
    for name, table in zip(_KINDS, (areas, routes), strict=True):
        if name >= str(kind) and len(found) <= limit:
            start = after if name == kind else 0
            rows = rounds.rows_of(tx, principal, table, below=below, after=start, limit=limit + 1 - len(found))
            found += [(name, row) for row in rows]
    shown = found[:limit]
    views = [_view(tx, name, row, now_ms, (from_ms, to_ms)) for name, row in shown]
    return Page(items=views, next_cursor=encode_cursor(shown[-1][0], shown[-1][1].id) if len(found) > limit else None)


def _view(tx: Connection, kind: str, row: Row[Any], now_ms: int, span: tuple[int, int]) -> CoverageView:
    from_ms, to_ms = span
    lasts_ms = revisit_ms(tx, row.node, row.revisit_s, now_ms)
    places = _cells(tx, row.id) if kind == "area" else _checkpoints(tx, row)
    total = len(places) or 1
    covered = review.covered_ms(tx, areas if kind == "area" else routes, row.id, lasts_ms, span)
    missed = [place for place in places if place.seen_at is None or now_ms - place.seen_at > lasts_ms]
    missed.sort(key=lambda place: (place.seen_at is not None, place.seen_at or 0, place.name))
    return CoverageView(
        kind="area" if kind == "area" else "route", id=row.id, node=row.node, name_zh=row.name_zh, name_en=row.name_en,
        revisit_s=lasts_ms // 1000, places=len(places), seen_share=round(1 - len(missed) / total, 4),
        time_share=round(covered / (total * (to_ms - from_ms)), 4),
        gaps=[
            GapView(
                name=place.name, lat=place.lat, lon=place.lon, seen_at=at_or_none(place.seen_at),
                minutes=None if place.seen_at is None else (now_ms - place.seen_at) // MINUTE_MS,
            )
            for place in missed[:GAPS]
        ],
    )  # fmt: skip


def _cells(tx: Connection, area: int) -> list[_Place]:
    rows = tx.execute(sa.select(area_cells.c.cell, area_cells.c.seen_at).where(area_cells.c.area == area))
    return [_Place(row.cell, *cell_centre(row.cell), row.seen_at) for row in rows]


def _checkpoints(tx: Connection, route: Row[Any]) -> list[_Place]:
    seen = rounds.last_visits(tx, [route.id])
    return [
        _Place(each["name"] or str(number + 1), each["lat"], each["lon"], seen.get((route.id, number)))
        for number, each in enumerate(json.loads(route.checkpoints))
    ]


def visible(
    tx: Connection, principal: Principal, *, from_ms: int, to_ms: int, below: str = ROOT
) -> list[VisibilityView]:
    """The visibility rate of nodes within scope over the hours of a time, worst first. Raises Invalid."""
    checked_span(from_ms, to_ms)
    v = visibility.c
    mine = (scope(principal, v.node), v.node.startswith(below, autoescape=True))
    counted = sa.select(v.node, sa.func.sum(v.asked), sa.func.sum(v.seen)).where(
        *mine, v.hour >= from_ms // HOUR_MS, v.hour < -(-to_ms // HOUR_MS)
    )
    found = [
        VisibilityView(node=node, looks=int(asked), seen=int(seen), share=round(int(seen) / int(asked), 4))
        for node, asked, seen in tx.execute(counted.group_by(v.node))
    ]
    return sorted(found, key=lambda each: (each.share, each.node))
