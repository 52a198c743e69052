"""Rosters over HTTP, and who may see where a member is: P4, P5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from cloud.broadcast import Broadcaster
from cloud.devices import service as devices
from cloud.org import audit
from cloud.org.rules import Role
from cloud.paging import at
from cloud.presence.rosters import service as rosters
from cloud.presence.rosters.models import MemberChange
from cloud.presence.rosters.store import looks
from cloud.state import now_ms
from firmware_specs.readings import Position
from firmware_specs.wire import Reported, ReportedDevice
from tests.cloud.cloud_support import reading
from tests.cloud.roster_support import HOUR, PLANNER, Patrol, make_patrol, plan

if TYPE_CHECKING:
    from typing import Any

    from httpx import Client

    from tests.cloud.cloud_support import Served

ARM = "/devices/gw-1/arm-1"
TRACK = {"metric": "position"}


@pytest.fixture
def patrol(service: Served) -> Patrol:
    """A patrol whose first member is on duty and was last seen a moment ago; so was a van that nobody carries."""
    made = make_patrol(service.db)
    now = now_ms()
    plan(service.db, made, now - HOUR, now + HOUR)
    here = Position(34.2, 108.9, 5.0)
    known = [ReportedDevice(name, "owntracks-armband") for name in ("arm-1", "van-1")]
    with service.db.begin() as tx:
        devices.apply_reported(tx, "gw-1", Reported(1, "c", tuple(known)), now)
        told = [reading(d, m, v, now - 1000) for d in ("arm-1", "van-1") for m, v in _values(here)]
        devices.apply_readings(tx, "gw-1", "e", list(enumerate(told, 1)), now)
    return made


def _values(here: Position) -> list[tuple[str, Any]]:
    return [("position", here), ("speed", 1.0), ("battery", 80.0)]


def times(begins: int, ends: int) -> dict[str, str]:
    return {"starts_at": at(begins).isoformat(), "ends_at": at(ends).isoformat()}


def test_a_roster_is_kept_over_http(service: Served, patrol: Patrol) -> None:
    now = now_ms()
    with service.client(Role.SUPERVISOR) as api:
        made = api.post("/members", json={"call_sign": "雁-9", "node": patrol.west})
        assert made.status_code == 201
        member = made.json()["id"]
        assert api.post("/members", json={"call_sign": "雁-9", "node": patrol.west}).status_code == 409
        assert api.patch(f"/members/{member}", json={"call_sign": "雁-8"}).json()["call_sign"] == "雁-8"
        assert [m["call_sign"] for m in api.get("/members", params={"limit": 2}).json()["items"]] == ["雁-8", "鹰-1"]
        assert {m["call_sign"]: m["on_duty"] for m in api.get("/members").json()["items"]}["鹰-1"] is True
        body = {"member": member, "radio": patrol.radio, "post": patrol.post, **times(now + 60_000, now + 2 * HOUR)}
        shift = api.post("/shifts", json=body).json()
        assert (shift["state"], shift["node"], shift["call_sign"]) == ("planned", patrol.east, "雁-8")
        again = api.post("/shifts", json=body)
        assert (again.status_code, "has shift" in again.json()["detail"]) == (409, True)
        assert api.post(f"/shifts/{shift['id']}/begin").json()["state"] == "running"
        held = {thing["device"]: thing["holder"] for thing in api.get("/equipment").json()["items"]}
        assert held == {"arm-1": "鹰-1", "rad-1": "雁-8"}
        first = next(s for s in api.get("/shifts").json()["items"] if s["member"] == patrol.member)
        handed = api.post(f"/shifts/{first['id']}/handover", json={"to": shift["id"], "note": "all calm"})
        assert handed.json()["handed_to"] == shift["id"]
        assert api.post(f"/shifts/{shift['id']}/end", json={"note": "done"}).json()["state"] == "ended"
        assert api.delete(f"/shifts/{shift['id']}").status_code == 409
        assert api.delete(f"/members/{member}").status_code == 204
        assert api.get(f"/members/{member}").status_code == 404
        figures = api.get("/strength", params={"node": patrol.street}).json()["items"]
        assert [f["required"] for f in figures] == [10, 10, 10]
        assert api.get("/overrides").json() == {"items": [], "next_cursor": None}


def test_who_may_not_plan_is_told_so(service: Served, patrol: Patrol) -> None:
    with service.client(Role.DISPATCHER) as api:
        assert api.post("/members", json={"call_sign": "x", "node": "/"}).status_code == 403
        assert api.post("/shifts", json={"member": 1, **times(1, 2)}).status_code == 403
    with service.client(Role.TECHNICIAN) as api:
        assert api.post("/shifts/1/end").status_code == 403
        assert api.get("/members").status_code == 200
        assert all(member["user"] is None for member in api.get("/members").json()["items"])


def test_P5_where_a_wearer_is_stands_in_no_list_and_on_no_stream(service: Served, patrol: Patrol) -> None:
    with service.client(Role.ADMINISTRATOR) as api:
        listed = {device["id"]: device["latest"] for device in api.get("/devices").json()["items"]}
    assert sorted(listed["arm-1"]) == ["battery"]
    assert sorted(listed["van-1"]) == ["battery", "position", "speed"]
    frames = Broadcaster(service.db)._changed(now_ms())
    told = b"".join(frame.data for frame in frames if b'"arm-1"' in frame.data)
    assert b"battery" in told
    assert b"34.2" not in told
    assert b"speed" not in told


def test_P5_one_device_shows_it_to_who_may_locate_and_every_look_is_on_record(service: Served, patrol: Patrol) -> None:
    with service.client(Role.TECHNICIAN) as api:
        assert sorted(api.get(ARM).json()["latest"]) == ["battery"]
        refused = api.get(f"{ARM}/telemetry", params=TRACK)
        assert (refused.status_code, "locate" in refused.json()["detail"]) == (403, True)
        assert api.get(f"{ARM}/telemetry", params={"metric": "speed"}).status_code == 403
        assert api.get(f"{ARM}/telemetry", params={"metric": "battery"}).status_code == 200
        assert api.get("/devices/gw-1/van-1/telemetry", params=TRACK).status_code == 200
    assert _looks(service) == []
    with service.client(Role.DISPATCHER) as api:
        assert api.get(ARM).json()["latest"]["position"]["value"]["lat"] == 34.2
        assert api.get(ARM).status_code == api.get(f"{ARM}/telemetry", params=TRACK).status_code == 200
    seen = _looks(service)
    assert {member for member, _ in seen} == {patrol.member}
    assert 1 <= len(seen) <= 2, "one a minute"
    with service.db.read() as tx:
        rows = tx.execute(sa.select(audit.audit.c.target).where(audit.audit.c.action == "position.view")).scalars()
        assert rows.all() == ["device/gw-1/van-1", *[f"member/{patrol.member}"] * len(seen)]


def _looks(service: Served) -> list[tuple[int, str]]:
    with service.db.read() as tx:
        return [(row.member, row.viewer) for row in tx.execute(sa.select(looks).order_by(looks.c.id))]


def sign_in(service: Served, client: Client, name: str) -> None:
    """Sign a user in who is made for it."""
    password = service.user(name, Role.DISPATCHER)
    assert client.post("/api/v1/session", json={"user": name, "password": password}).status_code == 200


def test_P5_a_member_sees_who_looked(service: Served, patrol: Patrol) -> None:
    with service.client(Role.DISPATCHER) as api:
        api.get(ARM)
        assert api.get("/me/looks").status_code == 404, "a token is nobody"
    with service.anonymous() as mine:
        sign_in(service, mine, "eagle")
        assert mine.get("/api/v1/me/looks").status_code == 404
        with service.db.begin() as tx:
            rosters.change_member(tx, PLANNER, patrol.member, MemberChange(user="eagle"), now_ms())
        (look,) = mine.get("/api/v1/me/looks").json()["items"]
        assert look["viewer"].startswith("token:")
        assert look["what"] == "device/gw-1/arm-1"


def test_P4_a_pseudonym_is_turned_back_with_a_role_a_reason_and_a_case_number_only(
    service: Served, patrol: Patrol
) -> None:
    case = {"pseudonym": "k-secret-1", "reason": "lost keys", "case_number": "2027-14"}
    with service.client(Role.SUPERVISOR) as api:
        put = {"pseudonym": "k-secret-1", "member": patrol.member}
        assert api.post("/pseudonyms", json=put).status_code == 204
        assert api.post("/pseudonyms", json=put | {"member": patrol.other}).status_code == 409
        for left_out in ("reason", "case_number"):
            assert api.post("/pseudonyms/reveal", json=case | {left_out: "  "}).status_code == 422
        assert api.post("/pseudonyms/reveal", json=case).json() == {"member": patrol.member, "call_sign": "鹰-1"}
        assert api.post("/pseudonyms/reveal", json=case | {"pseudonym": "k-2"}).status_code == 404
    with service.client(Role.SUPERVISOR, patrol.west) as api:
        assert api.post("/pseudonyms/reveal", json=case).status_code == 404
    with service.client(Role.DISPATCHER) as api:
        assert api.post("/pseudonyms/reveal", json=case).status_code == 403
    with service.db.read() as tx:
        wanted = sa.select(audit.audit).where(audit.audit.c.action.like("pseudonym.%")).order_by(audit.audit.c.id)
        rows = [(row.action, row.target, row.detail) for row in tx.execute(wanted)]
    told = ("pseudonym.reveal", f"member/{patrol.member}", "case 2027-14: lost keys")
    nobody = ("pseudonym.reveal", "nobody", told[2])
    assert rows == [("pseudonym.add", f"member/{patrol.member}", ""), told, nobody, nobody]
