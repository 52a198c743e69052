"""Levels and drills over HTTP: what the surface says, who may, and what lies outside one's scope (S4)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from cloud.org import tree
from cloud.org.rules import SYSTEM, Role
from cloud.paging import at
from cloud.state import now_ms

if TYPE_CHECKING:
    from tests.cloud.cloud_support import Served


def ahead(hours: float) -> str:
    """A time from now on."""
    return (at(now_ms()) + timedelta(hours=hours)).isoformat()


@pytest.fixture
def streets(service: Served) -> tuple[str, str]:
    """Two streets of a district."""
    with service.db.begin() as tx:
        district = tree.add_node(tx, SYSTEM, "/", tree.Kind.DISTRICT, ("雁塔", "Yanta"), now_ms=1).path
        one, two = (
            tree.add_node(tx, SYSTEM, district, tree.Kind.STREET, (name, name), now_ms=1).path for name in ("a", "b")
        )
    return one, two


def test_levels_are_declared_approved_listed_and_ended(service: Served, streets: tuple[str, str]) -> None:
    one, two = streets
    body = {"node": one, "level": 2, "reason": "灯会", "scope": "夜市", "ends_at": ahead(5)}
    with service.client() as li, service.client(Role.SUPERVISOR) as sun, service.client(node=two) as other:
        made = li.post("/levels/declarations", json=body)
        assert made.status_code == 200, made.text
        path = f"/levels/declarations/{made.json()['id']}"
        assert (made.json()["state"], made.json()["approver"]) == ("pending", "supervisor")
        assert li.post(f"{path}/approve").status_code == 403
        assert other.get(path).status_code == 404
        assert other.post(f"{path}/end").status_code == 404
        assert sun.post(f"{path}/approve", json={"note": "同意"}).json()["in_force"]
        again = sun.post(f"{path}/reject", json={"note": "x"})
        assert (again.status_code, "is approved already" in again.json()["detail"]) == (409, True)
        listed = {each["node"]: each["level"] for each in li.get("/levels").json()["items"]}
        assert (listed[one], listed[two], listed["/"]) == (2, 4, 4)
        assert [each["node"] for each in other.get("/levels").json()["items"]] == [two]
        assert other.get("/levels/declarations").json()["items"] == []
        assert li.get("/levels/declarations", params={"state": ["approved"]}).json()["items"][0]["id"]
        assert li.post(f"{path}/renew", json={"ends_at": ahead(50), "reason": "x"}).json()["state"] == "pending"
        assert li.post("/levels/declarations", json={"node": one, "level": 4, "reason": "散场"}).status_code == 200
        assert li.get(path).json()["state"] == "ended"


def test_policies_and_approvers(service: Served, streets: tuple[str, str]) -> None:
    one, two = streets
    row = {"level": 2, "headcount_percent": 180, "revisit_percent": 50, "reporting_s": 40, "escalation_percent": 50}
    with (
        service.client(Role.ADMINISTRATOR) as root, service.client(Role.SUPERVISOR) as sun,
        service.client(node=two) as other,
    ):  # fmt: skip
        assert sun.put("/levels/policies", json={"node": one, "rows": [row]}).status_code == 403
        table = root.put("/levels/policies", json={"node": one, "rows": [row]}).json()
        assert [(each["level"], each["source"]) for each in table["items"]] == [(n, one) for n in (4, 3, 2, 1)]
        laxer = root.put("/levels/policies", json={"node": one, "rows": [{**row, "headcount_percent": 110}]})
        assert laxer.status_code == 422
        assert "headcount_percent: level 2 is laxer than level 3" in laxer.json()["detail"]
        assert other.get("/levels/policies", params={"node": one}).status_code == 404
        assert root.get("/levels/policies", params={"node": two}).json()["items"][2]["source"] is None
        assert root.put("/levels/approvers", json={"node": one, "role": "dispatcher"}).json()["items"] == [
            {"node": one, "role": "dispatcher"}
        ]
        assert other.get("/levels/approvers").json()["items"] == []
        assert root.put("/levels/approvers", json={"node": one, "role": "auditor"}).status_code == 422
        assert root.put("/levels/approvers", json={"node": one, "role": None}).json()["items"] == []


def test_drills_are_planned_started_ended_and_scored(service: Served, streets: tuple[str, str]) -> None:
    one, two = streets
    body = {"node": one, "name": "消防", "kind": "incident", "starts_at": ahead(1), "ends_at": ahead(2)}
    with service.client(Role.SUPERVISOR) as sun, service.client() as li, service.client(node=two) as other:
        assert li.post("/drills", json=body).status_code == 403
        made = sun.post("/drills", json=body)
        assert made.status_code == 200, made.text
        path = f"/drills/{made.json()['id']}"
        assert made.json()["state"] == "planned"
        assert other.get(path).status_code == 404
        assert sun.post(f"{path}/start").json()["state"] == "running"
        assert sun.post(f"{path}/start").status_code == 409
        level = {"node": one, "level": 1, "reason": "演练", "ends_at": ahead(1)}
        declared = sun.post(f"{path}/levels", json=level).json()
        assert declared["drill"] == made.json()["id"]
        assert li.get("/levels/declarations").json()["items"] == []
        assert len(li.get("/levels/declarations", params={"drill": declared["drill"]}).json()["items"]) == 1
        assert len(li.get(path).json()["incidents"]) == 1
        assert sun.post(f"{path}/end").json()["state"] == "ended"
        done = li.get(path).json()
        assert done["score"]["runs"][0]["incident"] == done["incidents"][0]
        assert [each["id"] for each in li.get("/drills", params={"state": "ended"}).json()["items"]] == [done["id"]]
        assert li.get("/levels/declarations", params={"drill": done["id"]}).json()["items"][0]["state"] == "ended"
