"""What a review needs to know of presence: how long posts were in which state, coverage, members and duty.

Owns the reading. The long tables are summed in the database or row by row, so that half a year of a district needs no
more memory than a day. A place counts as covered from a visit until its revisit interval has passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from cloud.presence.rosters.store import members, shifts
from cloud.presence.store import area_cells, areas, cell_visits, post_history, posts, route_visits, routes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row, Subquery

SLOT_MS: Final = 300_000
"""What `cell_visits` counts in."""
CHUNK: Final = 5000
"""Rows that are in memory at a time while a history is summed."""
STATES: Final = ("manned", "understaffed", "unmanned", "unknown")


class PostFact(NamedTuple):
    """A post and how long it was in each state, in milliseconds."""

    id: int
    node: str
    name_zh: str
    name_en: str
    lasted: dict[str, int]


class PatrolFact(NamedTuple):
    """A route or an area. spots: its checkpoints or cells; seen: those visited at least once.

    covered_ms: of all its spots together, of the `span_ms` that there were. longest_ms: between two visits of one spot.
    """

    kind: str
    id: int
    node: str
    name_zh: str
    name_en: str
    revisit_s: int
    spots: int
    seen: int
    covered_ms: int
    span_ms: int
    longest_ms: int


class DutyFact(NamedTuple):
    """Shifts of a node: how many that start in the period were planned and begun; how long begun ones lasted in it."""

    node: str
    planned: int
    begun: int
    lasted_ms: int


class PresenceFigures(NamedTuple):
    """members: by node, at the end of the period."""

    posts: list[PostFact]
    patrols: list[PatrolFact]
    members: dict[str, int]
    duty: list[DutyFact]


def figures(tx: Connection, node: str, from_ms: int, to_ms: int) -> PresenceFigures:
    """Presence at a node and below it within a period."""
    return PresenceFigures(
        _posts(tx, node, from_ms, to_ms),
        [*_routes(tx, node, from_ms, to_ms), *_areas(tx, node, from_ms, to_ms)],
        _members(tx, node, to_ms), _duty(tx, node, from_ms, to_ms),
    )  # fmt: skip


def _stood(table: sa.Table, node: str, from_ms: int, to_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Rows of a table that existed at some time within the period."""
    archived = sa.or_(table.c.archived_at.is_(None), table.c.archived_at > from_ms)
    return (table.c.node.startswith(node, autoescape=True), table.c.created_at < to_ms, archived)


def _posts(tx: Connection, node: str, from_ms: int, to_ms: int) -> list[PostFact]:
    mine = _stood(posts, node, from_ms, to_ms)
    wanted = sa.select(posts).where(*mine).order_by(posts.c.id)
    rows = {row.id: row for row in tx.execute(wanted)}
    lasted = {post: dict.fromkeys(STATES, 0) for post in rows}
    before = (
        sa.select(post_history.c.post, sa.func.max(post_history.c.at).label("at"))
        .join(posts, posts.c.id == post_history.c.post)
        .where(*mine, post_history.c.at <= from_ms)
        .group_by(post_history.c.post)
        .subquery()
    )
    known = (post_history.c.post == before.c.post) & (post_history.c.at == before.c.at)
    began = sa.select(post_history.c.post, post_history.c.state).join(before, known)
    state = {row.post: (from_ms, row.state) for row in tx.execute(began)}
    changes = (
        sa.select(post_history.c.post, post_history.c.at, post_history.c.state)
        .join(posts, posts.c.id == post_history.c.post)
        .where(*mine, post_history.c.at > from_ms, post_history.c.at < to_ms)
        .order_by(post_history.c.post, post_history.c.at)
    )
    for change in tx.execute(changes.execution_options(yield_per=CHUNK)):
        _lasted(rows, lasted, state, change.post, change.at)
        state[change.post] = (change.at, change.state)
    for post, row in rows.items():
        _lasted(rows, lasted, state, post, to_ms)
        _unknown(row, lasted[post], from_ms, to_ms)
    return [PostFact(row.id, row.node, row.name_zh, row.name_en, lasted[row.id]) for row in rows.values()]


def _lasted(
    rows: Mapping[int, Row[Any]], lasted: dict[int, dict[str, int]], state: Mapping[int, tuple[int, str]], post: int,
    until: int,
) -> None:  # fmt: skip
    """Count the state in which a post was until a time; nothing after it was archived."""
    if post not in state:
        return
    since, name = state[post]
    end = until if rows[post].archived_at is None else min(until, rows[post].archived_at)
    if name in lasted[post]:
        lasted[post][name] += max(0, end - since)


def _unknown(row: Row[Any], lasted: dict[str, int], from_ms: int, to_ms: int) -> None:
    """What no history tells of the time in which a post stood is unknown."""
    stood = (to_ms if row.archived_at is None else min(to_ms, row.archived_at)) - max(from_ms, row.created_at)
    lasted["unknown"] += max(0, stood - sum(lasted.values()))


def _covered(visits: Subquery) -> sa.Select[Any]:
    """Per thing: its spots that were seen, covered time, and the longest time between two visits of one spot.

    visits: by thing and spot; `until` is how long a visit at `at` holds, `opens` and `closes` the time that is looked
    at, in which a visit before it still covers its beginning.
    """
    c = visits.c
    over: Any = {"partition_by": [c.thing, c.spot], "order_by": c.at}
    following = sa.func.coalesce(sa.func.lead(c.at).over(**over), c.closes)
    first = sa.func.lag(c.at).over(**over).is_(None)
    spans = sa.select(
        c.thing, c.spot, c.at, c.opens, following.label("following"),
        _less(_less(following, c.until), c.closes).label("until"),
        sa.case((first & (c.at > c.opens), c.at - c.opens), else_=0).label("waited"),
    ).subquery()  # fmt: skip
    s = spans.c
    begin = sa.case((s.at < s.opens, s.opens), else_=s.at)
    gap = s.following - begin
    spots = sa.select(
        s.thing, s.spot,
        sa.func.sum(sa.case((s.until > begin, s.until - begin), else_=0)).label("covered"),
        sa.func.max(sa.case((gap > s.waited, gap), else_=s.waited)).label("longest"),
        sa.func.max(sa.case((s.at >= s.opens, 1), else_=0)).label("seen"),
    ).group_by(s.thing, s.spot).subquery()  # fmt: skip
    sums = (sa.func.sum(spots.c.seen), sa.func.sum(spots.c.covered), sa.func.max(spots.c.longest), sa.func.count())
    return sa.select(spots.c.thing, *sums).group_by(spots.c.thing)


def _less(one: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.case((one < other, one), else_=other)


def _visits(table: sa.Table, hold: sa.ColumnElement[int], from_ms: int, to_ms: int) -> sa.Select[Any]:
    """Visits of routes or areas that count in a time. hold: how long one holds; the time counts while a thing stood."""
    opens = sa.case((table.c.created_at > from_ms, table.c.created_at), else_=sa.literal(from_ms, sa.BigInteger))
    closes = sa.case((table.c.archived_at < to_ms, table.c.archived_at), else_=sa.literal(to_ms, sa.BigInteger))
    at: sa.ColumnElement[int]
    if table is routes:
        at, spot, joined = route_visits.c.at, route_visits.c.checkpoint, route_visits.c.route == routes.c.id
        source = routes.join(route_visits, joined)
    else:
        at, spot = cell_visits.c.slot * SLOT_MS, area_cells.c.cell
        source = areas.join(area_cells, area_cells.c.area == areas.c.id).join(
            cell_visits, cell_visits.c.cell == area_cells.c.cell
        )
    columns = (
        table.c.id.label("thing"), spot.label("spot"), at.label("at"), (at + hold).label("until"),
        opens.label("opens"), closes.label("closes"),
    )  # fmt: skip
    return sa.select(*columns).select_from(source).where(at < to_ms, at + hold > from_ms)


def covered_ms(tx: Connection, table: sa.Table, thing: int, hold_ms: int, span: tuple[int, int]) -> int:
    """For how long, summed over its spots, the last visit of a route's or area's spot was at most so old."""
    visits = _visits(table, sa.literal(hold_ms, sa.BigInteger), *span).where(table.c.id == thing)
    row = tx.execute(_covered(visits.subquery())).first()
    return int(row[2]) if row else 0


def _facts(
    kind: str, found: list[Row[Any]], sums: Mapping[int, Row[Any]], from_ms: int, to_ms: int
) -> list[PatrolFact]:
    """What was summed, for every route or area; one without any visit is there too. Time counts while it stood."""
    facts: list[PatrolFact] = []
    for row in found:
        begin = max(from_ms, row.created_at)
        span = max(0, (to_ms if row.archived_at is None else min(to_ms, row.archived_at)) - begin)
        seen, covered, longest, visited = tuple(sums[row.id])[1:] if row.id in sums else (0, 0, 0, 0)
        if visited < row.spots:  # a spot without any visit was missed for the whole time
            longest = span
        facts.append(
            PatrolFact(
                kind, row.id, row.node, row.name_zh, row.name_en, row.revisit_s, row.spots, int(seen),
                min(int(covered), span * row.spots), span * row.spots, min(int(longest), span),
            )
        )  # fmt: skip
    return facts


def _routes(tx: Connection, node: str, from_ms: int, to_ms: int) -> list[PatrolFact]:
    # How many checkpoints a route has: its JSON list is the truth; a line was cut into the same list.
    count = sa.func.json_array_length(routes.c.checkpoints)
    if tx.dialect.name == "postgresql":
        count = sa.func.jsonb_array_length(sa.cast(routes.c.checkpoints, JSONB))
    return _patrols(tx, "route", (routes, count), node, (from_ms, to_ms))


def _areas(tx: Connection, node: str, from_ms: int, to_ms: int) -> list[PatrolFact]:
    cells = sa.select(sa.func.count()).where(area_cells.c.area == areas.c.id).scalar_subquery()
    return _patrols(tx, "area", (areas, cells), node, (from_ms, to_ms))


def _patrols(
    tx: Connection, kind: str, of: tuple[sa.Table, sa.ColumnElement[int]], node: str, span: tuple[int, int]
) -> list[PatrolFact]:  # fmt: skip
    """of: the table, and how many spots a row of it has."""
    table, spots = of
    mine = _stood(table, node, *span)
    visits = _visits(table, sa.cast(table.c.revisit_s, sa.BigInteger) * 1000, *span).where(*mine)
    sums = {row[0]: row for row in tx.execute(_covered(visits.subquery()))}
    names = ("id", "node", "name_zh", "name_en", "revisit_s", "created_at", "archived_at")
    wanted = sa.select(*(table.c[name] for name in names), spots.label("spots")).where(*mine)
    return _facts(kind, list(tx.execute(wanted.order_by(table.c.id))), sums, *span)


def _members(tx: Connection, node: str, to_ms: int) -> dict[str, int]:
    there = (
        members.c.node.startswith(node, autoescape=True), members.c.created_at < to_ms,
        sa.or_(members.c.archived_at.is_(None), members.c.archived_at >= to_ms),
    )  # fmt: skip
    counted = sa.select(members.c.node, sa.func.count()).where(*there).group_by(members.c.node)
    return {row[0]: row[1] for row in tx.execute(counted.order_by(members.c.node))}


def _duty(tx: Connection, node: str, from_ms: int, to_ms: int) -> list[DutyFact]:
    c = shifts.c
    ended = sa.case((c.ended_at.is_(None), c.ends_at), (c.ended_at < c.ends_at, c.ended_at), else_=c.ends_at)
    begun = sa.case((c.begun_at.is_(None), ended), (c.begun_at < from_ms, from_ms), else_=c.begun_at)
    until = sa.case((ended > to_ms, to_ms), else_=ended)
    starts = c.starts_at >= from_ms
    wanted = sa.select(
        c.node,
        sa.func.count(sa.case((starts, c.id))),
        sa.func.count(sa.case((starts, c.begun_at))),
        sa.func.sum(sa.case((until > begun, until - begun), else_=0)),
    )
    within = (c.node.startswith(node, autoescape=True), c.starts_at < to_ms, c.ends_at > from_ms)
    rows = tx.execute(wanted.where(*within).group_by(c.node).order_by(c.node))
    return [DutyFact(row[0], row[1], row[2], int(row[3])) for row in rows]
