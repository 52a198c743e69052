"""Silences, chains and explanations over HTTP."""

from __future__ import annotations

import pytest

from cloud.alerts import service as alerts
from cloud.org.rules import Role
from tests.cloud.cloud_support import NOW, Served, know, raised

STEPS = [
    {"after_s": 0, "roles": ["dispatcher"]},
    {"after_s": 120, "roles": ["supervisor"], "up": 1, "roster": True},
]


@pytest.fixture
def fleet(service: Served) -> Served:
    """One gateway with a fire and an open door."""
    know(service.db, "gw-1", node="/1/")
    with service.db.begin() as tx:
        door = raised("o2", "door-1", kind="door-open", rule="p/door")
        alerts.apply_events(tx, "gw-1", "e1", [(1, raised("o1")), (2, door)], NOW)
    return service


def test_a_silence_over_http_says_what_stays_loud(fleet: Served) -> None:
    with fleet.client(Role.DISPATCHER, "/1/") as api:
        answer = api.post("/silences", json={"gateway": "gw-1", "reason": "装修", "seconds": 3600})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["quiet"], made["loud"], made["node"]) == (1, 1, "/1/")
        assert "fire" in made["never_silenced"]
        (quieted,) = api.get("/alarms", params={"silenced": True, "node": "/1/"}).json()["items"]
        assert (quieted["kind"], quieted["quiet"], quieted["silence"]) == ("door-open", "silence", made["id"])
        why = api.get(f"/alarms/{quieted['id']}/explanation").json()
        assert (why["quiet"], why["reasons"][0]["id"], why["next"]) == ("silence", made["id"], None)
        assert [each["id"] for each in api.get("/silences?active=true").json()["items"]] == [made["id"]]
        ended = api.post(f"/silences/{made['id']}/end").json()
        assert (ended["active"], ended["quiet"]) == (False, 0)
        assert api.get(f"/silences/{made['id']}").json()["ended_at"] == ended["ended_at"]
    with fleet.client(Role.AUDITOR) as api:
        actions = [(entry["action"], entry["target"]) for entry in api.get("/audit").json()["items"]]
    assert ("silence.add", f"silence/{made['id']}") in actions
    assert ("silence.end", f"silence/{made['id']}") in actions


@pytest.mark.parametrize(
    ("role", "purpose", "status"),
    [
        (Role.TECHNICIAN, "silence", 403), (Role.TECHNICIAN, "maintenance", 201), (Role.AUDITOR, "maintenance", 403),
        (Role.DISPATCHER, "silence", 201), (Role.PROPERTY, "maintenance", 403),
    ],
)  # fmt: skip
def test_who_may_silence_and_who_may_maintain(fleet: Served, role: Role, purpose: str, status: int) -> None:
    with fleet.client(role) as api:
        body = {"purpose": purpose, "gateway": "gw-1", "reason": "x", "seconds": 60}
        assert api.post("/silences", json=body).status_code == status


def test_another_nodes_caller_sees_and_ends_nothing_S4(fleet: Served) -> None:
    with fleet.client(Role.ADMINISTRATOR, "/1/") as api:
        silence = api.post("/silences", json={"reason": "x", "seconds": 60}).json()["id"]
        chain = api.post("/chains", json={"name": "c", "steps": STEPS}).json()["id"]
    with fleet.client(Role.ADMINISTRATOR, "/7/") as api:
        for path in ("/silences", "/chains"):
            assert api.get(path).json()["items"] == []
        body = {"name": "c", "steps": STEPS}
        for answer in (
            api.get(f"/silences/{silence}"), api.post(f"/silences/{silence}/end"), api.get(f"/chains/{chain}"),
            api.put(f"/chains/{chain}", json=body), api.delete(f"/chains/{chain}"), api.get("/alarms/1/explanation"),
            api.post("/silences", json={"gateway": "gw-1", "reason": "x", "seconds": 60}),
            api.post("/chains", json={**body, "node": "/1/"}),
        ):  # fmt: skip
            assert answer.status_code == 404, answer.text


def test_chains_over_http(fleet: Served) -> None:
    with fleet.client(Role.ADMINISTRATOR) as api:
        made = api.post("/chains", json={"name": "夜间", "kinds": ["fire"], "steps": STEPS, "repeat_s": 300}).json()
        assert made["steps"] == [{"up": 0, "roster": False, **STEPS[0]}, STEPS[1]]
        assert api.post("/chains", json={"name": "夜间", "steps": STEPS}).status_code == 409
        again = api.put(f"/chains/{made['id']}", json={"name": "夜间", "steps": STEPS[:1]}).json()
        assert (again["steps"], again["kinds"], again["repeat_s"]) == ([{"up": 0, "roster": False, **STEPS[0]}], [], 0)
        assert api.get("/chains").json()["items"] == [again]
        assert api.delete(f"/chains/{made['id']}").status_code == 204
        assert api.get(f"/chains/{made['id']}").status_code == 404
    with fleet.client(Role.SUPERVISOR) as api:
        assert api.post("/chains", json={"name": "c", "steps": STEPS}).status_code == 403
