"""Incidents over HTTP: lists and filters, the life of one, roles, scope, the event stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloud.org.rules import Role
from cloud.state import now_ms
from cloud.stream import events
from tests.incidents.incidents_support import HOUSE, alarm, patrol, seen, town

if TYPE_CHECKING:
    from httpx import Client

    from tests.cloud.cloud_support import Served


def opened(client: Client, node: str, **more: object) -> dict[str, Any]:
    body = {"node": node, "category": "medical", "title": "有人晕倒", **more}
    answer = client.post("/incidents", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_the_life_of_an_incident(service: Served) -> None:
    made = town(service.db)
    now = now_ms()
    first, second = patrol(service.db, made.building, ["A1", "A2"], at=now)
    seen(service.db, first, now - 1000, away_m=100)
    with service.client() as client, service.client(Role.SUPERVISOR) as chief, service.client() as rival:
        one = opened(client, made.building, place="大厅", severity="critical")
        path = f"/incidents/{one['id']}"
        assert one["position"] == {"lat": HOUSE[0], "lon": HOUSE[1]}
        assert client.post(f"{path}/take").json()["owner"].startswith("token:")
        lost = rival.post(f"{path}/take")
        assert (lost.status_code, lost.headers["content-type"]) == (409, "application/problem+json")
        near = client.get(f"{path}/nearest").json()["items"]
        assert [(each["call_sign"], each["travel_m"]) for each in near] == [("A1", 130.0), ("A2", None)]
        assert client.post(f"{path}/dispatch", json={"members": [first, second]}).status_code == 200
        assert client.get(f"{path}/nearest").json()["items"] == []
        assert client.post(f"{path}/responders/{first}/accept").status_code == 200
        assert client.post(f"{path}/responders/{second}/release").status_code == 200
        stop = client.post(f"{path}/clocks/on_scene/stop", json={"reason": "电台报告到场"}).json()
        assert stop["state"] == "on_scene"
        assert stop["clocks"][0]["how"] == "hand"
        assert client.post(f"{path}/checklist/0").status_code == 200
        assert client.post(f"{path}/comment", json={"comment": "意识清醒"}).status_code == 200
        assert client.post(f"{path}/handover", json={"user": "nobody"}).status_code == 422
        assert chief.post(f"{path}/take", json={"reason": "换班"}).status_code == 200
        assert client.post(f"{path}/close", json={"cause": "低血糖", "follow_up": "无"}).status_code == 409
        assert chief.post(f"{path}/close", json={"cause": "低血糖", "follow_up": ""}).status_code == 422
        assert chief.post(f"{path}/close", json={"cause": "低血糖", "follow_up": "回访"}).json()["state"] == "closed"
        assert chief.post(f"{path}/reopen", json={"reason": "再次晕倒"}).json()["state"] == "on_scene"
        whole = client.get(path).json()
    assert whole["checklist"][0]["done_by"].startswith("token:")
    assert {each["call_sign"]: each["state"] for each in whole["responders"]} == {"A1": "accepted", "A2": "released"}
    assert [row["action"] for row in whole["timeline"]] == [
        "opened", "taken", "dispatched", "dispatched", "accepted", "released", "clock-stopped", "ticked", "comment",
        "taken-over", "closed", "reopened",
    ]  # fmt: skip
    with service.db.read() as tx:
        told = tx.execute(sa.select(sa.func.count()).where(events.c.kind == "incident")).scalar_one()
    assert told == len(whole["timeline"])


def test_lists_filter_and_page_within_scope_S4(service: Served) -> None:
    made = town(service.db)
    now = now_ms()
    alarm(service.db, at=now - 2000)
    alarm(service.db, at=now - 1000, drill=True, device="smk-2")
    with service.client() as client:
        hand = [opened(client, made.other, title=f"第 {n} 起")["id"] for n in range(3)]
        newest = [*reversed(hand), 2, 1]

        def ids(**query: str | bool | list[str]) -> list[int]:
            answer = client.get("/incidents", params=dict(query))
            assert answer.status_code == 200, answer.text
            return [each["id"] for each in answer.json()["items"]]

        assert ids() == newest
        assert ids(drill=False, category="fire") == [1]
        assert ids(drill=True) == [2]
        assert ids(node=made.other) == newest[:3]
        assert ids(state=["closed"]) == []
        page = client.get("/incidents", params={"limit": 2}).json()
        rest = client.get("/incidents", params={"limit": 9, "cursor": page["next_cursor"]}).json()
        assert [each["id"] for each in page["items"] + rest["items"]] == newest
        for wrong in ({"state": "x"}, {"cursor": "x"}, {"node": "../1"}, {"limit": 0}, {"surprise": 1}):
            assert client.get("/incidents", params=wrong).status_code == 422
        period = {"from": "2026-01-01T00:00:00Z", "to": "2026-12-31T00:00:00Z"}
        assert client.get("/incidents/missed", params=period).json()["items"] == []
        assert client.get("/incidents/missed", params={**period, "to": "2099-01-01T00:00:00Z"}).status_code == 422
    with service.client(node=made.other) as client:
        assert [each["id"] for each in client.get("/incidents").json()["items"]] == newest[:3]
        for verb, path in (("get", ""), ("post", "/take"), ("get", "/nearest"), ("get", "/timeline")):
            assert client.request(verb, f"/incidents/1{path}").status_code == 404


def test_only_who_may_respond_acts(service: Served) -> None:
    town(service.db)
    alarm(service.db)
    refused = {Role.AUDITOR: 403, Role.PROPERTY: 403, Role.TECHNICIAN: 403, Role.DISPATCHER: 200}
    for role, status in refused.items():
        with service.client(role) as client:
            assert client.get("/incidents/1").status_code == 200
            assert client.get("/incidents/1/nearest").status_code == status
            assert client.post("/incidents/1/take").status_code == status
            assert client.post("/incidents/1/clocks/area/stop", json={"reason": "x"}).status_code == status


def test_plans_are_kept_and_taken_away_by_administrators(service: Served) -> None:
    made = town(service.db)
    plan = {"node": made.street, "category": "fire", "name_zh": "火", "name_en": "Fire", "targets": {"on_scene": 90}}
    where = {"node": made.building, "category": "fire"}
    with service.client(Role.ADMINISTRATOR) as client, service.client() as dispatcher:
        assert dispatcher.put("/plans", json=plan).status_code == 403
        kept = client.put("/plans", json=plan).json()
        assert kept == client.put("/plans", json=plan).json()
        assert dispatcher.get("/plans/effective", params=where).json() == kept
        assert [each["id"] for each in dispatcher.get("/plans").json()["items"]] == [kept["id"], 0, 0, 0, 0, 0]
        assert client.put("/plans", json={**plan, "arrivals": 1}).status_code == 422
        assert client.delete(f"/plans/{kept['id']}").status_code == 204
        assert client.delete(f"/plans/{kept['id']}").status_code == 404
        assert dispatcher.get("/plans/effective", params=where).json()["targets"]["on_scene"] == 300
