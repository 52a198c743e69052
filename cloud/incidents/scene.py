"""Who is at the scene: evidence of members on shift that stops the clocks.

Owns `scene_sights` and arrivals. What is kept is whether somebody was inside at a time, never where; it goes when the
incident closes. The caller of an SOS is at the scene from the start and is no responder; when nobody knew where that
is, the caller's first fix says it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.alerts.facts import facts
from cloud.db import many
from cloud.incidents import chain, clocks, views
from cloud.incidents.models import AreaBy, ResponderState
from cloud.incidents.rules import DWELL_MS, NEAR_M, ClockName, How, Sight, State, distance_m, earlier, inside, stay
from cloud.incidents.store import incident_alarms, incidents, responders, sights
from cloud.org.rules import SYSTEM
from cloud.presence.hooks import LISTENERS
from cloud.presence.rosters import service as rosters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from cloud.presence.hooks import Evidence

AHEAD_MS: Final = 60_000
"""Evidence from further ahead has a wrong clock."""
DEGREE_M: Final = 111_000.0
"""A degree of latitude is longer than this."""
SURE: Final = frozenset({"checkin", "door"})
_PUT: Final = (
    "INSERT INTO scene_sights(incident, member, at, inside, sure) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (incident, member, at) DO UPDATE SET inside = excluded.inside, sure = excluded.sure "
    "WHERE (excluded.inside, excluded.sure) > (scene_sights.inside, scene_sights.sure)"
)
"""Of two sights of one time the better one is kept, in whatever order they come."""
Pair = tuple[int, int]
"""An incident and a member."""


class Scene(NamedTuple):
    """An open incident, as far as it says who is there. lat, lon: None when nobody knows where it is yet."""

    id: int
    lat: float | None
    lon: float | None
    radius_m: float
    event_at: int


def on_evidence(tx: Connection, evidence: Sequence[Evidence], now_ms: int) -> None:
    """Members on shift were somewhere: see whether that is a scene. Most fixes are far from all of them."""
    i = incidents.c
    wanted = sa.select(i.id, i.lat, i.lon, i.radius_m, i.event_at).where(i.state != State.CLOSED.value)
    scenes = [Scene(*row) for row in tx.execute(wanted.order_by(i.id))] if evidence else []
    found: dict[Pair, list[Sight]] = {}
    for each in evidence:
        if each.at_ms > now_ms + AHEAD_MS:
            continue
        for place, scene in enumerate(scenes):
            if scene.event_at > each.at_ms:
                continue
            if scene.lat is None:
                if _locate(tx, scene.id, each, now_ms):
                    scenes[place] = scene._replace(lat=each.lat, lon=each.lon)
            elif abs(scene.lat - each.lat) * DEGREE_M <= scene.radius_m + NEAR_M:
                seen = _seen(scene, each)
                if seen is not None:
                    found.setdefault((scene.id, each.member), []).append(seen)
    if found:
        _note(tx, found, now_ms)


def _seen(scene: Scene, evidence: Evidence) -> Sight | None:
    """What evidence says of a scene, None when nothing."""
    if scene.lat is None or scene.lon is None:
        return None
    distance = distance_m((scene.lat, scene.lon), (evidence.lat, evidence.lon))
    if evidence.kind in SURE:
        return Sight(evidence.at_ms, inside=True, sure=True) if distance <= scene.radius_m else None
    within = inside(distance, evidence.accuracy_m, scene.radius_m)
    if within is None or (not within and distance > scene.radius_m + NEAR_M):
        return None
    return Sight(evidence.at_ms, within)


def _note(tx: Connection, found: dict[Pair, list[Sight]], now_ms: int) -> None:
    """Keep sights that count, and judge the stays that they can change."""
    ids = sorted({incident for incident, _ in found})
    held = sa.select(incidents).where(incidents.c.id.in_(ids)).order_by(incidents.c.id).with_for_update()
    rows = {row.id: row for row in tx.execute(held) if row.state != State.CLOSED}
    callers = sa.select(incident_alarms.c.incident, incident_alarms.c.member).where(incident_alarms.c.incident.in_(ids))
    called = {(row.incident, row.member) for row in tx.execute(callers)}
    there = sa.select(responders).where(responders.c.incident.in_(ids))
    sent = {(row.incident, row.member): row for row in tx.execute(there)}
    counted = {
        pair: [sight for sight in seen if _counts(sent.get(pair), sight)]
        for pair, seen in found.items()
        if pair[0] in rows and pair not in called
    }
    many(tx, _PUT, [(*pair, *sight) for pair, kept in counted.items() for sight in kept])
    for pair, kept in counted.items():
        came = sent.get(pair)
        if any(sight.inside for sight in kept) or (kept and came is not None and came.inside_since is not None):
            _arrive(tx, rows[pair[0]], pair[1], now_ms)


def _counts(sent: Row[Any] | None, seen: Sight) -> bool:
    """Whether a sight can say anything new: not of who was released, nor once the dwell after an arrival is over."""
    if sent is None:
        return True
    if sent.released_at is not None and seen.at_ms >= sent.released_at:
        return False
    return sent.arrived_at is None or seen.at_ms <= sent.arrived_at + DWELL_MS


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
    for name, people in ((ClockName.ON_SCENE, 1), (ClockName.REINFORCEMENT, row.arrivals)):
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


def _locate(tx: Connection, incident: int, evidence: Evidence, now_ms: int) -> bool:
    """The caller's fix says where an SOS is; False when it is not the caller's, or somebody knew."""
    called = (incident_alarms.c.incident == incident, incident_alarms.c.member == evidence.member)
    if not tx.execute(sa.select(incident_alarms.c.alarm).where(*called)).first():
        return False
    if _hold(tx, incident).lat is not None:
        return False
    tx.execute(incidents.update().where(incidents.c.id == incident).values(lat=evidence.lat, lon=evidence.lon))
    chain.append(tx, incident, SYSTEM.label, "located", {"by": evidence.kind}, at=evidence.at_ms, now_ms=now_ms)
    views.announce(tx, incident, now_ms)
    return True


def forget(tx: Connection, incident: int) -> None:
    """Delete what was seen: the incident is closed."""
    tx.execute(sights.delete().where(sights.c.incident == incident))


LISTENERS.append(on_evidence)
