"""What the tests of incidents share: a small town, its gateway, its patrol, and what happens there."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud import timers
from cloud.alerts import service as alerts
from cloud.incidents import service
from cloud.incidents.models import IncidentFilter
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.presence import hooks
from cloud.presence.hooks import Evidence
from cloud.presence.rosters.store import equipment, members, shifts
from cloud.presence.store import evidence
from firmware_specs.readings import Severity
from tests.cloud.cloud_support import NOW, cleared, know, raised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from cloud.db import Database
    from cloud.incidents.models import IncidentDetail, IncidentView

HOUSE = (34.2600, 108.9500)
"""Where building 3 stands."""
NORTH_M = 1 / 111_194.9
"""Degrees of latitude a metre."""
HOUR = 3_600_000
DAY = 24 * HOUR
LI = Principal("user", 1, "li", Role.DISPATCHER)
WANG = Principal("user", 2, "wang", Role.DISPATCHER)
CHIEF = Principal("user", 3, "chief", Role.SUPERVISOR)
ANNA = Principal("user", 4, "anna", Role.AUDITOR)
_occurrences = itertools.count(1)


class Town(NamedTuple):
    """Paths of nodes."""

    street: str
    community: str
    building: str
    other: str
    """A building of another street."""


def build(tx: Connection) -> Town:
    """A street with a community and a building in it, and another street."""
    street = tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, ("长街", "Long Street"), now_ms=NOW, code="street-1")
    community = tree.add_node(tx, SYSTEM, street.path, tree.Kind.COMMUNITY, ("和园", "Peace Garden"), now_ms=NOW)
    at = {"lat": HOUSE[0], "lon": HOUSE[1]}
    building = tree.add_node(
        tx, SYSTEM, community.path, tree.Kind.BUILDING, ("3 号楼", "Building 3"), now_ms=NOW, code="building-3", **at
    )
    away = tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, ("短街", "Short Street"), now_ms=NOW)
    other = tree.add_node(tx, SYSTEM, away.path, tree.Kind.BUILDING, ("9 号楼", "Building 9"), now_ms=NOW)
    return Town(street.path, community.path, building.path, other.path)


def town(db: Database) -> Town:
    """The town, with gateway gw-1 in building 3 and gw-9 in building 9."""
    with db.begin() as tx:
        made = build(tx)
    know(db, "gw-1", node=made.building)
    know(db, "gw-9", node=made.other)
    return made


def alarm(
    db: Database, kind: str = "fire", *, device: str = "smk-1", at: int = NOW, now: int | None = None,
    gateway: str = "gw-1", **more: object,
) -> int:  # fmt: skip
    """An alarm is raised; its id."""
    number = next(_occurrences)
    event = raised(f"o{number}", device, at, kind=kind, received_at=at, **more)
    with db.begin() as tx:
        alerts.apply_events(tx, gateway, "e1", [(number, event)], at if now is None else now)
        return newest_alarm(tx)


def clear(db: Database, alarm_id: int, at: int, *, gateway: str = "gw-1") -> None:
    """The gateway says that it ended."""
    with db.begin() as tx:
        known = alerts.get_alarm(tx, SYSTEM, alarm_id)
        event = cleared(known.occurrence, known.device or "", at, kind=known.kind)
        alerts.apply_events(tx, gateway, "e1", [(next(_occurrences), event)], at)


def newest_alarm(tx: Connection) -> int:
    from cloud.alerts.store import alarms

    return int(tx.execute(sa.select(sa.func.max(alarms.c.id))).scalar_one())


def listed(db: Database, **query: object) -> list[IncidentView]:
    with db.read() as tx:
        found = service.list_incidents(tx, SYSTEM, IncidentFilter.model_validate(query), NOW).items
    return list(reversed(found))


def detail(db: Database, incident: int, now: int = NOW) -> IncidentDetail:
    with db.read() as tx:
        return service.get_incident(tx, SYSTEM, incident, now)


def fire(db: Database, at: int = NOW, now: int | None = None) -> int:
    """A fire in building 3; the incident's id."""
    alarm(db, at=at, now=now)
    return listed(db)[-1].id


def by_hand(db: Database, node: str, *, at: int = NOW, **more: object) -> int:
    given: dict[str, object] = {"category": "medical", "title": "一人晕倒", **more}
    with db.begin() as tx:
        return service.open_by_hand(tx, LI, node=node, now_ms=at, **given)  # type: ignore[arg-type] # of the tests


def fix(
    db: Database, member: int, at: int, *, away_m: float = 0.0, accuracy_m: float = 8.0, kind: str = "fix",
    now: int | None = None,
) -> None:  # fmt: skip
    """A member's fix so many metres north of building 3."""
    told = Evidence(member, kind, at, HOUSE[0] + away_m * NORTH_M, HOUSE[1], accuracy_m)
    with db.begin() as tx:
        hooks.tell(tx, [told], at if now is None else now)


def stay(db: Database, member: int, since: int, *, away_m: float = 0.0) -> None:
    """A member is inside long enough."""
    for at in (since, since + 10_000, since + 20_000):
        fix(db, member, at, away_m=away_m)


def tick(db: Database, now: int) -> None:
    """The worker looks at what is due."""
    with db.begin() as tx:
        while timers.tick(tx, now):
            pass


def patrol(db: Database, node: str, call_signs: Sequence[str], *, at: int = NOW) -> list[int]:
    """Members on duty; each carries an armband `arm-<call sign>` of gw-1."""
    ids = []
    with db.begin() as tx:
        for sign in call_signs:
            put = members.insert().values(node=node, call_sign=sign, created_at=at).returning(members.c.id)
            member = int(tx.execute(put).scalar_one())
            thing = {"node": node, "gateway": "gw-1", "device": f"arm-{sign}", "kind": "armband", "created_at": at}
            worn = int(tx.execute(equipment.insert().values(thing).returning(equipment.c.id)).scalar_one())
            span = {"starts_at": at - HOUR, "ends_at": at + 8 * HOUR, "begun_at": at - HOUR}
            tx.execute(
                shifts.insert().values(node=node, member=member, armband=worn, note="", created_by="tests", **span)
            )
            ids.append(member)
    return ids


def seen(db: Database, member: int, at: int, *, away_m: float) -> None:
    """Presence keeps a fix of a member on shift."""
    with db.begin() as tx:
        shift = tx.execute(sa.select(shifts.c.id).where(shifts.c.member == member)).scalar()
        kept = {
            "member": member, "shift": shift, "kind": "fix", "gateway": "gw-1", "device": f"m{member}", "at": at,
            "received_at": at, "lat": HOUSE[0] + away_m * NORTH_M, "lon": HOUSE[1], "accuracy_m": 8.0, "done": True,
        }  # fmt: skip
        tx.execute(evidence.insert().values({name: value for name, value in kept.items() if name in evidence.c}))


def actions(db: Database, incident: int) -> list[str]:
    return [row.action for row in detail(db, incident).timeline]


MINOR = Severity.MINOR
