"""A district with members, posts and what they carry, for the tests of rosters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloud.devices import service as devices
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.presence.rosters import service as rosters
from cloud.presence.rosters.models import Kind, NewEquipment, NewMember
from cloud.presence.store import posts
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.db import Database

HOUR = 3_600_000
PLANNER = Principal("user", 7, "planner", Role.SUPERVISOR)
DISPATCHER = Principal("user", 8, "dispatcher", Role.DISPATCHER)
TECHNICIAN = Principal("user", 9, "technician", Role.TECHNICIAN)


class Patrol(NamedTuple):
    """Two communities of a street; a member and a post in each, an armband and a radio in the first."""

    street: str
    east: str
    west: str
    member: int
    other: int
    armband: int
    radio: int
    post: int
    far_post: int


def add_post(tx: Connection, node: str, code: str) -> int:
    values = {
        "node": node, "code": code, "name_zh": f"岗 {code}", "name_en": f"Post {code}", "lat": 34.2, "lon": 108.9,
        "radius_m": 30.0, "headcount": 1, "headcounts": "{}", "grace_s": 300, "state": "unknown", "reason": "",
        "since": 0, "present": 0, "required": 1, "created_at": 0, "judged_from": 0,
    }  # fmt: skip
    return int(tx.execute(posts.insert().values(**values).returning(posts.c.id)).scalar_one())


def make_patrol(db: Database, gateway: str = "gw-1") -> Patrol:
    with db.begin() as tx:
        street = tree.add_node(
            tx, SYSTEM, ROOT, tree.Kind.STREET, ("街", "Street"), now_ms=NOW, code="street", population=20_000,
            settlement="urban", time_zone="Asia/Shanghai",
        ).path  # fmt: skip
        east, west = (
            tree.add_node(tx, SYSTEM, street, tree.Kind.COMMUNITY, (code, code), now_ms=NOW, code=code).path
            for code in ("east", "west")
        )
        at_east = Principal("system", 0, "tests", Role.ADMINISTRATOR, east)
        devices.add_gateway(tx, at_east, gateway, NOW)
        member, other = (
            rosters.add_member(tx, PLANNER, NewMember(call_sign=sign, node=node), NOW).id
            for sign, node in (("鹰-1", east), ("鹰-2", west))
        )
        things = [
            rosters.add_equipment(
                tx, PLANNER, NewEquipment(gateway=gateway, device=device, kind=kind, node=east), NOW
            ).id
            for device, kind in (("arm-1", Kind.ARMBAND), ("rad-1", Kind.RADIO))
        ]
        return Patrol(
            street, east, west, member, other, things[0], things[1], add_post(tx, east, "p-east"),
            add_post(tx, west, "p-west"),
        )  # fmt: skip


def plan(db: Database, patrol: Patrol, begins: int = NOW, ends: int = NOW + 8 * HOUR, **more: int | str | None) -> int:
    """A shift of the first member with its armband, unless told otherwise; its id."""
    given = {"member": patrol.member, "armband": patrol.armband} | more
    with db.begin() as tx:
        wanted = rosters.Plan(starts_at=begins, ends_at=ends, **given)  # type: ignore[arg-type]
        return rosters.plan(tx, PLANNER, wanted, NOW).id
