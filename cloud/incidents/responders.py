"""Who is sent to an incident: proposed by travel distance, dispatched, accepted, released.

Owns the rows of `responders` except arrivals, which evidence makes. A proposal shows how far members on duty are, so
each look is recorded and the member may read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.errors import Conflict, Forbidden, NotFound
from cloud.incidents.handling import done, hold, row_of
from cloud.incidents.models import CandidateView, ResponderState
from cloud.incidents.rules import State, travel_m
from cloud.incidents.store import incidents, responders
from cloud.incidents.views import views_of
from cloud.org.rules import Permission, Principal
from cloud.paging import at
from cloud.presence import service as presence
from cloud.presence.rosters import service as rosters

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection, Row

    from cloud.incidents.models import IncidentView

FIX_AGE_MS: Final = 300_000
"""A fix that is older says nothing of how far somebody is."""


def nearest(tx: Connection, actor: Principal, incident: int, now_ms: int, *, limit: int = 20) -> list[CandidateView]:
    """Members on duty within the actor's scope, the free before the busy, then the nearest first; looks are recorded.

    Raises NotFound, Forbidden.
    """
    row = row_of(tx, actor, incident)
    for permission in (Permission.RESPOND, Permission.LOCATE):
        if not actor.may(permission):
            raise Forbidden(f"role {actor.role} may not {permission}")
    duties = {duty.member: duty for duty in rosters.on_duty(tx, now_ms, actor.node)}
    sent = set(tx.execute(sa.select(responders.c.member).where(*_active(incident))).scalars())
    free = {member: duty for member, duty in duties.items() if member not in sent}
    place = (row.lat, row.lon) if row.lat is not None else None
    fixes = presence.last_fixes(tx, list(free), now_ms, FIX_AGE_MS) if place else {}
    busy = _busy(tx, list(free), incident)
    shown = [
        CandidateView(
            member=member, call_sign=duty.call_sign, node=duty.node,
            travel_m=round(travel_m(place, (fixes[member].lat, fixes[member].lon)), 1)
            if place and member in fixes else None,
            seen_at=at(fixes[member].at_ms) if member in fixes else None, busy=busy.get(member),
        )
        for member, duty in free.items()
    ]  # fmt: skip
    shown.sort(key=lambda c: (c.busy is not None, c.travel_m is None, c.travel_m or 0.0, c.call_sign))
    shown = shown[:limit]
    seen = [each.member for each in shown if each.travel_m is not None]
    if seen:
        rosters.look(tx, actor, seen, f"incident/{incident}", now_ms)
    return shown


def _active(incident: int) -> Sequence[sa.ColumnElement[bool]]:
    return (responders.c.incident == incident, responders.c.released_at.is_(None))


def _busy(tx: Connection, members: Collection[int], but: int) -> dict[int, int]:
    """The other open incident that members were sent to."""
    wanted = (
        sa.select(responders.c.member, responders.c.incident)
        .join(incidents, incidents.c.id == responders.c.incident)
        .where(
            responders.c.member.in_(members), responders.c.released_at.is_(None), responders.c.incident != but,
            incidents.c.state != State.CLOSED.value,
        )
    )  # fmt: skip
    return {int(member): int(incident) for member, incident in tx.execute(wanted.order_by(responders.c.incident))}


def dispatch(tx: Connection, actor: Principal, incident: int, now_ms: int, members: Sequence[int]) -> IncidentView:
    """Send members on duty. Who is on the way already stays so; who was released is sent anew.

    Raises NotFound, Forbidden, and Conflict when one is not on duty within the actor's scope.
    """
    hold(tx, actor, incident)
    duties = {duty.member: duty for duty in rosters.on_duty(tx, now_ms, actor.node)}
    for member in dict.fromkeys(members):
        if member not in duties:
            raise Conflict(f"member {member}: not on duty")
        known = _responder(tx, incident, member)
        if known is not None and known.released_at is None:
            continue
        values: dict[str, Any] = {
            "state": ResponderState.DISPATCHED.value, "dispatched_at": now_ms, "dispatched_by": actor.label,
            "accepted_at": None, "released_at": None,
        }  # fmt: skip
        if known is None:
            tx.execute(responders.insert().values(incident=incident, member=member, **values))
        else:
            tx.execute(responders.update().where(*_mine(incident, member)).values(values))
        done(tx, actor, incident, "dispatched", now_ms, member=member, call_sign=duties[member].call_sign)
    return views_of(tx, [row_of(tx, actor, incident)], now_ms)[0]


def accept(tx: Connection, actor: Principal, incident: int, now_ms: int, member: int) -> IncidentView:
    """A responder said that they are on the way. Raises NotFound, Forbidden, Conflict."""
    known = _sent(tx, actor, incident, member)
    if known.state != ResponderState.DISPATCHED:
        raise Conflict(f"member {member}: is {known.state}")
    values = {"state": ResponderState.ACCEPTED.value, "accepted_at": now_ms}
    tx.execute(responders.update().where(*_mine(incident, member)).values(values))
    return _told(tx, actor, incident, now_ms, action="accepted", member=member)


def release(tx: Connection, actor: Principal, incident: int, now_ms: int, member: int) -> IncidentView:
    """A responder is no longer needed; their arrival stays. Raises NotFound, Forbidden, Conflict."""
    known = _sent(tx, actor, incident, member)
    if known.released_at is not None:
        raise Conflict(f"member {member}: is {known.state}")
    values = {"state": ResponderState.RELEASED.value, "released_at": now_ms}
    tx.execute(responders.update().where(*_mine(incident, member)).values(values))
    return _told(tx, actor, incident, now_ms, action="released", member=member)


def _told(tx: Connection, actor: Principal, incident: int, now_ms: int, *, action: str, member: int) -> IncidentView:
    call_sign = rosters.member_names(tx, [member]).get(member, f"#{member}")
    return done(tx, actor, incident, action, now_ms, member=member, call_sign=call_sign)


def _mine(incident: int, member: int) -> Sequence[sa.ColumnElement[bool]]:
    return (responders.c.incident == incident, responders.c.member == member)


def _responder(tx: Connection, incident: int, member: int) -> Row[Any] | None:
    return tx.execute(sa.select(responders).where(*_mine(incident, member))).first()


def _sent(tx: Connection, actor: Principal, incident: int, member: int) -> Row[Any]:
    hold(tx, actor, incident)
    known = _responder(tx, incident, member)
    if known is None:
        raise NotFound(f"incident {incident}: member {member} is no responder of it")
    return known
