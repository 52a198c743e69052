"""Channels: made, changed, tried out, removed. A target and a secret go in and never come out again.

What is said of a channel in the audit chain, in errors and in lists is its name and its target's mask.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from cloud.alerts.notify import apprises, targets, texts
from cloud.alerts.notify.deliveries import get_delivery
from cloud.alerts.notify.models import (
    ChannelChange,
    ChannelIn,
    ChannelMade,
    ChannelState,
    ChannelView,
    DeliveryView,
    Status,
)
from cloud.alerts.notify.seal import Seal
from cloud.alerts.notify.store import channels, deliveries
from cloud.alerts.notify.targets import Kind
from cloud.db import data_dir_of
from cloud.errors import Conflict, Invalid
from cloud.org import audit, tree
from cloud.org.rows import row_of
from cloud.org.rules import Principal, scope
from cloud.paging import MAX_LIMIT, Page, at_or_none, decode_cursor, encode_cursor
from cloud.text import clean
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, Row

TEST: Final = "test"
OFF: Final = "the channel was switched off"
GONE: Final = "the channel was removed"


def _views(tx: Connection, rows: list[Row[Any]]) -> list[ChannelView]:
    counted = sa.select(deliveries.c.channel, sa.func.count()).where(
        deliveries.c.channel.in_([row.id for row in rows]), deliveries.c.next_at.is_not(None)
    )
    waiting = {channel: int(count) for channel, count in tx.execute(counted.group_by(deliveries.c.channel))}
    return [
        ChannelView(
            id=row.id, name=row.name, node=row.node, kind=Kind(row.kind), target=row.mask, language=row.language,
            audience=json.loads(row.audience), min_severity=Severity(row.min_severity), sandbox=row.sandbox,
            enabled=row.enabled, rate=row.rate, state=_state(row), failing_since=at_or_none(row.failing_since),
            last_ok_at=at_or_none(row.last_ok_at), last_error=row.last_error, waiting=waiting.get(row.id, 0),
        )
        for row in rows
    ]  # fmt: skip


def _state(row: Row[Any]) -> ChannelState:
    if not row.enabled:
        return ChannelState.OFF
    if row.failing_since is not None:
        return ChannelState.FAILING
    return ChannelState.FRESH if row.last_ok_at is None else ChannelState.WORKING


def _held(tx: Connection, actor: Principal, channel_id: int) -> Row[Any]:
    """The row, locked for change, and always before its deliveries. Raises NotFound."""
    return row_of(tx, channels, actor, channel_id, "channel", lock=True)


def list_channels(
    tx: Connection, principal: Principal, *, limit: int = 100, cursor: str | None = None
) -> Page[ChannelView]:
    """Channels within scope, in the order in which they were made. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(channels).where(scope(principal, channels.c.node))
    if cursor:
        wanted = wanted.where(channels.c.id > int(decode_cursor(cursor, int)[0]))
    rows = list(tx.execute(wanted.order_by(channels.c.id).limit(limit + 1)))
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=_views(tx, rows[:limit]), next_cursor=following)


def get_channel(tx: Connection, principal: Principal, channel_id: int) -> ChannelView:
    """One channel. Raises NotFound when absent or out of scope."""
    return _views(tx, [row_of(tx, channels, principal, channel_id, "channel")])[0]


def find_channel(tx: Connection, principal: Principal, node: str, name: str) -> ChannelView | None:
    """A node's channel by its name."""
    named = sa.select(channels).where(
        channels.c.node == node, channels.c.name == name, scope(principal, channels.c.node)
    )
    row = tx.execute(named).first()
    return _views(tx, [row])[0] if row is not None else None


def sealed_of(tx: Connection, principal: Principal, channel_id: int) -> tuple[str, str | None]:
    """A channel's target and secret, opened, for whoever has to compare them; they are shown to nobody."""
    row = row_of(tx, channels, principal, channel_id, "channel")
    seal = Seal(data_dir_of(tx))
    return seal.open(row.target), seal.open(row.secret) if row.secret else None


def _sealed(tx: Connection, kind: Kind, target: str, allowed: Collection[str] | None) -> dict[str, Any]:
    """The columns of a target. Raises Invalid when it may not be one."""
    parsed = targets.parse(kind, target)
    apprises.check(parsed, allowed)
    return {"target": Seal(data_dir_of(tx)).close(target), "mask": parsed.mask}


def _audience(given: list[str]) -> str:
    return json.dumps([clean(each, 69) for each in given], ensure_ascii=False)


def add_channel(
    tx: Connection, actor: Principal, given: ChannelIn, *, now_ms: int, allowed: Collection[str] | None
) -> ChannelMade:
    """Make a channel; a webhook without a secret gets one, told this once.

    allowed: hosts that the configuration allows by name; None leaves that to the sender.

    Raises NotFound for the node, Invalid for the target, Conflict when the node has one of that name.
    """
    node = tree.get_node(tx, actor, given.node).path
    if given.kind is Kind.APPRISE and given.secret is not None:
        raise Invalid("secret: only a webhook has one; what apprise needs is part of the target")
    made = secrets.token_urlsafe(32) if given.kind is Kind.WEBHOOK and given.secret is None else None
    secret = made or given.secret
    values = _sealed(tx, given.kind, given.target, allowed) | {
        "node": node, "name": clean(given.name, 64), "kind": given.kind.value,
        "secret": Seal(data_dir_of(tx)).close(secret) if secret else None, "language": given.language,
        "audience": _audience(given.audience),
        "min_severity": given.min_severity.value, "sandbox": given.sandbox, "enabled": given.enabled,
        "rate": given.rate, "last_error": "", "created_at": now_ms, "created_by": actor.label,
    }  # fmt: skip
    try:
        with tx.begin_nested():
            channel_id = int(tx.execute(channels.insert().values(values).returning(channels.c.id)).scalar_one())
    except IntegrityError as e:
        raise Conflict(f"channel {given.name}: exists already at this node") from e
    audit.record(tx, actor, "channel.add", f"channel/{channel_id}", at=now_ms, detail=values["name"])
    return ChannelMade(**get_channel(tx, actor, channel_id).model_dump(), secret=made)


def change_channel(
    tx: Connection, actor: Principal, channel_id: int, change: ChannelChange, *, now_ms: int,
    allowed: Collection[str] | None,
) -> ChannelView:  # fmt: skip
    """Change what is given. Switching it off ends what waits for it. Raises NotFound, Invalid, Conflict."""
    row = _held(tx, actor, channel_id)
    values = change.model_dump(mode="json", exclude_none=True, exclude={"target", "secret", "audience"})
    if change.target is not None:
        values |= _sealed(tx, Kind(row.kind), change.target, allowed) | {"failing_since": None, "last_error": ""}
    if change.secret is not None:
        if row.kind != Kind.WEBHOOK:
            raise Invalid("secret: only a webhook has one; what apprise needs is part of the target")
        values["secret"] = Seal(data_dir_of(tx)).close(change.secret)
    if change.audience is not None:
        values["audience"] = _audience(change.audience)
    if "name" in values:
        values["name"] = clean(values["name"], 64)
    if change.enabled is False:
        values["failing_since"] = None
    if change.enabled is False or (change.sandbox is not None and change.sandbox != row.sandbox):
        _end(tx, channel_id, OFF, now_ms)
    if values:
        try:
            with tx.begin_nested():
                tx.execute(channels.update().where(channels.c.id == channel_id).values(values))
        except IntegrityError as e:
            raise Conflict(f"channel {change.name}: exists already at this node") from e
        named = ", ".join(sorted(change.model_fields_set))
        audit.record(tx, actor, "channel.change", f"channel/{channel_id}", at=now_ms, detail=f"{row.name}: {named}")
    return get_channel(tx, actor, channel_id)


def remove_channel(tx: Connection, actor: Principal, channel_id: int, now_ms: int) -> None:
    """Remove it; its deliveries stay, what waits has failed. Raises NotFound."""
    row = _held(tx, actor, channel_id)
    _end(tx, channel_id, GONE, now_ms)
    tx.execute(channels.delete().where(channels.c.id == channel_id))
    audit.record(tx, actor, "channel.remove", f"channel/{channel_id}", at=now_ms, detail=row.name)


def _end(tx: Connection, channel_id: int, why: str, now_ms: int) -> None:
    waiting = deliveries.update().where(deliveries.c.channel == channel_id, deliveries.c.status == Status.WAITING.value)
    tx.execute(waiting.values(status=Status.FAILED.value, next_at=None, ended_at=now_ms, receipt=why))


def try_out(tx: Connection, actor: Principal, channel_id: int, now_ms: int) -> DeliveryView:
    """Send a test message to one channel, whomever it is for. Raises NotFound, Conflict when it is off."""
    row = _held(tx, actor, channel_id)
    if not row.enabled:
        raise Conflict(f"channel {row.name}: is switched off")
    text = texts.render(row.language, TEST, {"channel": row.name, "by": actor.label}, drill=row.sandbox)
    last = sa.select(sa.func.count()).where(deliveries.c.channel == channel_id, deliveries.c.subject == TEST)
    number = int(tx.execute(last).scalar_one())
    values: dict[str, Any] = {
        "channel": channel_id, "key": f"{TEST}:{now_ms}:{number}", "node": row.node, "subject": TEST,
        "subject_id": channel_id, "title": text.title, "body": text.body, "urgent": False, "drill": row.sandbox,
        "status": Status.WAITING.value, "attempts": 0, "created_at": now_ms, "next_at": now_ms, "receipt": "",
        "bundle": False,
    }  # fmt: skip
    made = int(tx.execute(deliveries.insert().values(values).returning(deliveries.c.id)).scalar_one())
    audit.record(tx, actor, "channel.test", f"channel/{channel_id}", at=now_ms, detail=row.name)
    return get_delivery(tx, actor, made)


def hosts_of(state_allowed: Collection[str]) -> frozenset[str]:
    """The hosts of `[notify] allow_hosts`, as targets are compared with them."""
    return frozenset(each.lower() for each in state_allowed)
