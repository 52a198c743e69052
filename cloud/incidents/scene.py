"""Who is at the scene: evidence of members on shift that stops the clocks.

Owns `scene_sights` and arrivals. What is kept is whether somebody was inside at a time, never where; it goes when the
incident closes. The caller of an SOS is at the scene from the start and is no responder; when nobody knew where that
is, the caller's first fix says it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.alerts.facts import facts
from cloud.incidents import chain, clocks, views
from cloud.incidents.models import AreaBy, ResponderState
from cloud.incidents.rules import NEAR_M, ClockName, How, Sight, State, distance_m, earlier, inside, stay
from cloud.incidents.store import incident_alarms, incidents, responders, sights
from cloud.org.rules import SYSTEM
from cloud.presence.hooks import LISTENERS
from cloud.presence.rosters import service as rosters

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.presence.hooks import Evidence

AHEAD_MS: Final = 60_000
"""Evidence from further ahead has a wrong clock."""
DEGREES: Final = 0.06
"""Latitudes between which a scene of the largest radius can lie."""
SURE: Final = frozenset({"checkin", "door"})


def on_evidence(tx: Connection, evidence: Evidence, now_ms: int) -> None:
    """A member on shift was somewhere: see whether that is a scene."""
    if evidence.at_ms > now_ms + AHEAD_MS:
        return
    near = sa.or_(incidents.c.lat.between(evidence.lat - DEGREES, evidence.lat + DEGREES), incidents.c.lat.is_(None))
    wanted = sa.select(incidents).where(
        incidents.c.state != State.CLOSED.value, incidents.c.event_at <= evidence.at_ms, near
    )
    for row in tx.execute(wanted.order_by(incidents.c.id)).all():
        if row.lat is None:
            _locate(tx, row, evidence, now_ms)
            continue
        seen = _seen(row, evidence)
        if seen is not None and _note(tx, row.id, evidence.member, seen):
            _arrive(tx, row, evidence.member, now_ms)


def _seen(row: Row[Any], evidence: Evidence) -> Sight | None:
    """What evidence says of a scene, None when nothing."""
    distance = distance_m((row.lat, row.lon), (evidence.lat, evidence.lon))
    if evidence.kind in SURE:
        return Sight(evidence.at_ms, inside=True, sure=True) if distance <= row.radius_m else None
    within = inside(distance, evidence.accuracy_m, row.radius_m)
    if within is None or (not within and distance > row.radius_m + NEAR_M):
        return None
    return Sight(evidence.at_ms, within)


def _note(tx: Connection, incident: int, member: int, seen: Sight) -> bool:
    """Keep a sight; False when it says nothing new, or the member is not to be counted."""
    called = (incident_alarms.c.incident == incident, incident_alarms.c.member == member)
    if tx.execute(sa.select(incident_alarms.c.alarm).where(*called)).first():
        return False
    sent = (responders.c.incident == incident, responders.c.member == member)
    released = tx.execute(sa.select(responders.c.released_at).where(*sent)).scalar()
    if released is not None and seen.at_ms >= released:
        return False
    if _hold(tx, incident).state == State.CLOSED:
        return False
    mine = (sights.c.incident == incident, sights.c.member == member, sights.c.at == seen.at_ms)
    known = tx.execute(sa.select(sights.c.at, sights.c.inside, sights.c.sure).where(*mine)).first()
    if known is None:
        row = {"incident": incident, "member": member, "at": seen.at_ms, "inside": seen.inside, "sure": seen.sure}
        tx.execute(sights.insert().values(row))
    elif seen > Sight(*known):
        tx.execute(sights.update().where(*mine).values(inside=seen.inside, sure=seen.sure))
    else:
        return False
    return True


def _hold(tx: Connection, incident: int) -> Row[Any]:
    return tx.execute(sa.select(incidents).where(incidents.c.id == incident).with_for_update()).one()


def _stays(tx: Connection, incident: int, member: int | None = None) -> dict[int, list[Sight]]:
    wanted = sa.select(sights).where(sights.c.incident == incident)
    if member is not None:
        wanted = wanted.where(sights.c.member == member)
    found: dict[int, list[Sight]] = {}
    for row in tx.execute(wanted):
        found.setdefault(row.member, []).append(Sight(row.at, row.inside, row.sure))
    return found


def pending(tx: Connection, incident: int) -> list[int]:
    """Since when those are inside whose stay has not yet lasted the dwell."""
    stays = [stay(seen) for seen in _stays(tx, incident).values()]
    return [each.since for each in stays if each.since is not None]


def arrivals(tx: Connection, incident: int) -> list[tuple[int, int]]:
    """When responders arrived, and which, in that order."""
    mine = (responders.c.incident == incident, responders.c.arrived_at.is_not(None))
    wanted = sa.select(responders.c.arrived_at, responders.c.member).where(*mine)
    return sorted((int(arrived_at), int(member)) for arrived_at, member in tx.execute(wanted))


def _arrive(tx: Connection, row: Row[Any], member: int, now_ms: int) -> None:
    """Judge one member's stay anew, and stop what it stops."""
    judged = stay(_stays(tx, row.id, member)[member])
    mine = (responders.c.incident == row.id, responders.c.member == member)
    sent = tx.execute(sa.select(responders).where(*mine)).first()
    if judged.arrived_at is None or (sent and not earlier(sent.arrived_at, judged.arrived_at)):
        if sent and sent.inside_since != judged.since and sent.arrived_at is None:
            tx.execute(responders.update().where(*mine).values(inside_since=judged.since))
        return
    arrived: dict[str, Any] = {"arrived_at": judged.arrived_at, "inside_since": judged.arrived_at}
    if sent is None:
        tx.execute(
            responders.insert().values(
                incident=row.id, member=member, state=ResponderState.ON_SCENE.value, dispatched_at=judged.arrived_at,
                dispatched_by="", **arrived,
            )
        )  # fmt: skip
    else:
        state = {} if sent.released_at is not None else {"state": ResponderState.ON_SCENE.value}
        tx.execute(responders.update().where(*mine).values(**arrived, **state))
    came = arrivals(tx, row.id)
    names = rosters.member_names(tx, [each for _, each in came])
    by = names.get(member, f"#{member}")
    chain.append(tx, row.id, by, "arrived", {"member": member}, at=judged.arrived_at, now_ms=now_ms)
    for name, people in ((ClockName.ON_SCENE, 1), (ClockName.REINFORCEMENT, row.people)):
        if len(came) >= people:
            when, who = came[people - 1]
            by = names.get(who, f"#{who}")
            clocks.stop(tx, row, name, at_ms=when, by=by, how=How.EVIDENCE, now_ms=now_ms)
    area_by_alarms(tx, row, now_ms)
    views.announce(tx, row.id, now_ms)


def area_by_alarms(tx: Connection, row: Row[Any], now_ms: int) -> bool:
    """Stop the area's clock when the plan leaves it to the alarms: all have cleared and somebody is on scene."""
    came = arrivals(tx, row.id)
    if row.area_by != AreaBy.ALARMS or not came:
        return False
    mine = sa.select(incident_alarms.c.alarm).where(incident_alarms.c.incident == row.id)
    ended = [each.cleared_at for each in facts(tx, tx.execute(mine).scalars().all()).values()]
    cleared = [cleared_at for cleared_at in ended if cleared_at is not None]
    if not ended or len(cleared) < len(ended):
        return False
    when = min(max(*cleared, came[0][0], row.event_at), now_ms)
    return clocks.stop(tx, row, ClockName.AREA, at_ms=when, by=SYSTEM.label, how=How.EVIDENCE, now_ms=now_ms)


def _locate(tx: Connection, row: Row[Any], evidence: Evidence, now_ms: int) -> None:
    """The caller's fix says where an SOS is."""
    called = (incident_alarms.c.incident == row.id, incident_alarms.c.member == evidence.member)
    if not tx.execute(sa.select(incident_alarms.c.alarm).where(*called)).first():
        return
    if _hold(tx, row.id).lat is not None:
        return
    tx.execute(incidents.update().where(incidents.c.id == row.id).values(lat=evidence.lat, lon=evidence.lon))
    chain.append(tx, row.id, SYSTEM.label, "located", {"by": evidence.kind}, at=evidence.at_ms, now_ms=now_ms)
    views.announce(tx, row.id, now_ms)


def forget(tx: Connection, incident: int) -> None:
    """Delete what was seen: the incident is closed."""
    tx.execute(sights.delete().where(sights.c.incident == incident))


LISTENERS.append(on_evidence)
