"""What the tests of presence share: a post, members with armbands on shift, fixes, and a judge at work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloud.org.rules import ROOT, SYSTEM
from cloud.presence import posts, service
from cloud.presence.models import PostIn
from cloud.presence.rosters.store import equipment, members, pseudonyms, shifts
from cloud.presence.store import post_history
from firmware_specs.readings import Position, Reading
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloud.db import Database
    from cloud.presence.judge import Judge
    from cloud.presence.models import PostView

LAT, LON = 34.2649, 108.7203
MINUTE = 60_000
HOUR = 3_600_000
GATEWAY = "gw-1"


class Guard(NamedTuple):
    """A member on shift. device: the armband."""

    member: int
    shift: int
    device: str


def at(east_m: float, north_m: float = 0.0) -> tuple[float, float]:
    return LAT + north_m / 111_195, LON + east_m / (111_195 * math.cos(math.radians(LAT)))


def fix(device: str, at_ms: int, east_m: float = 0.0, accuracy_m: float | None = 10.0) -> Reading:
    return Reading(device, "position", Position(*at(east_m), accuracy_m), "", at_ms, at_ms)


def token(device: str, metric: str, pseudonym: str, at_ms: int) -> Reading:
    return Reading(device, metric, pseudonym, "", at_ms, at_ms)


def stay(device: str, from_ms: int, to_ms: int, east_m: float = 0.0, every_ms: int = 10_000) -> list[Reading]:
    return [fix(device, at_ms, east_m) for at_ms in range(from_ms, to_ms, every_ms)]


def add_post(db: Database, node: str = ROOT, now: int = NOW, **more: object) -> PostView:
    given = {"node": node, "name_zh": "东门岗", "name_en": "East gate", "lat": LAT, "lon": LON, **more}
    with db.begin() as tx:
        return posts.add(tx, SYSTEM, PostIn.model_validate(given), now)


def add_guard(
    db: Database, name: str, *, post: int | None = None, route: int | None = None, node: str = ROOT,
    starts: int = NOW - HOUR, ends: int = NOW + 8 * HOUR, gateway: str = GATEWAY,
) -> Guard:  # fmt: skip
    device = f"arm-{name}"
    with db.begin() as tx:
        row = {"node": node, "call_sign": name, "created_at": NOW}
        member = tx.execute(members.insert().values(row).returning(members.c.id)).scalar_one()
        carried = {"node": node, "gateway": gateway, "device": device, "kind": "armband", "created_at": NOW}
        armband = tx.execute(equipment.insert().values(carried).returning(equipment.c.id)).scalar_one()
        duty = {
            "node": node, "member": member, "post": post, "route": route, "starts_at": starts, "ends_at": ends,
            "armband": armband, "note": "", "created_by": "tests",
        }  # fmt: skip
        shift = tx.execute(shifts.insert().values(duty).returning(shifts.c.id)).scalar_one()
        tx.execute(pseudonyms.insert().values(pseudonym=f"badge-{name}", member=member))
    return Guard(member, shift, device)


def add_fixture(db: Database, device: str, kind: str, post: int, node: str = ROOT) -> None:
    row = {"node": node, "gateway": GATEWAY, "device": device, "kind": kind, "post": post, "created_at": NOW}
    with db.begin() as tx:
        tx.execute(equipment.insert().values(row))


def take(db: Database, readings: Iterable[Reading], now: int, gateway: str = GATEWAY) -> int:
    with db.begin() as tx:
        return service.take(tx, gateway, list(readings), now)


def settle(judge: Judge, now: int) -> None:
    """Turns until nothing is left to do."""
    while judge.turn(now):
        pass
    judge.turn(now)


def history(db: Database, post: int) -> list[tuple[Any, ...]]:
    wanted = sa.select(post_history).where(post_history.c.post == post).order_by(post_history.c.at)
    with db.read() as tx:
        return [tuple(row)[1:] for row in tx.execute(wanted)]


def states(db: Database, post: int, since: int = NOW) -> list[tuple[float, str, str]]:
    """Seconds since a time, state and reason of each moment."""
    return [((at_ms - since) / 1000, state, reason) for at_ms, state, reason, _, _ in history(db, post)]
