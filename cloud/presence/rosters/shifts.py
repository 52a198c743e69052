"""Shifts: planned, begun, ended before their time, handed over.

Owns their rows. Whoever plans holds the rows of the member and of what is carried, so that two who plan at once cannot
give one armband to two people. What a shift allows begins and ends with it: nothing here works backwards, so what was
dropped or kept stays so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloud.errors import Conflict, Invalid, NotFound
from cloud.org import audit
from cloud.org.rules import ROOT, Principal, scope
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor, span_of
from cloud.presence.rosters import desired, duty, posts, rules
from cloud.presence.rosters.members import equipment_row, member_row
from cloud.presence.rosters.models import Kind, ShiftState, ShiftView
from cloud.presence.rosters.store import equipment, members, shifts
from cloud.presence.rosters.tell import tell
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, Row

    from firmware_specs.carried import Window


class Plan(NamedTuple):
    """A shift as it is wanted. Times in milliseconds UTC."""

    member: int
    starts_at: int
    ends_at: int
    post: int | None = None
    route: int | None = None
    armband: int | None = None
    radio: int | None = None
    note: str = ""


def _shifts(principal: Principal) -> sa.Select[Any]:
    joined = sa.select(shifts, members.c.call_sign).join(members, members.c.id == shifts.c.member)
    return joined.where(scope(principal, shifts.c.node))


def list_shifts(
    tx: Connection, principal: Principal, now_ms: int, *, below: str = ROOT, member: int | None = None,
    from_ms: int = 0, to_ms: int = 2**62, limit: int = 100, cursor: str | None = None,
) -> Page[ShiftView]:  # fmt: skip
    """Shifts within scope that run at some time in a range, by their start."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = _shifts(principal).where(
        shifts.c.ends_at > from_ms, shifts.c.starts_at < to_ms, shifts.c.node.startswith(below, autoescape=True)
    )
    if member is not None:
        wanted = wanted.where(shifts.c.member == member)
    if cursor:
        after = sa.tuple_(*decode_cursor(cursor, int, int))
        wanted = wanted.where(sa.tuple_(shifts.c.starts_at, shifts.c.id) > after)
    rows = tx.execute(wanted.order_by(shifts.c.starts_at, shifts.c.id).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].starts_at, rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[_view(row, now_ms) for row in rows[:limit]], next_cursor=following)


def _runs(row: Row[Any]) -> Window:
    return rules.runs(row.starts_at, row.ends_at, row.begun_at, row.ended_at)


def _view(row: Row[Any], now_ms: int) -> ShiftView:
    begins, ends = _runs(row)
    state = ShiftState.PLANNED if now_ms < begins else ShiftState.RUNNING if now_ms < ends else ShiftState.ENDED
    return ShiftView(
        id=row.id, node=row.node, member=row.member, call_sign=row.call_sign, post=row.post, route=row.route,
        starts_at=at(row.starts_at), ends_at=at(row.ends_at), armband=row.armband, radio=row.radio, state=state,
        begun_at=at_or_none(row.begun_at), ended_at=at_or_none(row.ended_at), handed_to=row.handed_to, note=row.note,
    )  # fmt: skip


def get_shift(tx: Connection, principal: Principal, shift: int, now_ms: int) -> ShiftView:
    """One shift. Raises NotFound."""
    return _view(_row(tx, principal, shift), now_ms)


def _row(tx: Connection, principal: Principal, shift: int, *, lock: bool = False) -> Row[Any]:
    wanted = _shifts(principal).where(shifts.c.id == shift)
    row = tx.execute(wanted.with_for_update(of=shifts) if lock else wanted).first()
    if row is None:
        raise NotFound(f"shift {shift}: not found")
    return row


def _held(tx: Connection, actor: Principal, ids: Collection[int]) -> dict[int, Row[Any]]:
    """Shifts that may begin earlier than planned, held against whoever plans: members first, as `_check` does."""
    _hold(tx, members, {_row(tx, actor, each).member for each in sorted(ids)})
    rows = {each: _row(tx, actor, each, lock=True) for each in sorted(ids)}
    _hold(tx, equipment, {thing for row in rows.values() for thing in (row.armband, row.radio) if thing is not None})
    return rows


def _hold(tx: Connection, table: sa.Table, ids: Collection[int]) -> None:
    tx.execute(sa.select(table.c.id).where(table.c.id.in_(ids)).order_by(table.c.id).with_for_update()).all()


def plan(tx: Connection, actor: Principal, wanted: Plan, now_ms: int) -> ShiftView:
    """Plan a shift. It belongs to the node of its post, else of its route, else of its member.

    Raises Invalid, NotFound when something named is not within scope, Conflict when the member or something carried
    has another shift at that time.
    """
    node = _check(tx, actor, wanted)
    _free(tx, wanted, (wanted.starts_at, wanted.ends_at), set())
    values = wanted._asdict() | {
        "note": clean(wanted.note, 2000), "node": node, "created_by": clean(actor.label, 80),
    }  # fmt: skip
    made = int(tx.execute(shifts.insert().values(**values).returning(shifts.c.id)).scalar_one())
    planned = span_of(wanted.starts_at, wanted.ends_at)
    _done(tx, actor, made, "shift.plan", now_ms, detail=f"member {wanted.member}, {planned}")
    return get_shift(tx, actor, made, now_ms)


def _check(tx: Connection, actor: Principal, wanted: Plan) -> str:
    """That everything named is there and of its kind, and held against others who plan; the shift's node."""
    wrong = rules.wrong_times(wanted.starts_at, wanted.ends_at)
    if wrong:
        raise Invalid(wrong)
    node: str = member_row(tx, actor, wanted.member, lock=True).node
    for thing, kind in sorted(
        (thing, kind) for thing, kind in ((wanted.armband, Kind.ARMBAND), (wanted.radio, Kind.RADIO)) if thing
    ):
        found = equipment_row(tx, actor, thing, lock=True)
        if found.kind != kind:
            raise Invalid(f"{kind}: equipment {thing} is a {found.kind}")
    if wanted.post is not None and wanted.route is not None:
        raise Invalid("route: a shift is at a post or on a route")
    for what, place in (("post", wanted.post), ("route", wanted.route)):
        if place is not None:
            node = posts.node_of(tx, actor, what, place)
    return node


def _free(tx: Connection, wanted: Plan, window: Window, but: Collection[int]) -> None:
    """Raises Conflict when the member or something carried has another shift in the window."""
    things = [thing for thing in (wanted.armband, wanted.radio) if thing is not None]
    mine = sa.or_(
        shifts.c.member == wanted.member, shifts.c.armband.in_(things), shifts.c.radio.in_(things)
    )  # fmt: skip
    others = sa.select(shifts, members.c.call_sign).join(members, members.c.id == shifts.c.member)
    found = tx.execute(
        others.where(mine, duty.running(*window), shifts.c.id.not_in(list(but))).order_by(shifts.c.starts_at).limit(1)
    ).first()
    if found is None:
        return
    span = f"{at(found.starts_at):%Y-%m-%d %H:%M}Z to {at(found.ends_at):%Y-%m-%d %H:%M}Z"
    if found.member == wanted.member:
        raise Conflict(f"member {found.call_sign}: has shift {found.id} from {span}")
    thing = next(each for each in things if each in {found.armband, found.radio})
    name = tx.execute(sa.select(equipment.c.device).where(equipment.c.id == thing)).scalar()
    raise Conflict(f"equipment {name}: {found.call_sign} has it on shift {found.id} from {span}")


def _of(row: Row[Any]) -> Plan:
    return Plan(row.member, row.starts_at, row.ends_at, row.post, row.route, row.armband, row.radio, row.note)


def begin(tx: Connection, actor: Principal, shift: int, now_ms: int) -> ShiftView:
    """The member has taken up the shift, an hour before its start at the earliest. A repeat changes nothing.

    Raises NotFound, Conflict.
    """
    row = _held(tx, actor, {shift})[shift]
    if row.begun_at is None:
        _take_up(tx, row, set(), now_ms)
        _done(tx, actor, shift, "shift.begin", now_ms)
    return get_shift(tx, actor, shift, now_ms)


def _take_up(tx: Connection, row: Row[Any], but: Collection[int], now_ms: int) -> None:
    if now_ms < row.starts_at - rules.EARLY_MS:
        raise Conflict(f"shift {row.id}: begins more than an hour from now")
    if row.ended_at is not None or now_ms >= row.ends_at:
        raise Conflict(f"shift {row.id}: has ended")
    if now_ms < row.starts_at:
        _free(tx, _of(row), (now_ms, row.starts_at), {row.id, *but})
    tx.execute(shifts.update().where(shifts.c.id == row.id).values(begun_at=now_ms))


def end(tx: Connection, actor: Principal, shift: int, now_ms: int, note: str = "") -> ShiftView:
    """End a shift that runs, and with it the right to positions, at once. A repeat changes nothing.

    Raises NotFound, Conflict when it does not run yet.
    """
    row = _row(tx, actor, shift, lock=True)
    begins, ends = _runs(row)
    if now_ms < begins:
        raise Conflict(f"shift {shift}: has not begun; delete it instead")
    if now_ms < ends:
        tx.execute(shifts.update().where(shifts.c.id == shift).values(ended_at=now_ms, **_note(row, note)))
        _done(tx, actor, shift, "shift.end", now_ms, detail=note)
    return get_shift(tx, actor, shift, now_ms)


def _note(row: Row[Any], note: str) -> dict[str, str]:
    return {"note": clean(f"{row.note}\n{note}".strip(), 2000)} if note else {}


def hand_over(tx: Connection, actor: Principal, shift: int, to: int, now_ms: int, *, note: str = "") -> ShiftView:
    """End a shift that runs and begin the one that takes over; what was carried may go on with it.

    Raises NotFound, Conflict when either is not in a state for it, Invalid when both are the same member's.
    """
    held = _held(tx, actor, {shift, to})
    row, next_row = held[shift], held[to]
    if row.member == next_row.member:
        raise Invalid("to: a shift of the same member")
    begins, ends = _runs(row)
    if not begins <= now_ms < ends:
        raise Conflict(f"shift {shift}: does not run")
    values = {"ended_at": now_ms, "handed_to": to, **_note(row, note)}
    tx.execute(shifts.update().where(shifts.c.id == shift).values(**values))
    if next_row.begun_at is None:
        _take_up(tx, next_row, {shift}, now_ms)
    _done(tx, actor, shift, "shift.hand-over", now_ms, detail=f"to shift {to}. {note}".strip())
    _done(tx, actor, to, "shift.begin", now_ms, detail=f"from shift {shift}")
    return get_shift(tx, actor, shift, now_ms)


def remove(tx: Connection, actor: Principal, shift: int, now_ms: int) -> None:
    """Forget a shift that was planned and never ran. Raises NotFound, Conflict."""
    row = _row(tx, actor, shift, lock=True)
    if now_ms >= _runs(row)[0]:
        raise Conflict(f"shift {shift}: has begun; end it instead")
    planned = span_of(row.starts_at, row.ends_at)
    _done(tx, actor, shift, "shift.delete", now_ms, detail=f"member {row.member}, {planned}")
    tx.execute(shifts.delete().where(shifts.c.id == shift))


def bring(tx: Connection, actor: Principal, wanted: Plan, now_ms: int) -> bool:
    """Plan a shift unless it is known already; one that has not begun is brought up to date. Whether it changed."""
    member_row(tx, actor, wanted.member, lock=True)
    same = (
        shifts.c.member == wanted.member, shifts.c.starts_at == wanted.starts_at, shifts.c.ends_at == wanted.ends_at
    )  # fmt: skip
    # One that ended early is known as well: the file does not bring it back.
    known = tx.execute(sa.select(shifts).where(*same).order_by(shifts.c.ended_at.is_not(None))).first()
    if known is None:
        plan(tx, actor, wanted, now_ms)
        return True
    if _of(known) == wanted or now_ms >= _runs(known)[0]:
        return False
    node = _check(tx, actor, wanted)
    _free(tx, wanted, (wanted.starts_at, wanted.ends_at), {known.id})
    desired.mark(tx, _gateways(tx, known.id))
    tx.execute(shifts.update().where(shifts.c.id == known.id).values(**wanted._asdict(), node=node))
    _done(tx, actor, known.id, "shift.change", now_ms)
    return True


def _gateways(tx: Connection, shift: int) -> set[str]:
    """The gateways through which what is carried on a shift speaks."""
    of = sa.or_(equipment.c.id == shifts.c.armband, equipment.c.id == shifts.c.radio)
    return set(tx.execute(sa.select(equipment.c.gateway).join(shifts, of).where(shifts.c.id == shift)).scalars())


def _done(tx: Connection, actor: Principal, shift: int, action: str, now_ms: int, *, detail: str = "") -> None:
    audit.record(tx, actor, action, f"shift/{shift}", at=now_ms, detail=clean(detail, 2000))
    node = tx.execute(sa.select(shifts.c.node).where(shifts.c.id == shift)).scalar_one()
    tell(tx, "shift", shift, node, now_ms)
    desired.mark(tx, _gateways(tx, shift))
