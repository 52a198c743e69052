"""The API and the pages of campaigns over HTTP: from the preview to the rollback, by two people."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from cloud import stream
from cloud.org.rules import Role
from cloud.state import now_ms
from tests.campaigns.campaigns_support import fleet, ordering, tell, turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client

    from tests.campaigns.campaigns_support import Orders
    from tests.cloud.cloud_support import Served

HOSTILE = "<script>alert(1)</script>"
POLICY = {"waves": ["2", "100%"], "soak_s": 0, "health": False, "pause_percent": 50, "pause_least": 2}


@pytest.fixture
def orders() -> Iterator[Orders]:
    with ordering() as orders:
        yield orders


@contextlib.contextmanager
def signed_in(service: Served, name: str, role: Role = Role.ADMINISTRATOR) -> Iterator[Client]:
    password = service.user(name, role)
    with service.anonymous() as client:
        assert client.post("/sign-in", data={"user": name, "password": password}).status_code == 303
        yield client


def press(client: Client, campaign: int, act: str, note: str = "") -> int:
    page = client.get("/campaigns/new").text
    csrf = re.search(r'name="csrf" value="([^"]*)"', page)
    assert csrf
    sent = {"csrf": csrf[1], "act": act, "note": note}
    return client.post(f"/campaigns/{campaign}/do", data=sent).status_code


def test_the_api_leads_from_the_preview_to_the_rollback(service: Served, orders: Orders) -> None:
    fleet(service.db, 6, offline=1)
    new = {"kind": "test", "title": "t", "subject": {"to": "2"}, "policy": POLICY, "choice": {"without": ["gw-000"]}}
    with service.client(Role.ADMINISTRATOR) as author, service.client(Role.ADMINISTRATOR) as other:
        hook = {"name": "desk", "node": "/", "audience": ["administrator"], "target": "https://hooks.example.org/x"}
        assert author.post("/channels", json=hook).is_success
        shown = author.post("/campaigns/preview", json=new).json()
        assert (shown["members"], shown["waves"], shown["offline"], shown["out"]) == (5, [2, 3], 1, {"left-out": 1})
        made = author.post("/campaigns", json=new).json()
        here = f"/campaigns/{made['id']}"
        assert (made["state"], made["acts"], made["tally"]["total"]) == ("draft", ["approve", "abort"], 5)
        assert author.post(f"{here}/start").status_code == 409
        assert author.post(f"{here}/approve").status_code == 403
        assert other.post(f"{here}/approve", json={"note": "looks good"}).json()["state"] == "approved"
        assert author.post(f"{here}/start").json()["state"] == "running"
        turns(service.db, now_ms())
        tell(service.db, made["id"], orders.started, now=now_ms())
        members = author.get(f"{here}/members", params={"state": "committed", "wave": 1, "limit": 1}).json()
        assert len(members["items"]) == 1
        assert members["next_cursor"] or len(orders.started) == 1
        assert author.post(f"{here}/pause").json()["acts"] == ["resume", "abort", "rollback"]
        assert author.post(f"{here}/rollback").json()["state"] == "rolling-back"
        turns(service.db, now_ms())
        assert sorted(orders.backed) == sorted(orders.started)
        assert [each["id"] for each in author.get("/campaigns", params={"state": "rolling-back"}).json()["items"]] == [
            made["id"]
        ]
        told = [each["what"] for each in author.get(here).json()["history"]]
        assert told[-4:] == ["wave", "start", "approve", "create"]
        told = [each["title"] for each in author.get("/deliveries").json()["items"]]
        assert any(f"批量变更 {made['id']} 已暂停" in title for title in told)
        chain = author.get("/audit", params={"action": "campaign"}).json()["items"]
        assert {"campaign.create", "campaign.approve", "campaign.pause", "campaign.rollback"} <= {
            each["action"] for each in chain
        }
    kinds = [kind for _id, kind, _node, _data in stream.after(service.db, 0, 1000)]
    assert kinds.count("campaign") >= 6
    with service.client(Role.DISPATCHER) as dispatcher:
        assert dispatcher.get(here).status_code == 200
        assert dispatcher.post(f"{here}/abort").status_code == 403


REFUSED: dict[str, dict[str, object]] = {
    "kind: 'none' is none of": {"kind": "none"},
    "no size of a wave": {"policy": {"waves": ["0"]}},
    "no time of day": {"policy": {"windows": [{"begins": "24:00", "ends": "01:00"}]}},
    "nobody fits": {"choice": {"gateways": ["gw-none"]}},
    "more than 262144": {"subject": {"x": "y" * 300_000}},
}


def test_a_campaign_that_cannot_be_is_refused_with_its_cause(service: Served, orders: Orders) -> None:
    assert orders
    fleet(service.db, 2)
    with service.client(Role.ADMINISTRATOR) as client:
        for said, change in REFUSED.items():
            answer = client.post("/campaigns", json={"kind": "test", "subject": {}, **change})
            assert answer.status_code == 422
            assert said in answer.json()["detail"]


def test_two_people_lead_a_campaign_on_the_pages(service: Served, orders: Orders) -> None:
    fleet(service.db, 5)
    with signed_in(service, "ada") as ada, signed_in(service, "bo") as bo:
        csrf = re.search(r'name="csrf" value="([^"]*)"', ada.get("/campaigns/new").text)
        assert csrf
        form = {
            "csrf": csrf[1], "kind": "test", "title": HOSTILE, "node": "/", "waves": "1, 100%", "soak_min": "0",
            "timeout_min": "5", "offline_h": "1", "pause_percent": "50", "pause_least": "1", "without": "gw-004",
            "begins": "00:00", "ends": "00:00",
        }  # fmt: skip
        shown = ada.post("/campaigns/new", data={**form, "step": "preview"})
        assert "4 个成员，各批：1 · 3。" in shown.text
        assert "已排除 1" in shown.text
        wrong = ada.post("/campaigns/new", data={**form, "waves": "ten", "step": "create"})
        assert wrong.status_code == 422
        assert "waves" in wrong.text
        made = ada.post("/campaigns/new", data={**form, "step": "create"})
        assert made.status_code == 303
        campaign = int(made.headers["location"].rpartition("/")[2])
        page = ada.get(f"/campaigns/{campaign}").text
        assert 'value="approve"' not in page
        assert "周日 00:00–00:00（Asia/Shanghai）" in page
        assert HOSTILE not in page
        assert press(ada, campaign, "approve") == 403
        assert press(bo, campaign, "approve", "ok") == 303
        assert press(bo, campaign, "start") == 303
        turns(service.db, now_ms())
        tell(service.db, campaign, orders.started, ok=False, now=now_ms())
        turns(service.db, now_ms())
        page = ada.get(f"/campaigns/{campaign}").text
        assert "自动暂停：已开始的成员中失败 1/1。" in page
        assert 'href="/campaigns/1?reason=broken"' in page
        listed = ada.get(f"/campaigns/{campaign}", params={"reason": "broken"}).text
        assert orders.started[0] in listed
        assert ada.get("/campaigns", params={"state": "paused"}).text.count("/campaigns/1") == 1
        ada.get("/campaigns?lang=en")
        english = ada.get(f"/campaigns/{campaign}").text
        assert "Paused by itself: 1/1 of those started have failed." in english
    with signed_in(service, "di", Role.DISPATCHER) as di:
        page = di.get(f"/campaigns/{campaign}").text
        assert 'name="act"' not in page
        assert di.get("/campaigns/new").status_code == 403
