"""The queue of deliveries: taking what is due, and noting what came of it; each in a transaction of its own.

Taking a delivery sets its time to when its sender is taken to have died, so a crash between sending and noting means
that it is sent again. Channels are taken one by one under their row's lock, which no worker waits for: several workers
share the work, and one channel's limits are counted right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud import metrics
from cloud.alerts.notify import rules, texts
from cloud.alerts.notify.channels import GONE, OFF
from cloud.alerts.notify.models import Status
from cloud.alerts.notify.store import channels, deliveries
from cloud.alerts.notify.targets import SERVICES, Kind
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row

LOOK: Final = 500
"""Deliveries of one channel that are looked at together, and the most that one digest lists."""
RECEIPT: Final = 500
DIED: Final = "given up: whoever sent it died of it each time"
TITLES: Final = 3000


class Taken(NamedTuple):
    """A delivery that this worker is to send now. target, secret: sealed. attempt: the mark of this try."""

    id: int
    channel: int
    kind: Kind
    target: str
    secret: str | None
    language: str
    node: str
    subject: str
    subject_id: int
    title: str
    body: str
    urgent: bool
    drill: bool
    created_at: int
    attempt: int
    tried_at: int

    @property
    def name(self) -> str:
        """What it is called to its receiver: the same however often it is sent."""
        return f"{self.id}-{self.created_at}"


class Outcome(NamedTuple):
    """What came of a try. receipt: what the other side said, or why it failed."""

    sent: bool
    receipt: str


def next_at(tx: Connection) -> int | None:
    """When the next delivery is due, None when none waits."""
    due: int | None = tx.execute(sa.select(sa.func.min(deliveries.c.next_at))).scalar()
    return due


def take(tx: Connection, now_ms: int, lease_ms: int, *, free: Mapping[int, int], most: int, places: int) -> list[Taken]:
    """Take what is due, urgent ones first.

    free: how many of a channel's can be sent at once, where it is not `most`. places: how many of all, about.
    """
    pressing = sa.func.max(sa.case((deliveries.c.urgent.is_(True), 1), else_=0))
    due = sa.select(deliveries.c.channel).where(deliveries.c.next_at <= now_ms).group_by(deliveries.c.channel)
    taken: list[Taken] = []
    for channel_id in tx.execute(due.order_by(pressing.desc(), deliveries.c.channel)).scalars().all():
        if free.get(channel_id, most) > 0 and len(taken) < places:
            taken += _take(tx, channel_id, now_ms, lease_ms, free.get(channel_id, most))
    return taken


def _take(tx: Connection, channel_id: int, now_ms: int, lease_ms: int, free: int) -> list[Taken]:
    wanted = sa.select(channels).where(channels.c.id == channel_id)
    channel = tx.execute(wanted.with_for_update(skip_locked=True)).first()
    mine = sa.and_(deliveries.c.channel == channel_id, deliveries.c.next_at <= now_ms)
    if channel is None or not channel.enabled:
        if channel is not None or tx.execute(wanted).first() is None:
            why = GONE if channel is None else OFF
            ended = {"status": Status.FAILED.value, "next_at": None, "ended_at": now_ms, "receipt": why}
            tx.execute(deliveries.update().where(mine).values(ended))
        return []
    most = sa.case((deliveries.c.urgent, rules.URGENT_TRIES), else_=rules.TRIES)
    spent = {"status": Status.FAILED.value, "next_at": None, "ended_at": now_ms, "receipt": DIED}
    tx.execute(deliveries.update().where(mine, deliveries.c.attempts >= most).values(spent))
    order = (deliveries.c.urgent.desc(), deliveries.c.id)
    due = {row.id: row for row in tx.execute(sa.select(deliveries).where(mine).order_by(*order).limit(LOOK))}
    recent = sa.select(deliveries.c.tried_at).where(
        deliveries.c.channel == channel_id, deliveries.c.tried_at > now_ms - rules.WINDOW_MS,
        deliveries.c.urgent.is_(False),
    )  # fmt: skip
    tried = sorted(tx.execute(recent).scalars())
    waiting = [
        rules.Waiting(row.id, row.urgent, row.bundle and row.attempts == 0, row.subject == "digest")
        for row in due.values()
    ]
    plan = rules.plan(waiting, channel.rate - len(tried), free)
    if plan.defer:
        room_at = tried[len(tried) - channel.rate] + rules.WINDOW_MS
        later = deliveries.update().where(mine, deliveries.c.urgent.is_(False))
        tx.execute(later.values(next_at=max(room_at, now_ms + 1)))
    send = [due[each] for each in plan.send]
    if plan.digest:
        send.append(_digest(tx, channel, [due[each] for each in plan.digest], now_ms))
    for row in send:
        tries = {"attempts": row.attempts + 1, "tried_at": now_ms, "next_at": now_ms + lease_ms}
        tx.execute(deliveries.update().where(deliveries.c.id == row.id).values(tries))
    return [_taken(channel, row, now_ms) for row in send]


def _digest(tx: Connection, channel: Row[Any], rows: list[Row[Any]], now_ms: int) -> Row[Any]:
    """One delivery that stands for others, no longer than the service can show."""
    service = SERVICES.get(channel.mask.partition(":")[0])
    most = min(TITLES, service.length) if service else TITLES
    text = texts.digest(channel.language, [row.title for row in rows], most)
    values: dict[str, Any] = {
        "channel": channel.id, "key": f"digest:{rows[0].id}:{rows[-1].id}:{now_ms}", "node": channel.node,
        "subject": "digest", "subject_id": channel.id, "title": text.title, "body": text.body, "urgent": False,
        "drill": channel.sandbox, "status": Status.WAITING.value, "attempts": 0, "created_at": now_ms,
        "next_at": now_ms, "receipt": "", "bundle": False,
    }  # fmt: skip
    made = tx.execute(deliveries.insert().values(values).returning(*deliveries.c)).one()
    parts = deliveries.update().where(deliveries.c.id.in_([row.id for row in rows]))
    tx.execute(parts.values(status=Status.DIGESTED.value, digest=made.id, next_at=None, ended_at=now_ms))
    metrics.NOTIFY_DIGESTED.inc(len(rows))
    return made


def _taken(channel: Row[Any], row: Row[Any], now_ms: int) -> Taken:
    return Taken(
        row.id, channel.id, Kind(channel.kind), channel.target, channel.secret, channel.language, row.node,
        row.subject, row.subject_id, row.title, row.body, row.urgent, row.drill, row.created_at, row.attempts + 1,
        now_ms,
    )  # fmt: skip


def note(tx: Connection, taken: Taken, outcome: Outcome, now_ms: int) -> None:
    """Note what came of a try; nothing when somebody else has taken the delivery since, or ended it."""
    tx.execute(sa.select(channels.c.id).where(channels.c.id == taken.channel).with_for_update())
    mine = (
        deliveries.c.id == taken.id, deliveries.c.status == Status.WAITING.value,
        deliveries.c.attempts == taken.attempt, deliveries.c.tried_at == taken.tried_at,
    )  # fmt: skip
    receipt = clean(outcome.receipt, RECEIPT)
    channel = channels.update().where(channels.c.id == taken.channel)
    if outcome.sent:
        values: dict[str, Any] = {"status": Status.SENT.value, "next_at": None, "ended_at": now_ms}
        tx.execute(channel.values(failing_since=None, last_ok_at=now_ms, last_error=""))
    else:
        since = sa.func.coalesce(channels.c.failing_since, now_ms)
        tx.execute(channel.where(channels.c.enabled.is_(True)).values(failing_since=since, last_error=receipt))
        wait_s = rules.retry_after_s(taken.attempt, urgent=taken.urgent)
        values = {"next_at": None if wait_s is None else now_ms + wait_s * 1000}
        if wait_s is None:
            values |= {"status": Status.FAILED.value, "ended_at": now_ms}
    if not tx.execute(
        deliveries.update().where(*mine).values(receipt=receipt, **values).returning(deliveries.c.id)
    ).all():
        return
    if "status" in values:
        (metrics.NOTIFY_SENT if outcome.sent else metrics.NOTIFY_FAILED).labels(taken.kind.value).inc()
    if taken.subject == "digest" and values.get("status") == Status.FAILED.value:
        parts = deliveries.update().where(deliveries.c.digest == taken.id)
        tx.execute(parts.values(status=Status.FAILED.value, ended_at=now_ms, receipt=receipt))


def figures(tx: Connection, now_ms: int) -> tuple[int, float]:
    """How many deliveries wait, and how old the oldest of them is in seconds."""
    waiting = sa.select(sa.func.count(), sa.func.min(deliveries.c.created_at)).where(deliveries.c.next_at.is_not(None))
    count, oldest = tx.execute(waiting).one()
    return int(count), 0.0 if oldest is None else max(0, now_ms - oldest) / 1000
