"""Positions of members exist only on shift, and every look at one is on record (P1, P2, P5).

Owns the gate that readings of carried devices pass before anything of them is written, the SOS overrides that lift it
for a while, and the record of looks. What nobody carries is no person's and is not its business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from cloud import timers
from cloud.db import insert
from cloud.devices.places import place_of
from cloud.org import audit
from cloud.org.rules import SYSTEM, Principal, scope
from cloud.paging import MAX_LIMIT, Page, at, decode_cursor, encode_cursor, span_of
from cloud.presence.rosters import desired, duty, rules
from cloud.presence.rosters.models import CARRIED, LiftView, LookView
from cloud.presence.rosters.store import equipment, looks, members, overrides, shifts
from cloud.presence.rosters.tell import tell
from cloud.text import clean, clean_ms
from firmware_specs.carried import TRACK_METRICS, counts_at, is_track, lifted, sos_at, within
from firmware_specs.readings import GapReport, Reading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from cloud.timers import Timer
    from firmware_specs.carried import Window
    from firmware_specs.readings import AlarmEvent, Item

LIFT_KIND: Final = "rosters.lift"
APART_MS: Final = 24 * rules.HOUR_MS
MOST_SPANS: Final = 16
MINUTE_MS: Final = 60_000
Key = tuple[str, str]
"""Gateway and device."""


class Gate:
    """What may pass of what is carried. windows: of the carried devices among those that it was made for."""

    def __init__(self, windows: Mapping[Key, Sequence[Window]]) -> None:
        self._windows = windows

    @property
    def guards(self) -> bool:
        """Whether anything that it was made for is carried."""
        return bool(self._windows)

    def admits(self, gateway: str, reading: Reading) -> bool:
        """Whether a reading may be kept. A place under another name never: stores know a track by its name (P3)."""
        windows = self._windows.get((gateway, reading.device))
        if windows is None or not is_track(reading.metric, reading.value):
            return True
        return reading.metric in TRACK_METRICS and within(windows, counts_at(reading))

    def stripped(self, gateway: str, event: AlarmEvent) -> AlarmEvent:
        """An alarm event without what its evidence says of where a wearer was; an alarm is kept longer than a track."""
        if (gateway, event.device) not in self._windows:
            return event
        kept = tuple(each for each in event.evidence if not is_track(each.metric, each.value))
        return msgspec.structs.replace(event, evidence=kept)


def gate(tx: Connection, items: Mapping[str, Sequence[Item]]) -> Gate:
    """The gate for these items, by gateway."""
    wanted = sa.select(equipment.c.id, equipment.c.gateway, equipment.c.device).where(
        equipment.c.gateway.in_(list(items)), equipment.c.kind.in_(CARRIED), equipment.c.archived_at.is_(None)
    )
    carried: dict[int, Key] = {row.id: (row.gateway, row.device) for row in tx.execute(wanted)}
    if not carried:
        return Gate({})
    keys = set(carried.values())
    times = {
        clean_ms(counts_at(item))
        for gateway, listed in items.items()
        for item in listed
        if isinstance(item, Reading) and (gateway, item.device) in keys and is_track(item.metric, item.value)
    }
    windows: dict[Key, list[Window]] = {key: [] for key in keys}
    for first, last in rules.spans(times, APART_MS, MOST_SPANS):
        _add_windows(tx, windows, carried, first, last + 1)
    return Gate(windows)


def _add_windows(
    tx: Connection, windows: dict[Key, list[Window]], carried: Mapping[int, Key], from_ms: int, to_ms: int
) -> None:
    ids = list(carried)
    mine = sa.or_(shifts.c.armband.in_(ids), shifts.c.radio.in_(ids))
    planned = sa.select(shifts.c.armband, shifts.c.radio, duty.BEGINS, duty.ENDS)
    for armband, radio, begins, ends in tx.execute(planned.where(mine, duty.running(from_ms, to_ms))):
        for thing in (armband, radio):
            if thing in carried:
                windows[carried[thing]].append((begins, ends))
    gateways = sorted({gateway for gateway, _ in windows})
    called = sa.select(overrides).where(
        overrides.c.gateway.in_(gateways), overrides.c.ends_at > from_ms, overrides.c.at < to_ms
    )
    for row in tx.execute(called):
        if (row.gateway, row.device) in windows:
            windows[row.gateway, row.device].append((row.at, row.ends_at))


def admit(tx: Connection, gateway: str, readings: Sequence[Reading], _now_ms: int) -> list[Reading]:
    """The readings that may be kept: positions of carried equipment outside a shift are left out (P1)."""
    passes = gate(tx, {gateway: readings})
    return [reading for reading in readings if passes.admits(gateway, reading)]


def lift(
    tx: Connection, gateway: str, items: Iterable[Item], now_ms: int, lasts_ms: int
) -> None:  # fmt: skip
    """Let an SOS of a carried device lift its limit for a while, on record (P2). The same SOS again changes nothing."""
    calls = [
        (item.device, clean_ms(when))
        for item in items
        if not isinstance(item, GapReport) and (when := sos_at(item)) is not None
    ]
    if not calls:
        return
    carried = {device for at_gateway, device in duty.worn(tx, [gateway]) if at_gateway == gateway}
    for device, when in sorted(calls, key=lambda call: call[1]):
        if device in carried:
            _lift(tx, gateway, device, when, now_ms=now_ms, lasts_ms=lasts_ms)


def _lift(tx: Connection, gateway: str, device: str, when: int, *, now_ms: int, lasts_ms: int) -> None:
    mine = (overrides.c.gateway == gateway, overrides.c.device == device)
    touching = sa.select(overrides).where(*mine, overrides.c.at <= when + lasts_ms, overrides.c.ends_at >= when)
    row = tx.execute(touching.order_by(overrides.c.at).limit(1).with_for_update()).first()
    begins, ends = lifted((row.at, row.ends_at) if row else None, when, lasts_ms)
    if row is not None and (begins, ends) == (row.at, row.ends_at):
        return
    if row is not None:
        tx.execute(overrides.update().where(overrides.c.id == row.id).values(at=begins, ends_at=ends))
        made = int(row.id)
    else:
        carrier = duty.holder(tx, gateway, device, when)
        values = {"gateway": gateway, "device": device, "member": carrier.member if carrier else None}
        put = overrides.insert().values(**values, at=begins, ends_at=ends).returning(overrides.c.id)
        made = int(tx.execute(put).scalar_one())
        audit.record(tx, SYSTEM, "position.lift", f"device/{gateway}/{device}", at=now_ms, detail=span_of(begins, ends))
    timers.set_timer(tx, LIFT_KIND, str(made), ends)
    tell(tx, "sos", made, place_of(tx, gateway, device).node, now_ms)
    desired.mark(tx, [gateway])


def _lift_ended(tx: Connection, timer: Timer, now_ms: int) -> None:
    row = tx.execute(sa.select(overrides).where(overrides.c.id == int(timer.key))).first()
    if row is None:
        return
    if row.ends_at > now_ms:
        timers.set_timer(tx, LIFT_KIND, timer.key, row.ends_at)
        return
    audit.record(tx, SYSTEM, "position.lift-ended", f"device/{row.gateway}/{row.device}", at=now_ms)
    tell(tx, "sos", row.id, place_of(tx, row.gateway, row.device).node, now_ms)


def list_lifts(tx: Connection, principal: Principal, now_ms: int) -> list[LiftView]:
    """The overrides that run now within scope, the newest first, at most 1000."""
    wanted = (
        sa.select(overrides, members.c.call_sign, equipment.c.node)
        .outerjoin(members, members.c.id == overrides.c.member)
        .join(
            equipment,
            sa.and_(equipment.c.gateway == overrides.c.gateway, equipment.c.device == overrides.c.device),
        )
        .where(overrides.c.ends_at > now_ms, scope(principal, equipment.c.node))
    )
    rows = tx.execute(wanted.order_by(overrides.c.at.desc(), overrides.c.id.desc()).limit(MAX_LIMIT))
    return [
        LiftView(
            id=row.id, gateway=row.gateway, device=row.device, call_sign=row.call_sign, at=at(row.at),
            ends_at=at(row.ends_at),
        )
        for row in rows
    ]  # fmt: skip


# looks


def look(tx: Connection, viewer: Principal, members: Collection[int], what: str, now_ms: int) -> None:
    """Record that somebody was shown where members are: a row each and minute, and the audit chain (P5)."""
    for member in sorted(set(members)):
        row: dict[str, Any] = {
            "member": member, "at": now_ms, "minute": now_ms // MINUTE_MS, "viewer": clean(viewer.label, 80),
            "what": clean(what, 500),
        }  # fmt: skip
        put = insert(tx, looks).values(row).on_conflict_do_nothing().returning(looks.c.id)
        if tx.execute(put).first() is not None:
            audit.record(tx, viewer, "position.view", f"member/{member}", at=now_ms, detail=row["what"])


def look_at_device(
    tx: Connection, viewer: Principal, gateway: str, device: str, *, span: Window, now_ms: int
) -> None:  # fmt: skip
    """Record a look at where a carried device was in a range of time, by whoever carried it then."""
    what = f"device/{gateway}/{device}"
    from_ms, to_ms = (clean_ms(each) for each in span)
    called = sa.select(overrides.c.member).where(
        overrides.c.gateway == gateway, overrides.c.device == device, overrides.c.member.is_not(None),
        overrides.c.ends_at > from_ms, overrides.c.at < to_ms,
    )  # fmt: skip
    found = duty.holders(tx, gateway, device, from_ms, to_ms) | set(tx.execute(called).scalars())
    look(tx, viewer, found, what, now_ms)
    if not found:
        audit.record(tx, viewer, "position.view", what, at=now_ms, detail=span_of(from_ms, to_ms))


def list_looks(tx: Connection, member: int, *, limit: int = 100, cursor: str | None = None) -> Page[LookView]:
    """Who looked at a member's position, the latest first."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(looks).where(looks.c.member == member)
    if cursor:
        wanted = wanted.where(looks.c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(looks.c.id.desc()).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    shown = [LookView(at=at(row.at), viewer=row.viewer, what=row.what) for row in rows[:limit]]
    return Page(items=shown, next_cursor=following)


timers.HANDLERS[LIFT_KIND] = _lift_ended
