"""The HTTP API over real HTTP, on both databases."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa

from cloud.alerts import service as alerts
from cloud.alerts.store import alarms as alarm_rows
from cloud.app import Role as Part
from cloud.devices import service as devices
from cloud.org.audit import audit
from cloud.org.auth import COOKIE
from cloud.org.rules import Role
from cloud.telemetry.store import Point
from firmware_specs.readings import Position
from tests.cloud.cloud_support import Served, know, raised, reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from firmware_specs.readings import Reading

NOW = int(time.time() * 1000)


@pytest.fixture
def fleet(service: Served) -> Served:
    """One gateway with a smoke detector, an armband, history and a fire."""
    know(service.db, "gw-1")
    items: list[Reading] = [reading("smk-1", "smoke", n / 10, NOW - 60_000 * (20 - n)) for n in range(20)]
    items += [reading("arm-1", "position", Position(34.26, 108.72, 6.0), NOW - 1000)]
    service.app.state.patrol.telemetry.write([Point("gw-1", item) for item in items])
    with service.db.begin() as tx:
        devices.heard(tx, "gw-1", NOW)
        devices.apply_readings(tx, "gw-1", "e", list(enumerate(items, 1)), NOW)
        alerts.apply_events(tx, "gw-1", "e", [(1, raised("o1", at=NOW))], NOW)
    return service


def is_problem(answer: httpx.Response, status: int, said: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert said in body["detail"]
    return body


def test_devices_as_the_surface_says(fleet: Served) -> None:
    with fleet.client() as api:
        page = api.get("/devices").json()
        one = api.get("/devices/gw-1/smk-1").json()
        counts = api.get("/devices/counts").json()
    assert page["next_cursor"] is None
    assert [d["id"] for d in page["items"]] == ["arm-1", "smk-1"]
    assert one.keys() >= {"id", "gateway", "profile", "location", "state", "latest"}
    assert one["latest"]["smoke"].keys() >= {"value", "unit", "observed_at", "quality"}
    assert datetime.fromisoformat(one["latest"]["smoke"]["observed_at"]).tzinfo is not None
    assert page["items"][0]["latest"]["position"]["value"] == {"lat": 34.26, "lon": 108.72, "accuracy_m": 6.0}
    assert (one["state"], counts["devices"]["alarm"]) == ("alarm", 1)


def test_gateways_as_the_surface_says(fleet: Served) -> None:
    with fleet.client() as api:
        one = api.get("/gateways/gw-1").json()
        assert api.get("/gateways").json()["items"] == [one]
    assert one.keys() >= {"id", "online", "last_seen_at", "agent_version", "outbox", "ledger"}
    assert one["online"] is True
    assert one["ledger"] == {"received": 0, "late": 0, "thinned": 0, "lost": 0, "off_shift": 0}


def test_alarms_as_the_surface_says(fleet: Served) -> None:
    with fleet.client() as api:
        (alarm,) = api.get("/alarms", params={"state": "open", "severity": ["critical", "major"]}).json()["items"]
        wanted = {"id", "gateway", "device", "kind", "severity", "state", "raised_at", "received_at", "late", "drill"}
        assert alarm.keys() >= wanted
        path = f"/alarms/{alarm['id']}"
        assert api.post(f"{path}/ack", json={}).json()["state"] == "acknowledged"
        assert api.post(f"{path}/ack").json()["state"] == "acknowledged"
        assert api.post(f"{path}/comment", json={"comment": "火"}).status_code == 200
        assert api.post(f"{path}/assign", json={"user": "wang"}).json()["assigned_to"] == "wang"
        assert api.post(f"{path}/shelve", json={"seconds": 60, "reason": "works"}).json()["shelved_until"]
        assert api.post(f"{path}/clear", json={"comment": "false alarm"}).json()["state"] == "cleared"
        history = [entry["action"] for entry in api.get(path).json()["history"]]
        assert history == ["raised", "acknowledged", "comment", "assigned", "shelved", "cleared"]
        assert api.get("/alarms/counts").json()["open"] == 0


def test_telemetry_raw_and_down_sampled(fleet: Served) -> None:
    path = "/devices/gw-1/smk-1/telemetry"
    with fleet.client() as api:
        raw = api.get(path, params={"metric": "smoke", "step": "raw", "limit": 15}).json()
        rest = api.get(path, params={"metric": "smoke", "limit": 15, "cursor": raw["next_cursor"]}).json()
        assert [value for _, value in raw["points"] + rest["points"]] == [n / 10 for n in range(20)]
        assert rest["next_cursor"] is None
        stepped = api.get(path, params={"metric": "smoke", "step": "600s"}).json()
        assert len(stepped["points"]) == len(stepped["low"]) == len(stepped["high"]) in {2, 3}
        assert all(
            low <= p[1] <= high for p, low, high in zip(stepped["points"], stepped["low"], stepped["high"], strict=True)
        )
        since = datetime.fromtimestamp(NOW / 1000 - 300, UTC).isoformat()
        late = api.get(path, params={"metric": "smoke", "from": since, "to": "2100-01-01T00:00:00Z"}).json()
        assert 4 <= len(late["points"]) <= 5
        assert not api.get(path, params={"metric": "unheard"}).json()["points"]


def test_looks_at_positions_are_audited_S11(fleet: Served) -> None:
    with fleet.client() as api:
        track = api.get("/devices/gw-1/arm-1/telemetry", params={"metric": "position"}).json()
    assert [value for _, value in track["points"]] == [{"lat": 34.26, "lon": 108.72, "accuracy_m": 6.0}]
    with fleet.db.read() as tx:
        looked = tx.execute(sa.select(audit.c.target).where(audit.c.action == "position.view")).scalars().all()
    assert looked == ["device/gw-1/arm-1"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/devices?limit=0", "query.limit"),
        ("/devices?limit=1001", "query.limit"),
        ("/devices?cursor=%00", "the address holds a NUL character"),
        ("/devices?cursor=WyJcdTAwMDAiLCAieCJd", "cursor: not one that this API gave out"),
        ("/devices?cursor=WyJcdWQ4MDAiLCAieCJd", "cursor: not one that this API gave out"),
        ("/alarms?state=burning", "query.state"),
        ("/alarms?nonsense=1", "query.nonsense"),
        ("/alarms?raised_from=yesterday", "query.raised_from"),
        ("/alarms?raised_from=2026-01-01T00:00:00", "has no offset"),
        ("/alarms/abc", "path.alarm_id"),
        ("/devices/gw-1/smk-1/telemetry", "query.metric"),
        ("/devices/gw-1/smk-1/telemetry?metric=smoke&step=7", "step '7': raw, or a number with s, m, h or d"),
        ("/devices/gw-1/smk-1/telemetry?metric=smoke&limit=5001", "query.limit"),
        ("/devices/gw-1/smk-1/telemetry?metric=smoke&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from: later"),
        ("/stream?last_event_id=x", "Last-Event-ID: not one of this stream"),
    ],
)
def test_what_is_wrong_is_said(fleet: Served, path: str, said: str) -> None:
    with fleet.client() as api:
        is_problem(api.get(path), 422, said)


@pytest.mark.parametrize("path", ["/devices/gw-1/none", "/gateways/none", "/alarms/999", "/alarms/9223372036854775807"])
def test_what_is_not_there_is_404(fleet: Served, path: str) -> None:
    with fleet.client() as api:
        is_problem(api.get(path), 404, "not found")


def test_unknown_routes_methods_and_bodies_are_problems(fleet: Served) -> None:
    with fleet.client() as api:
        is_problem(api.get("/nope"), 404, "Not Found")
        is_problem(api.put("/devices"), 405, "Method Not Allowed")
        is_problem(api.post("/alarms/1/shelve", json={"seconds": -1, "reason": ""}), 422, "body.")
        is_problem(api.post("/alarms/1/ack", json={"extra": 1}), 422, "body.extra")
        is_problem(api.post("/alarms/1/ack", content=b"{", headers={"Content-Type": "application/json"}), 422, "body")
        is_problem(api.post("/alarms/1/comment", content=b"x" * 2_000_000), 413, "a body of more than 1048576 bytes")
        is_problem(api.post("/alarms/1/comment", content=iter([b"x" * 600_000] * 2)), 413, "a body of more than")


def test_without_a_token_nothing_is_told_S4(fleet: Served) -> None:
    with fleet.anonymous() as api:
        document = api.get("/api/openapi.json").json()
        for path, verbs in document["paths"].items():
            if not path.startswith("/api/v1") or path == "/api/v1/session":
                continue
            owed = (
                "the broker's token is needed" if path.startswith("/api/v1/broker/") else "a bearer token or a session"
            )
            for verb in verbs:
                url = re.sub(r"\{\w+\}", "1", path)
                for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"{COOKIE}=wrong"}):
                    is_problem(api.request(verb, url, headers=headers), 401, owed)


def test_another_nodes_caller_sees_nothing_S4(fleet: Served) -> None:
    with fleet.client(Role.ADMINISTRATOR, "/7/") as api:
        for path in ("/devices", "/gateways", "/alarms"):
            assert api.get(path).json()["items"] == []
        for path in (
            "/devices/gw-1/smk-1",
            "/devices/gw-1/smk-1/telemetry?metric=smoke",
            "/gateways/gw-1",
            "/alarms/1",
        ):
            is_problem(api.get(path), 404, "not found")
        is_problem(api.post("/alarms/1/ack", json={}), 404, "not found")
        assert api.get("/alarms/counts").json()["open"] == 0
        assert sum(api.get("/devices/counts").json()["devices"].values()) == 0


def test_roles_are_held_over_http(fleet: Served) -> None:
    with fleet.client(Role.AUDITOR) as api:
        is_problem(api.post("/alarms/1/ack", json={}), 403, "role auditor may not acknowledge alarms")
        assert api.get("/audit").json()["items"]
    with fleet.client(Role.TECHNICIAN) as api:
        is_problem(api.get("/audit"), 403, "role technician may not audit")


def test_a_session_needs_its_csrf_token_for_unsafe_requests_S7(fleet: Served) -> None:
    password = fleet.user("li")
    with httpx.Client(base_url=f"{fleet.url}/api/v1") as api:
        is_problem(api.post("/session", json={"user": "li", "password": "wrong"}), 401, "wrong user or password")
        answer = api.post("/session", json={"user": "li", "password": password})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        csrf = answer.json()["csrf"]
        assert api.get("/session").json()["csrf"] == csrf
        is_problem(api.post("/alarms/1/ack", json={}), 403, "X-CSRF-Token is missing")
        is_problem(api.post("/alarms/1/ack", json={}, headers={b"X-CSRF-Token": b"\xe9" * 8}), 403, "X-CSRF-Token")
        done = api.post("/alarms/1/ack", json={}, headers={"X-CSRF-Token": csrf})
        assert done.json()["acknowledged_by"] == "li"
        assert api.delete("/session", headers={"X-CSRF-Token": csrf}).status_code == 204
        is_problem(api.get("/session"), 401, "needed")


def test_sign_in_is_throttled_over_http_S7(serve: Callable[..., AbstractContextManager[Served]]) -> None:
    with serve(limits={"sign_in_tries": 2}) as served:
        for _ in range(2):
            assert httpx.post(f"{served.url}/api/v1/session", json={"user": "a", "password": "b"}).status_code == 401
        answer = httpx.post(f"{served.url}/api/v1/session", json={"user": "a", "password": "b"})
        is_problem(answer, 429, "more than 2 tries")
        assert 0 < int(answer.headers["retry-after"]) <= 900


def test_headers_keep_browsers_strict(fleet: Served) -> None:
    with fleet.anonymous() as api:
        for path in ("/api/v1/devices", "/healthz", "/nope", "/"):
            headers = api.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers


def test_health_readiness_and_metrics(fleet: Served) -> None:
    assert httpx.get(f"{fleet.url}/healthz").json() == {"status": "alive"}
    assert httpx.get(f"{fleet.url}/readyz").json() == {"status": "ready"}
    text = httpx.get(f"{fleet.url}/metrics").text
    assert 'patrol_gateways{state="online"} 1.0' in text
    assert 'patrol_devices{state="alarm"} 1.0' in text
    assert "patrol_timer_lateness_seconds" in text


def test_not_ready_while_the_broker_is_away(serve: Callable[..., AbstractContextManager[Served]]) -> None:
    with serve(Part.INGEST, broker={"url": "mqtt://127.0.0.1:1"}) as served:
        is_problem(httpx.get(f"{served.url}/readyz"), 503, "ingest: ")
        assert httpx.get(f"{served.url}/healthz").status_code == 200
        assert httpx.get(f"{served.url}/api/v1/devices").status_code == 404, "the ingest role serves no API"


def test_an_unexpected_error_tells_nothing(fleet: Served) -> None:
    with fleet.db.begin() as tx:
        tx.execute(sa.update(alarm_rows).values(evidence="not JSON"))
    with fleet.client() as api:
        answer = api.get("/alarms")
    assert is_problem(answer, 500, "an unexpected error; it was logged").keys() == {"type", "title", "status", "detail"}
