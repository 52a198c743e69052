"""What other folders may do with reviews: make one, list and read the archive, follow up, hand out its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org.rules import Permission, Principal, scope
from cloud.paging import MAX_LIMIT, Page, at, decode_cursor, encode_cursor
from cloud.reports import archive, data
from cloud.reports.models import (
    FollowUpChange,
    FollowUpState,
    FollowUpView,
    NewFollowUp,
    NewReview,
    ReviewDetail,
    ReviewFilter,
    ReviewState,
    ReviewView,
)
from cloud.reports.periods import MAX_DAYS, ReviewKind, days, kind_of
from cloud.reports.schedule import begin, make_pending, run, zone_of
from cloud.reports.store import follow_ups, reviews
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from cloud.db import Database
    from cloud.reports.data import Figures

__all__ = [
    "Archived", "add_follow_up", "archived", "begin", "change_follow_up", "get_review", "list_follow_ups",
    "list_reviews", "make", "make_pending", "run",
]  # fmt: skip

_OPEN: Final = (FollowUpState.OPEN.value, FollowUpState.UNDERWAY.value)


class Archived(NamedTuple):
    """A review that is made, for whoever renders it."""

    view: ReviewView
    figures: Figures


def list_reviews(
    tx: Connection, principal: Principal, query: ReviewFilter, *, limit: int = 100, cursor: str | None = None
) -> Page[ReviewView]:
    """Reviews within scope, the latest period first. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(*(column for column in reviews.c if column.name != "data"))
    wanted = wanted.where(scope(principal, reviews.c.node))
    if query.node is not None:
        wanted = wanted.where(reviews.c.node.startswith(query.node, autoescape=True))
    if query.kind is not None:
        wanted = wanted.where(reviews.c.kind == query.kind.value)
    if cursor:
        wanted = wanted.where(sa.tuple_(reviews.c.to_at, reviews.c.id) < sa.tuple_(*decode_cursor(cursor, int, int)))
    rows = tx.execute(wanted.order_by(reviews.c.to_at.desc(), reviews.c.id.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].to_at, shown[-1].id) if len(rows) > limit else None
    return Page(items=_views(tx, shown), next_cursor=following)


def _views(tx: Connection, rows: Sequence[Row[Any]]) -> list[ReviewView]:
    names = tree.names(tx, {row.node for row in rows})
    counted = sa.select(follow_ups.c.review, sa.func.count()).where(
        follow_ups.c.review.in_([row.id for row in rows]), follow_ups.c.state.in_(_OPEN)
    )
    still = {row[0]: row[1] for row in tx.execute(counted.group_by(follow_ups.c.review))}
    return [
        ReviewView(
            id=row.id, node=row.node, node_zh=names.get(row.node, (row.node, ""))[0],
            node_en=names.get(row.node, ("", row.node))[1], kind=ReviewKind(row.kind), state=ReviewState(row.state),
            from_at=at(row.from_at), to_at=at(row.to_at), zone=row.zone, created_at=at(row.created_at),
            created_by=row.created_by, open_follow_ups=still.get(row.id, 0),
        )
        for row in rows
    ]  # fmt: skip


def _row(tx: Connection, principal: Principal, review: int) -> Row[Any]:
    wanted = sa.select(reviews).where(reviews.c.id == review, scope(principal, reviews.c.node))
    row = tx.execute(wanted).first() if 0 < review < 2**63 else None
    if row is None:
        raise NotFound(f"review {review}: not found")
    return row


def get_review(tx: Connection, principal: Principal, review: int) -> ReviewDetail:
    """A review with its figures and its follow-ups. Raises NotFound."""
    row = _row(tx, principal, review)
    asked = sa.select(follow_ups).where(follow_ups.c.review == row.id).order_by(follow_ups.c.id)
    figures = data.as_json(data.decode(row.data)) if row.data else None
    return ReviewDetail(
        **_views(tx, [row])[0].model_dump(), figures=figures, follow_ups=_follow_up_views(tx, tx.execute(asked).all())
    )


def archived(tx: Connection, principal: Principal, review: int) -> Archived:
    """What a rendering is made from; the same for ever. Raises NotFound, Conflict while the review is pending."""
    row = _row(tx, principal, review)
    if not row.data:
        raise Conflict(f"review {review}: it is being made; try again in a minute")
    view = _views(tx, [row])[0]
    figures = data.decode(row.data)
    zh, en = figures.names.get(row.node, (view.node_zh, view.node_en))
    return Archived(view.model_copy(update={"node_zh": zh, "node_en": en, "open_follow_ups": 0}), figures)


def make(db: Database, actor: Principal, given: NewReview, now_ms: int, site_zone: str) -> ReviewView:
    """Make a review now: reads in a transaction of its own, then writes. Raises Forbidden, NotFound, Invalid."""
    _allowed(actor)
    if given.last_day < given.first_day:
        raise Invalid("last_day: lies before first_day")
    if (given.last_day - given.first_day).days >= MAX_DAYS:
        raise Invalid(f"last_day: a review covers at most {MAX_DAYS} days")
    with db.read() as tx:
        node = tree.get_node(tx, actor, given.node).path
        zone = zone_of(tx, node, site_zone)
    period = days(given.first_day, given.last_day, ZoneInfo(zone))
    if period.from_ms >= now_ms:
        raise Invalid("first_day: has not begun yet")
    values = {
        "node": node, "kind": kind_of(given.first_day, given.last_day).value, "from_at": period.from_ms,
        "to_at": min(period.to_ms, now_ms), "zone": zone, "once": None,
    }  # fmt: skip
    made = archive.put(db, actor, values, now_ms)
    with db.read() as tx:
        return _views(tx, [_row(tx, actor, made)])[0]


def _allowed(actor: Principal) -> None:
    if not actor.may(Permission.REVIEW):
        raise Forbidden(f"role {actor.role} may not {Permission.REVIEW}")


# ---- follow-ups


def list_follow_ups(
    tx: Connection, principal: Principal, states: Sequence[FollowUpState] = (), *, limit: int = 100,
    cursor: str | None = None,
) -> Page[FollowUpView]:  # fmt: skip
    """Follow-ups of units within scope, newest first, also those of a review of a node above."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(follow_ups).where(scope(principal, follow_ups.c.node))
    if states:
        wanted = wanted.where(follow_ups.c.state.in_([state.value for state in states]))
    if cursor:
        wanted = wanted.where(follow_ups.c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(follow_ups.c.id.desc()).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=_follow_up_views(tx, rows[:limit]), next_cursor=following)


def _follow_up_views(tx: Connection, rows: Sequence[Row[Any]]) -> list[FollowUpView]:
    names = tree.names(tx, {row.node for row in rows})
    return [
        FollowUpView(
            id=row.id, review=row.review, node=row.node, node_zh=names.get(row.node, (row.node, ""))[0],
            node_en=names.get(row.node, ("", row.node))[1], text=row.text, state=FollowUpState(row.state),
            owner=row.owner, updated_at=at(row.updated_at), updated_by=row.updated_by,
        )
        for row in rows
    ]  # fmt: skip


def add_follow_up(tx: Connection, actor: Principal, review: int, given: NewFollowUp, now_ms: int) -> FollowUpView:
    """Ask something of a unit of a review's node. Raises NotFound, Forbidden, Invalid."""
    row = _row(tx, actor, review)
    _allowed(actor)
    node = tree.get_node(tx, actor, given.node).path
    if not node.startswith(row.node):
        raise Invalid("node: not a part of what the review is of")
    values = {
        "review": review, "node": node, "text": clean(given.text, 500), "state": FollowUpState.OPEN.value,
        "owner": given.owner and clean(given.owner, 64), "updated_at": now_ms, "updated_by": actor.label,
    }  # fmt: skip
    made = tx.execute(follow_ups.insert().values(values).returning(follow_ups)).all()
    audit.record(tx, actor, "review.ask", f"review/{review}", at=now_ms, detail=f"{node} {values['text']}")
    return _follow_up_views(tx, made)[0]


def change_follow_up(
    tx: Connection, actor: Principal, follow_up: int, given: FollowUpChange, now_ms: int
) -> FollowUpView:
    """Say where a follow-up stands, who owns it, what it asks. Raises NotFound, Forbidden."""
    wanted = sa.select(follow_ups).where(follow_ups.c.id == follow_up, scope(actor, follow_ups.c.node))
    row = tx.execute(wanted.with_for_update()).first() if 0 < follow_up < 2**63 else None
    if row is None:
        raise NotFound(f"follow-up {follow_up}: not found")
    _allowed(actor)
    values: dict[str, Any] = {"updated_at": now_ms, "updated_by": actor.label}
    if given.state is not None:
        values["state"] = given.state.value
    if given.owner is not None:
        values["owner"] = clean(given.owner, 64)
    if given.text is not None:
        values["text"] = clean(given.text, 500)
    changed = follow_ups.update().where(follow_ups.c.id == follow_up).values(values).returning(follow_ups)
    rows = tx.execute(changed).all()
    said = ", ".join(f"{name} {value}" for name, value in values.items() if not name.startswith("updated"))
    audit.record(tx, actor, "review.follow-up", f"review/{row.review}", at=now_ms, detail=f"{follow_up}: {said}")
    return _follow_up_views(tx, rows)[0]
