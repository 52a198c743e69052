"""What became of messages: lists, one subject's deliveries, sending one again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloud.alerts.notify.models import DeliveryFilter, DeliveryView, Status
from cloud.alerts.notify.store import channels, deliveries
from cloud.errors import Conflict, NotFound
from cloud.org import audit
from cloud.org.rules import Principal, scope
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Connection, Row, Select

_NAMED = sa.select(deliveries, channels.c.name.label("channel_name")).outerjoin(
    channels, channels.c.id == deliveries.c.channel
)


def view(row: Row[Any]) -> DeliveryView:
    """A row of `_NAMED` as the API tells it."""
    return DeliveryView(
        id=row.id, channel=row.channel, channel_name=row.channel_name or "", node=row.node, subject=row.subject,
        subject_id=row.subject_id, title=row.title, body=row.body, urgent=row.urgent, drill=row.drill,
        status=Status(row.status), attempts=row.attempts, created_at=at(row.created_at),
        next_at=at_or_none(row.next_at), ended_at=at_or_none(row.ended_at), receipt=row.receipt, digest=row.digest,
    )  # fmt: skip


def deliveries_of(tx: Connection, subject: str, subject_id: int) -> list[DeliveryView]:
    """What was told of one thing, oldest first. Whether the caller may see the thing is the caller's to know."""
    wanted = _NAMED.where(deliveries.c.subject == subject, deliveries.c.subject_id == subject_id)
    return [view(row) for row in tx.execute(wanted.order_by(deliveries.c.id))]


def list_deliveries(
    tx: Connection, principal: Principal, query: DeliveryFilter, *, limit: int = 100, cursor: str | None = None
) -> Page[DeliveryView]:
    """Deliveries within scope, newest first. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted: Select[Any] = _NAMED.where(scope(principal, deliveries.c.node), *_conditions(query))
    if cursor:
        wanted = wanted.where(deliveries.c.id < int(decode_cursor(cursor, int)[0]))
    rows = tx.execute(wanted.order_by(deliveries.c.id.desc()).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[view(row) for row in rows[:limit]], next_cursor=following)


def _conditions(query: DeliveryFilter) -> Iterable[ColumnElement[bool]]:
    if query.channel is not None:
        yield deliveries.c.channel == query.channel
    if query.status:
        yield deliveries.c.status.in_([status.value for status in query.status])
    if query.subject is not None:
        yield deliveries.c.subject == clean(query.subject, 16)
    if query.subject_id is not None:
        yield deliveries.c.subject_id == query.subject_id
    if query.urgent is not None:
        yield deliveries.c.urgent.is_(query.urgent)


def get_delivery(tx: Connection, principal: Principal, delivery_id: int) -> DeliveryView:
    """One delivery. Raises NotFound when absent or out of scope."""
    row = tx.execute(_NAMED.where(deliveries.c.id == delivery_id, scope(principal, deliveries.c.node))).first()
    if row is None:
        raise NotFound(f"delivery {delivery_id}: not found")
    return view(row)


def resend(tx: Connection, actor: Principal, delivery_id: int, now_ms: int) -> DeliveryView:
    """Send one that has ended again, under the same id. Raises NotFound, Conflict."""
    found = get_delivery(tx, actor, delivery_id)
    if not found.channel_name:
        raise Conflict(f"delivery {delivery_id}: its channel is gone")
    again: dict[str, Any] = {
        "status": Status.WAITING.value, "attempts": 0, "next_at": now_ms, "ended_at": None, "digest": None,
        "bundle": False, "receipt": "",
    }  # fmt: skip
    ended = deliveries.update().where(deliveries.c.id == delivery_id, deliveries.c.status != Status.WAITING.value)
    if not tx.execute(ended.values(again).returning(deliveries.c.id)).all():
        raise Conflict(f"delivery {delivery_id}: is waiting to be sent already")
    audit.record(tx, actor, "delivery.resend", f"delivery/{delivery_id}", at=now_ms, detail=found.channel_name)
    return get_delivery(tx, actor, delivery_id)


def forget(tx: Connection, before_ms: int) -> None:
    """Delete what ended before a time."""
    tx.execute(deliveries.delete().where(deliveries.c.next_at.is_(None), deliveries.c.ended_at < before_ms))
