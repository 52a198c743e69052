"""Silences and maintenance: what tells nobody for a time, who said so, and until when.

Owns the rows of `silences` and their timers. A cover is in force by its times alone, so a late timer only delays the
moment in which what it kept quiet is told of again. Which alarms it means is `rules.suppression`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.alerts import quiet
from cloud.alerts.ops_models import MAX_S, SilenceBody, SilenceFilter, SilenceView
from cloud.alerts.rules import PROTECTED, Purpose, Subject, suppression
from cloud.alerts.store import alarms, silences
from cloud.devices.places import known_place
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org.rows import row_of
from cloud.org.rules import SYSTEM, Permission, Principal, scope, visible
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy import ColumnElement, Connection, Row

    from cloud.timers import Timer

TIMER: Final = "silence"
NEEDS: Final = {Purpose.SILENCE: Permission.SILENCE, Purpose.MAINTENANCE: Permission.MAINTAIN}


def list_silences(
    tx: Connection, who: Principal, query: SilenceFilter, now_ms: int, *, limit: int = 100, cursor: str | None = None
) -> Page[SilenceView]:
    """Silences within scope, newest first. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(silences).where(scope(who, silences.c.node), *_conditions(query, now_ms))
    if cursor:
        wanted = wanted.where(silences.c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(silences.c.id.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].id) if len(rows) > limit else None
    return Page(items=[_view(tx, who, row, now_ms) for row in shown], next_cursor=following)


def _conditions(query: SilenceFilter, now_ms: int) -> Iterable[ColumnElement[bool]]:
    if query.purpose is not None:
        yield silences.c.purpose == query.purpose.value
    if query.active is not None:
        active = sa.and_(
            silences.c.ended_at.is_(None), silences.c.starts_at <= now_ms, silences.c.ends_at > now_ms
        )  # fmt: skip
        yield active if query.active else sa.not_(active)


def maintained(
    tx: Connection, who: Principal, gateway: str, but: Collection[int], now_ms: int
) -> list[SilenceView]:  # fmt: skip
    """The maintenances in force of a gateway and its devices, within scope, but some; the first to end first."""
    query = SilenceFilter(purpose=Purpose.MAINTENANCE, active=True)
    mine = (silences.c.gateway == gateway, silences.c.id.not_in(but), scope(who, silences.c.node))
    wanted = sa.select(silences).where(*mine, *_conditions(query, now_ms)).order_by(silences.c.ends_at)
    return [_view(tx, who, row, now_ms) for row in tx.execute(wanted.limit(MAX_LIMIT)).all()]


def get_silence(tx: Connection, who: Principal, silence_id: int, now_ms: int) -> SilenceView:
    """One of them. Raises NotFound."""
    return _view(tx, who, row_of(tx, silences, who, silence_id, "silence"), now_ms)


def find_silences(tx: Connection, ids: Iterable[int | None]) -> dict[int | None, Row[Any]]:
    """Rows by id, for an alarm that is within scope already."""
    known = {each for each in ids if each is not None}
    wanted = sa.select(silences).where(silences.c.id.in_(known))
    return {row.id: row for row in tx.execute(wanted)} if known else {}


def _meant(row: Row[Any]) -> list[ColumnElement[bool]]:
    """The alarms that a cover means, whatever else holds for them."""
    meant = [alarms.c.node.startswith(row.node, autoescape=True)]
    named = ((alarms.c.gateway, row.gateway), (alarms.c.device, row.device), (alarms.c.kind, row.kind))
    return meant + [column == value for column, value in named if value is not None]


def _view(tx: Connection, who: Principal, row: Row[Any], now_ms: int) -> SilenceView:
    active = row.ended_at is None and row.starts_at <= now_ms < row.ends_at
    counts = {True: 0, False: 0}
    if active:
        columns = (alarms.c.node, alarms.c.gateway, alarms.c.device, alarms.c.kind)
        open_ones = sa.select(*columns, sa.func.count()).where(*quiet.OPEN, *_meant(row), scope(who, alarms.c.node))
        for node, gateway, device, kind, count in tx.execute(open_ones.group_by(*columns)):
            subject = Subject(0, node, gateway, device, kind)
            counts[suppression(subject, [quiet.cover(row)], [], now_ms).loud] += count
    return SilenceView(
        id=row.id, purpose=Purpose(row.purpose), node=row.node, gateway=row.gateway, device=row.device, kind=row.kind,
        reason=row.reason, owner=row.owner, created_at=at(row.created_at), starts_at=at(row.starts_at),
        ends_at=at(row.ends_at), ended_at=at_or_none(row.ended_at), ended_by=row.ended_by, active=active,
        quiet=counts[False], loud=counts[True], never_silenced=sorted(PROTECTED),
    )  # fmt: skip


def _may(actor: Principal, purpose: Purpose) -> None:
    if not actor.may(NEEDS[purpose]):
        raise Forbidden(f"role {actor.role} may not {NEEDS[purpose]}")


def _node(tx: Connection, actor: Principal, body: SilenceBody) -> str:
    """Where it belongs. Raises NotFound for what is not within scope, Invalid when the parts do not fit."""
    own = actor.node
    if body.gateway is not None:
        place = known_place(tx, body.gateway, body.device or "")
        if place is None or not visible(actor, place.node):
            named = f"device {body.gateway}/{body.device}" if body.device else f"gateway {body.gateway}"
            raise NotFound(f"{named}: not found")
        own = place.node
    if body.node is None:
        return own
    node = tree.get_node(tx, actor, body.node).path
    if body.gateway is not None and not own.startswith(node) and not (body.device is None and node.startswith(own)):
        raise Invalid(f"node: {body.device or body.gateway} does not belong to {node}")
    return node


def add_silence(tx: Connection, actor: Principal, body: SilenceBody, now_ms: int) -> SilenceView:
    """Silence something, or put it into maintenance. Raises Forbidden, NotFound, Invalid.

    What the answer counts as `loud` stays loud: its kinds are protected.
    """
    _may(actor, body.purpose)
    starts_at = now_ms + body.starts_in_s * 1000
    values: dict[str, Any] = {
        "purpose": body.purpose.value, "node": _node(tx, actor, body), "gateway": body.gateway,
        "device": body.device, "kind": None if body.kind is None else clean(body.kind, 64),
        "reason": clean(body.reason, 2000), "owner": actor.label, "created_at": now_ms, "starts_at": starts_at,
        "ends_at": starts_at + min(body.seconds, MAX_S) * 1000,
    }  # fmt: skip
    made = int(tx.execute(silences.insert().values(values).returning(silences.c.id)).scalar_one())
    audit.record(tx, actor, f"{body.purpose}.add", f"silence/{made}", at=now_ms, detail=values["reason"])
    row = row_of(tx, silences, actor, made, "silence")
    timers.set_timer(tx, TIMER, str(made), row.starts_at if row.starts_at > now_ms else row.ends_at)
    if row.starts_at <= now_ms:
        quiet.refresh(tx, now_ms, *_meant(row))
    return _view(tx, actor, row, now_ms)


def hold_devices(  # noqa: PLR0917 - who, what, why, how long
    tx: Connection, actor: Principal, gateway: str, nodes: Mapping[str, str], reason: str, ends_at: int, now_ms: int
) -> dict[str, int]:  # fmt: skip
    """Put devices of a gateway into maintenance, each into one of its own; which. nodes: where each belongs.

    Raises Forbidden.
    """
    _may(actor, Purpose.MAINTENANCE)
    if not nodes:
        return {}
    common = {
        "purpose": Purpose.MAINTENANCE.value, "gateway": gateway, "kind": None, "reason": clean(reason, 2000),
        "owner": actor.label, "created_at": now_ms, "starts_at": now_ms, "ends_at": ends_at,
    }  # fmt: skip
    rows = [common | {"device": device, "node": node} for device, node in sorted(nodes.items())]
    put = silences.insert().returning(silences.c.id, silences.c.device)
    made = {row.device: row.id for row in tx.execute(put, rows)}
    for number in made.values():
        audit.record(tx, actor, f"{Purpose.MAINTENANCE}.add", f"silence/{number}", at=now_ms, detail=reason)
    timers.set_timers(tx, TIMER, map(str, made.values()), ends_at)
    quiet.refresh(tx, now_ms, alarms.c.gateway == gateway, alarms.c.device.in_(nodes))
    return made


def end_holds(tx: Connection, actor: Principal, gateway: str, held: Mapping[str, int], now_ms: int) -> None:
    """End what `hold_devices` gave; what was kept quiet and still stands is told of again. A repeat changes nothing."""
    ids = set(held.values())
    over = sa.case((silences.c.ends_at < now_ms, silences.c.ends_at), else_=now_ms)
    mine = (silences.c.id.in_(ids), silences.c.ended_at.is_(None))
    ended = silences.update().where(*mine).values(ended_at=over, ended_by=actor.label).returning(silences.c.id)
    for number in tx.execute(ended).scalars().all():
        audit.record(tx, actor, f"{Purpose.MAINTENANCE}.end", f"silence/{number}", at=now_ms)
    timers.drop_timers(tx, TIMER, map(str, ids))
    quiet.refresh(tx, now_ms, alarms.c.gateway == gateway, alarms.c.device.in_(held))


def end_silence(tx: Connection, actor: Principal, silence_id: int, now_ms: int) -> SilenceView:
    """End it now; what it kept quiet and still stands is told of again. A repeat changes nothing.

    Raises NotFound, Forbidden.
    """
    row = row_of(tx, silences, actor, silence_id, "silence", lock=True)
    _may(actor, Purpose(row.purpose))
    if row.ended_at is None and row.ends_at > now_ms:
        audit.record(tx, actor, f"{row.purpose}.end", f"silence/{silence_id}", at=now_ms)
        _end(tx, row, actor, now_ms, now_ms)
    return get_silence(tx, actor, silence_id, now_ms)


def _end(tx: Connection, row: Row[Any], actor: Principal, ended_at: int, now_ms: int) -> None:
    values = {"ended_at": ended_at, "ended_by": actor.label}
    tx.execute(silences.update().where(silences.c.id == row.id).values(values))
    quiet.refresh(tx, now_ms, *_meant(row))


def _due(tx: Connection, timer: Timer, now_ms: int) -> None:
    """Its start or its end has come."""
    row = tx.execute(sa.select(silences).where(silences.c.id == int(timer.key)).with_for_update()).first()
    if row is None or row.ended_at is not None:
        return
    if now_ms >= row.ends_at:
        _end(tx, row, SYSTEM, row.ends_at, now_ms)
        audit.record(tx, SYSTEM, f"{row.purpose}.expire", f"silence/{row.id}", at=now_ms)
        return
    timers.set_timer(tx, TIMER, timer.key, row.ends_at if now_ms >= row.starts_at else row.starts_at)
    quiet.refresh(tx, now_ms, *_meant(row))


def may_see(who: Principal, row: Row[Any]) -> bool:
    """Whether a viewer may open a cover: one of a node above covers their alarms too, and is not theirs to see."""
    return visible(who, row.node)


timers.HANDLERS[TIMER] = _due
