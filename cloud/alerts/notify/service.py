"""What other folders may do with notifications: put a message in, see what became of it, send what is due.

A message is put in within the transaction of its cause: both are kept, or neither is. What is sent is sent later, by
the worker, outside of any transaction, at least once: after a crash between the sending and its note it is sent again,
and a webhook's receiver knows it by `X-PatrolGrid-Delivery`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud import importing, metrics
from cloud.alerts.notify import bring_in, rules, texts
from cloud.alerts.notify.deliveries import deliveries_of
from cloud.alerts.notify.models import Status
from cloud.alerts.notify.sender import run
from cloud.alerts.notify.store import channels, deliveries
from cloud.db import insert
from cloud.org.rules import ancestors
from cloud.text import clean
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Row

    from cloud.org.rules import Role

__all__ = ["Message", "deliveries_of", "enqueue", "failing", "run"]

KEY: Final = 200


class Message(NamedTuple):
    """Something to tell.

    node: where it happened. template: `alarm.raised`, see `texts/`. values: for the template; a name may end in `_zh`
    or `_en`. roles, users: whom to tell, everybody who listens when both are empty. urgent: fire, SOS: never limited.
    key: what makes a repeat of it the same. digest: it comes and goes and may wait for others.
    """

    node: str
    subject: str
    subject_id: int
    template: str
    values: dict[str, str]
    severity: Severity
    roles: tuple[Role, ...]
    urgent: bool
    drill: bool
    key: str
    users: tuple[str, ...] = ()
    digest: bool = False


def enqueue(tx: Connection, message: Message, now_ms: int) -> int:
    """Put a message in for every channel that hears it. Gives how many deliveries were made; a repeat makes none."""
    near = sa.select(channels).where(
        channels.c.node.in_(ancestors(message.node)), channels.c.enabled.is_(True),
        channels.c.sandbox.is_(message.drill),
    )  # fmt: skip
    hearing = [row for row in tx.execute(near.order_by(channels.c.id)) if _hears(row, message)]
    if not hearing:
        if not message.drill:
            metrics.NOTIFY_UNHEARD.labels(str(message.urgent).lower()).inc()
        return 0
    values = {"severity": message.severity.value, **message.values}
    languages = {row.language for row in hearing}
    texts_of = {each: texts.render(each, message.template, values, drill=message.drill) for each in languages}
    flapping = set[int]() if message.urgent or message.digest else _coming_and_going(tx, hearing, texts_of, now_ms)
    rows = []
    for row in hearing:
        text = texts_of[row.language]
        bundle = not message.urgent and (message.digest or row.id in flapping)
        rows.append({
            "channel": row.id, "key": _key(message.key), "node": message.node, "subject": clean(message.subject, 16),
            "subject_id": message.subject_id, "title": text.title, "body": text.body, "urgent": message.urgent,
            "drill": message.drill, "status": Status.WAITING.value, "attempts": 0, "created_at": now_ms,
            "next_at": _bundle_at(tx, row.id, now_ms) if bundle else now_ms, "receipt": "", "bundle": bundle,
        })  # fmt: skip
    put = insert(tx, deliveries).on_conflict_do_nothing(index_elements=["channel", "key"])
    return len(tx.execute(put.returning(deliveries.c.id), rows).all())


def _hears(row: Row[Any], message: Message) -> bool:
    return rules.hears(json.loads(row.audience), message.roles, message.users) and rules.fits(
        message.severity, Severity(row.min_severity), urgent=message.urgent
    )


def _key(key: str) -> str:
    """The key itself; a long one by its hash, so that two long ones stay two."""
    key = clean(key, len(key))
    return key if len(key) <= KEY else f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _coming_and_going(
    tx: Connection, hearing: Sequence[Row[Any]], texts_of: Mapping[str, texts.Text], now: int
) -> set[int]:
    """The channels that were told their title often of late."""
    told = sa.select(deliveries.c.channel, deliveries.c.title, sa.func.count()).where(
        deliveries.c.channel.in_([row.id for row in hearing]),
        deliveries.c.title.in_([text.title for text in texts_of.values()]),
        deliveries.c.created_at > now - rules.FLAP_MS, deliveries.c.created_at <= now,
    )  # fmt: skip
    often = told.group_by(deliveries.c.channel, deliveries.c.title).having(sa.func.count() >= rules.FLAP_TIMES)
    found = {(channel, title) for channel, title, _ in tx.execute(often)}
    return {row.id for row in hearing if (row.id, texts_of[row.language].title) in found}


def _bundle_at(tx: Connection, channel: int, now: int) -> int:
    """When those that wait for others go: all at the time of the first."""
    first = sa.select(sa.func.min(deliveries.c.next_at)).where(
        deliveries.c.channel == channel, deliveries.c.bundle.is_(True), deliveries.c.attempts == 0,
        deliveries.c.status == Status.WAITING.value, deliveries.c.next_at > now,
    )  # fmt: skip
    found: int | None = tx.execute(first).scalar()
    return now + rules.BUNDLE_MS if found is None else min(found, now + rules.BUNDLE_MS)


def failing(tx: Connection, now_ms: int) -> list[str]:
    """The names of channels whose deliveries fail since five minutes; one that is off does not fail."""
    wanted = sa.select(channels.c.name).where(
        channels.c.enabled.is_(True), channels.c.failing_since <= now_ms - rules.FAILING_MS
    )
    return list(tx.execute(wanted.order_by(channels.c.id)).scalars())


importing.IMPORTERS["channels"] = bring_in.channels
