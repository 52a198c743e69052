"""Apply what gateways, and the cloud's own liveness, say of alarms; any order, any repeat.

Owns the writing side of `rules.settle`. Runs inside the caller's transaction.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from cloud.alerts import hooks, quiet, views
from cloud.alerts.hooks import Happening
from cloud.alerts.models import ClearReason
from cloud.alerts.rules import ONCE, Occurrence, family_key, is_late, settle
from cloud.alerts.store import alarms
from cloud.db import in_turn
from cloud.devices.places import Place, hold, place_of, touch
from cloud.order import ordinal_of, rank
from cloud.text import clean, clean_ms
from firmware_specs.readings import AlarmEvent, AlarmPhase, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Row

LATE_MS: Final = 15 * 60 * 1000
GATEWAY_ACTOR: Final = "gateway"
CLOUD_RULE: Final = "cloud/"


class Merged(NamedTuple):
    """A row that an event, or somebody's hand, changed. stood: for its family, before."""

    id: int
    kind: str
    rule: str
    rank: int | None
    stood: bool


class Settled(NamedTuple):
    """What came of a family. changed: rows. before, after: who stood and stands for it. ended: whether `before` did."""

    changed: frozenset[int]
    before: int | None
    after: int | None
    ended: bool


def apply_events(
    tx: Connection, gateway: str, epoch: str, items: Sequence[tuple[int, AlarmEvent]], now_ms: int
) -> None:
    """Apply new alarm events of one gateway and outbox epoch, each with its sequence number, in any order.

    Repeats change nothing. Emits `alarm` events to the stream for what changed.
    """
    if not items:
        return
    hold(tx, gateway)
    ordinal = ordinal_of(tx, gateway, epoch, now_ms)
    _apply(tx, gateway, [(rank(ordinal, sequence), event) for sequence, event in items], now_ms)


def raise_own(
    tx: Connection, gateway: str, device: str, kind: str, severity: Severity, *, at_ms: int, now_ms: int,
    where: Place | None = None, drill: bool = False,
) -> int | None:  # fmt: skip
    """Raise an alarm that the cloud judged itself. Gives its id, None when one of its family is open already.

    gateway: empty for what no gateway has to do with; then `device` names the thing (`post:12`) and `where` its place.
    """
    key = family_key(gateway, device, kind)
    if not gateway:
        in_turn(tx, key)  # no gateway's row is held that would keep two processes from judging it at once
    if tx.execute(sa.select(alarms.c.id).where(alarms.c.open_key == key)).first():
        return None
    event = _raised(f"cloud-{uuid.uuid4().hex}", device, kind, severity, at_ms)
    (made,) = _apply(
        tx, gateway, [(rank(0, max(now_ms, 0)), msgspec.structs.replace(event, drill=drill))], now_ms, where
    )
    return made


def clear_own(tx: Connection, gateway: str, device: str, kind: str, now_ms: int) -> None:
    """Clear what `raise_own` raised; alarms that the gateway judged are the gateway's to clear."""
    rows = tx.execute(
        sa.select(alarms.c.occurrence, alarms.c.severity).where(
            alarms.c.gateway == gateway, alarms.c.device == device, alarms.c.kind == kind,
            alarms.c.cleared_at.is_(None), alarms.c.rule == CLOUD_RULE + kind,
        )
    )  # fmt: skip
    events = [
        msgspec.structs.replace(_raised(occurrence, device, kind, Severity(severity), now_ms), phase=AlarmPhase.CLEARED)
        for occurrence, severity in rows
    ]
    _apply(tx, gateway, [(rank(0, max(now_ms, 0)), event) for event in events], now_ms)


def _raised(occurrence: str, device: str, kind: str, severity: Severity, at_ms: int) -> AlarmEvent:
    return AlarmEvent(occurrence, device, kind, severity, AlarmPhase.RAISED, CLOUD_RULE + kind, "1.0", at_ms, at_ms)


def _apply(
    tx: Connection, gateway: str, items: Iterable[tuple[int, AlarmEvent]], now_ms: int, where: Place | None = None
) -> list[int]:
    """Gives the rows of the events that said something new, in their order."""
    told: list[int] = []
    changed: set[int] = set()
    touched: set[str] = set()
    happened: list[tuple[Happening, int]] = []
    for place, event in items:
        row = _find(tx, gateway, event.occurrence)
        merged = _merge(tx, gateway, row, (place, event), now_ms=now_ms, where=where)
        if merged is None:
            continue
        settled = resettle(tx, gateway, event.device, merged)
        told.append(merged.id)
        changed |= {merged.id} | settled.changed
        happened += _happenings(settled)
        touched.add(event.device)
    for device in touched:
        touch(tx, gateway, device, now_ms)
    raised = {alarm_id for happening, alarm_id in happened if happening is Happening.RAISED}
    followed = quiet.follow(tx, changed, raised, now_ms)
    for happening, alarm_id in happened + [(Happening.RAISED, alarm_id) for alarm_id in followed.returned]:
        hooks.tell(tx, happening, alarm_id, now_ms)
    views.announce(tx, changed | followed.changed, now_ms)
    return told


def _happenings(settled: Settled) -> list[tuple[Happening, int]]:
    """What it means that another alarm, or none, stands for a family."""
    if settled.before == settled.after:
        return []
    happened = []
    if settled.before is not None and settled.ended:
        happened.append((Happening.CLEARED, settled.before))
    if settled.after is not None:
        happened.append((Happening.RAISED, settled.after))
    return happened


def _kind(event: AlarmEvent) -> str:
    return clean(event.kind, 64)


def _find(tx: Connection, gateway: str, occurrence: str) -> Row[Any] | None:
    return tx.execute(sa.select(alarms).where(alarms.c.gateway == gateway, alarms.c.occurrence == occurrence)).first()


def _merge(
    tx: Connection, gateway: str, row: Row[Any] | None, item: tuple[int, AlarmEvent], *, now_ms: int,
    where: Place | None,
) -> Merged | None:  # fmt: skip
    """Put one event into its occurrence's row. None when the row knew it already."""
    place, event = item
    raised = event.phase is AlarmPhase.RAISED
    if row is not None and (row.rank is not None if raised else _ended(row)):
        return None
    values: dict[str, Any] = {}
    if raised or row is None:
        values = {
            "kind": _kind(event), "severity": event.severity.value, "rule": clean(event.rule, 200),
            "rule_version": clean(event.rule_version, 32), "clock": event.clock.value, "drill": event.drill,
            "evidence": _evidence(event), "raised_at": clean_ms(event.observed_at), "received_at": now_ms,
            "late": is_late(event.observed_at, event.received_at, now_ms, LATE_MS),
        }  # fmt: skip
    if raised:
        values |= {"rank": place, "flap": ONCE}
    else:
        values |= {
            "cleared_at": clean_ms(event.observed_at), "cleared_by": GATEWAY_ACTOR,
            "clear_reason": ClearReason.CONDITION.value, "open_key": None, "folded_into": None,
        }  # fmt: skip
    if row is not None:
        tx.execute(alarms.update().where(alarms.c.id == row.id).values(values))
        known = {"kind": row.kind, "rule": row.rule, "rank": row.rank} | values
        return Merged(row.id, known["kind"], known["rule"], known["rank"], row.open_key is not None)
    where = where or place_of(tx, gateway, event.device)
    values |= {
        "gateway": gateway, "device": event.device, "node": where.node, "location": where.location,
        "occurrence": event.occurrence,
    }  # fmt: skip
    made = int(tx.execute(alarms.insert().values(values).returning(alarms.c.id)).scalar_one())
    return Merged(made, values["kind"], values["rule"], values.get("rank"), stood=False)


def _ended(row: Row[Any]) -> bool:
    return row.cleared_at is not None and row.clear_reason != ClearReason.SUPERSEDED


def _evidence(event: AlarmEvent) -> str:
    return msgspec.json.encode([(e.metric, e.value, clean_ms(e.observed_at)) for e in event.evidence[-8:]]).decode()


def resettle(tx: Connection, gateway: str, device: str, merged: Merged) -> Settled:
    """Bring a family in order after one of its rows changed."""
    family = (alarms.c.gateway == gateway, alarms.c.device == device, alarms.c.kind == merged.kind)
    relevant = [alarms.c.cleared_at.is_(None), alarms.c.id == merged.id]
    if merged.rank is not None:
        mine = (*family, alarms.c.rule == merged.rule, alarms.c.rank < merged.rank)
        low = sa.select(sa.func.max(alarms.c.rank)).where(*mine).scalar_subquery()
        relevant.append(alarms.c.rank >= sa.func.coalesce(low, merged.rank))
    rows = tx.execute(sa.select(alarms).where(*family, sa.or_(*relevant))).all()
    standings = settle(
        Occurrence(row.id, row.rule, row.rank, row.raised_at, row.cleared_at if _ended(row) else None) for row in rows
    )
    updates: list[tuple[bool, int, dict[str, Any]]] = []
    for row in rows:
        values = _values(row, standings[row.id].superseded_at, standings[row.id].folded_into)
        values["open_key"] = family_key(gateway, device, merged.kind) if standings[row.id].stands else None
        if any(getattr(row, name) != value for name, value in values.items()):
            updates.append((values["open_key"] is not None, row.id, values))
    for _, row_id, values in sorted(updates, key=lambda u: u[:2]):
        tx.execute(alarms.update().where(alarms.c.id == row_id).values(values))
    before = merged.id if merged.stood else next((row.id for row in rows if row.open_key is not None), None)
    after = next((row.id for row in rows if standings[row.id].stands), None)
    ended = any(row.id == before and not standings[row.id].active for row in rows)
    return Settled(frozenset(row_id for _, row_id, _ in updates), before, after, ended)


def _values(row: Row[Any], superseded_at: int | None, folded_into: int | None) -> dict[str, Any]:
    values: dict[str, Any] = {"folded_into": folded_into}
    if _ended(row):
        return values
    reason = None if superseded_at is None else ClearReason.SUPERSEDED.value
    by = None if superseded_at is None else GATEWAY_ACTOR
    return values | {"cleared_at": superseded_at, "clear_reason": reason, "cleared_by": by}
