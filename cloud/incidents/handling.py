"""What people do to an incident: take it, hand it over, work through it, close it, open it again.

Owns the first-receiver rule: who takes an incident first owns it until it is handed over; a supervisor may take it over
with a reason. Only the owner or a supervisor hands over or closes. Each act is written to the timeline, the audit
chain and the event stream.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.incidents import chain, clocks, deadlines, scene, views
from cloud.incidents.rules import REOPEN_MS, ClockName, How, State, open_key
from cloud.incidents.store import incidents
from cloud.incidents.tell import tell
from cloud.org import audit, rows
from cloud.org import service as org
from cloud.org.rules import PERMISSIONS, Permission, Principal, Role
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.incidents.models import IncidentView

OVER: Final = frozenset({Role.SUPERVISOR, Role.ADMINISTRATOR})
"""Who may take an incident over from its owner."""


def row_of(tx: Connection, principal: Principal, incident: int) -> Row[Any]:
    """An incident within scope. Raises NotFound."""
    return rows.row_of(tx, incidents, principal, incident, "incident")


def hold(tx: Connection, actor: Principal, incident: int, *, closed: bool = False) -> Row[Any]:
    """The same, locked for change. Raises NotFound, Forbidden, and Conflict when it is closed (or, if so, open)."""
    row_of(tx, actor, incident)
    if not actor.may(Permission.RESPOND):
        raise Forbidden(f"role {actor.role} may not {Permission.RESPOND} to incidents")
    row = tx.execute(sa.select(incidents).where(incidents.c.id == incident).with_for_update()).one()
    if (row.state == State.CLOSED) != closed:
        raise Conflict(f"incident {incident}: {'is not closed' if closed else 'is closed'}")
    return row


def done(
    tx: Connection, actor: Principal, incident: int, action: str, now_ms: int, **detail: str | int | None
) -> IncidentView:
    """Write what somebody did."""
    chain.append(tx, incident, actor.label, action, detail, at=now_ms, now_ms=now_ms)
    told = " ".join(str(value) for value in detail.values() if value is not None)
    audit.record(tx, actor, f"incident.{action}", f"incident/{incident}", at=now_ms, detail=clean(told, 2000))
    return views.announce(tx, incident, now_ms)


def _put(tx: Connection, incident: int, **values: object) -> None:
    tx.execute(incidents.update().where(incidents.c.id == incident).values(**values))


def take(tx: Connection, actor: Principal, incident: int, now_ms: int, reason: str | None = None) -> IncidentView:
    """Become its owner: the first one does; a supervisor takes it over with a reason. A repeat changes nothing.

    Raises NotFound, Forbidden, Conflict.
    """
    row = hold(tx, actor, incident)
    if row.owner == actor.label:
        return views.views_of(tx, [row], now_ms)[0]
    if row.owner is None:
        _put(tx, incident, owner=actor.label, owned_at=now_ms)
        deadlines.received(tx, incident)
        return done(tx, actor, incident, "taken", now_ms)
    if actor.role not in OVER:
        raise Conflict(f"incident {incident}: taken by {row.owner}")
    if not reason:
        raise Conflict(f"incident {incident}: taken by {row.owner}; taking it over needs a reason")
    _put(tx, incident, owner=actor.label)
    return done(tx, actor, incident, "taken-over", now_ms, former=row.owner, reason=reason)


def _lead(actor: Principal, row: Row[Any]) -> None:
    """Raises Conflict unless the actor owns the incident or is a supervisor."""
    if row.owner != actor.label and actor.role not in OVER:
        raise Conflict(f"incident {row.id}: {f'owned by {row.owner}' if row.owner else 'nobody has taken it yet'}")


def receivers(tx: Connection, node: str) -> list[str]:
    """Users to whom an incident of a node can be handed over."""
    return [
        user.name
        for user in org.list_users(tx)
        if not user.disabled and node.startswith(user.node) and Permission.RESPOND in PERMISSIONS[user.role]
    ]


def hand_over(tx: Connection, actor: Principal, incident: int, now_ms: int, user: str) -> IncidentView:
    """Give it to a user who may respond and sees its node. Raises NotFound, Forbidden, Conflict, Invalid."""
    row = hold(tx, actor, incident)
    _lead(actor, row)
    if user not in receivers(tx, row.node):
        raise Invalid(f"user: {user!r} is not somebody to whom this incident can be handed over")
    owned_at = {"owned_at": now_ms} if row.owner is None else {}
    _put(tx, incident, owner=user, **owned_at)
    deadlines.received(tx, incident)
    return done(tx, actor, incident, "handed-over", now_ms, former=row.owner, to=user)


def stop_clock(
    tx: Connection, actor: Principal, incident: int, now_ms: int, *, name: ClockName, reason: str
) -> IncidentView:
    """Stop a clock by hand, with a reason. Raises NotFound, Forbidden, Conflict when it does not run."""
    row = hold(tx, actor, incident)
    by = actor.label
    if not clocks.stop(tx, row, name, at_ms=now_ms, by=by, how=How.HAND, now_ms=now_ms, reason=clean(reason, 2000)):
        raise Conflict(f"incident {incident}: the clock {name} does not run")
    told = clean(f"{name} {reason}", 2000)
    audit.record(tx, actor, "incident.clock-stopped", f"incident/{incident}", at=now_ms, detail=told)
    return views.announce(tx, incident, now_ms)


def tick(tx: Connection, actor: Principal, incident: int, now_ms: int, line: int, *, is_done: bool) -> IncidentView:
    """Tick a line of the checklist, counted from 0, or take the tick back. Raises NotFound, Forbidden, Conflict."""
    row = hold(tx, actor, incident)
    checks = json.loads(row.checklist)
    if not 0 <= line < len(checks):
        raise NotFound(f"incident {incident}: its checklist has no line {line}")
    if (checks[line]["done_at"] is not None) == is_done:
        return views.views_of(tx, [row], now_ms)[0]
    checks[line] |= {"done_at": now_ms, "done_by": actor.label} if is_done else {"done_at": None, "done_by": None}
    _put(tx, incident, checklist=json.dumps(checks, ensure_ascii=False))
    action = "ticked" if is_done else "unticked"
    return done(tx, actor, incident, action, now_ms, line=line, zh=checks[line]["zh"], en=checks[line]["en"])


def comment(tx: Connection, actor: Principal, incident: int, now_ms: int, text: str) -> IncidentView:
    """Say something about it, also after it was closed. Raises NotFound, Forbidden."""
    row = row_of(tx, actor, incident)
    if not actor.may(Permission.COMMENT):
        raise Forbidden(f"role {actor.role} may not {Permission.COMMENT} on incidents")
    tx.execute(sa.select(incidents.c.id).where(incidents.c.id == row.id).with_for_update())
    return done(tx, actor, incident, "comment", now_ms, text=clean(text, 2000))


def close(tx: Connection, actor: Principal, incident: int, now_ms: int, *, cause: str, follow_up: str) -> IncidentView:
    """End it: what it was and what follows. Raises NotFound, Forbidden, Conflict."""
    row = hold(tx, actor, incident)
    _lead(actor, row)
    cause, follow_up = clean(cause, 2000), clean(follow_up, 2000)
    clocks.close(tx, row, now_ms, actor.label)
    scene.forget(tx, incident)
    deadlines.received(tx, incident)
    _put(
        tx, incident, state=State.CLOSED.value, closed_at=now_ms, closed_by=actor.label, cause=cause,
        follow_up=follow_up, open_key=None,
    )  # fmt: skip
    tell(
        tx, row, "incident.closed", f"closed/{now_ms}", node=row.node, roles=clocks.TOLD, now_ms=now_ms, cause=cause,
        follow_up=follow_up,
    )  # fmt: skip
    return done(tx, actor, incident, "closed", now_ms, cause=cause, follow_up=follow_up)


def reopen(tx: Connection, actor: Principal, incident: int, now_ms: int, reason: str) -> IncidentView:
    """Open it again, within an hour. Raises NotFound, Forbidden, Conflict."""
    row = hold(tx, actor, incident, closed=True)
    if now_ms - row.closed_at > REOPEN_MS:
        raise Conflict(f"incident {incident}: was closed more than an hour ago; open a new one")
    key: str | None = open_key(row.place_key, row.category, row.drill)
    if tx.execute(sa.select(incidents.c.id).where(incidents.c.open_key == key)).first():
        key = None  # another one stands for the place by now
    arrived = bool(scene.arrivals(tx, incident)) or _stopped(tx, incident)
    state = State.ON_SCENE if arrived else State.OPEN
    _put(tx, incident, state=state.value, closed_at=None, closed_by=None, open_key=key)
    clocks.restart(tx, row, now_ms)
    if row.owner is None:
        deadlines.await_receiver(tx, row, now_ms)
    return done(tx, actor, incident, "reopened", now_ms, reason=clean(reason, 2000))


def _stopped(tx: Connection, incident: int) -> bool:
    clock = clocks.get(tx, incident, ClockName.ON_SCENE)
    return clock is not None and clock.how in {How.EVIDENCE, How.HAND}
