"""Drills as rows and as views: which there are, and which one covers a node.

Owns every reading of drills. Which drill runs is judged by time, whether or not its timers have been called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloud import stream
from cloud.alerts import drilled
from cloud.incidents.drills import gather
from cloud.incidents.drills.models import DrillDetail, DrillKind, DrillState, DrillView, ScoreView
from cloud.incidents.drills.store import drills
from cloud.incidents.rules import Category
from cloud.org import rows, tree
from cloud.org.rules import ROOT, SYSTEM, ancestors, scope
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Row

    from cloud.org.rules import Principal


def runs(now_ms: int) -> ColumnElement[bool]:
    """Whether a drill runs at a time: begun or due to begin, and not over."""
    begun = drills.c.state == DrillState.RUNNING.value
    due = sa.and_(drills.c.state == DrillState.PLANNED.value, drills.c.starts_at <= now_ms)
    return sa.and_(sa.or_(begun, due), drills.c.ends_at > now_ms)


def running(tx: Connection, node: str, now_ms: int) -> int | None:
    """The script drill that covers a node now: of several the nearest, then the first planned."""
    wanted = sa.select(drills.c.id).where(
        drills.c.kind == DrillKind.SCRIPT.value, drills.c.node.in_(ancestors(node)), runs(now_ms)
    )
    found: int | None = tx.execute(wanted.order_by(sa.func.length(drills.c.node).desc(), drills.c.id).limit(1)).scalar()
    return found


def row_of(tx: Connection, principal: Principal, drill: int, *, lock: bool = False) -> Row[Any]:
    """A drill within scope, its row locked for a change when asked. Raises NotFound."""
    return rows.row_of(tx, drills, principal, drill, "drill", lock=lock)


def _fields(row: Row[Any], names: dict[str, tuple[str, str]]) -> dict[str, Any]:
    zh, en = names.get(row.node, ("", ""))
    return {
        "id": row.id, "node": row.node, "node_zh": zh, "node_en": en, "name": row.name, "kind": DrillKind(row.kind),
        "category": Category(row.category), "place": row.place, "lat": row.lat, "lon": row.lon,
        "state": DrillState(row.state), "starts_at": at(row.starts_at), "ends_at": at(row.ends_at),
        "planned_at": at(row.planned_at), "planned_by": row.planned_by, "began_at": at_or_none(row.began_at),
        "started_by": row.started_by, "ended_at": at_or_none(row.ended_at), "ended_by": row.ended_by,
        "total": ScoreView.model_validate_json(row.score).total if row.score else None,
    }  # fmt: skip


def views_of(tx: Connection, rows: Iterable[Row[Any]]) -> list[DrillView]:
    """Views of rows, in their order."""
    rows = list(rows)
    names = tree.names(tx, {row.node for row in rows})
    return [DrillView(**_fields(row, names)) for row in rows]


def list_drills(
    tx: Connection, principal: Principal, *, below: str = ROOT, states: Sequence[DrillState] = (), limit: int = 100,
    cursor: str | None = None,
) -> Page[DrillView]:  # fmt: skip
    """Drills within scope, newest first. Raises Invalid on a false cursor."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(drills).where(scope(principal, drills.c.node), drills.c.node.startswith(below, autoescape=True))
    if states:
        wanted = wanted.where(drills.c.state.in_([state.value for state in states]))
    if cursor:
        wanted = wanted.where(drills.c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(drills.c.id.desc()).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=views_of(tx, rows[:limit]), next_cursor=following)


def get_drill(tx: Connection, principal: Principal, drill: int, now_ms: int) -> DrillDetail:
    """One drill with its score; while it runs, with how it stands now. Raises NotFound."""
    row = row_of(tx, principal, drill)
    score = ScoreView.model_validate_json(row.score) if row.score else None
    if row.state == DrillState.RUNNING:
        score = gather.score_of(tx, row.id, row.began_at, min(now_ms, row.ends_at), now_ms)
    return DrillDetail(
        **_fields(row, tree.names(tx, [row.node])), incidents=gather.incidents_of(tx, row.id),
        alarms=[alarm.id for alarm in drilled.of_drill(tx, row.id)], score=score,
    )  # fmt: skip


def announce(tx: Connection, drill: int, now_ms: int) -> DrillView:
    """Tell the event stream how a drill stands now."""
    row = row_of(tx, SYSTEM, drill)
    view = views_of(tx, [row])[0]
    stream.append(tx, "drill", view, at=now_ms, node=row.node)
    return view
