"""Field work over HTTP: the API and the technician's pages, on a phone that sends twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from cloud.devices.enrolment import service as enrolment
from cloud.ingest import hooks as ingest
from cloud.org.rules import Role
from cloud.state import now_ms
from firmware_specs.wire_fleet import ConfigPhase, ConfigState, encode
from tests.cloud.cloud_support import know
from tests.enrolment.enrolment_support import make_authority
from tests.field.field_support import ONE_DATABASE, SMOKE, configure, press, serve, site, tell_strangers, tick

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client

    from tests.cloud.cloud_support import Served

HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture
def api(service: Served) -> Iterator[Client]:
    site(service.db, "smk-1", "smk-2")
    configure(service.db)
    tell_strangers(service.db, "sensors/new", HOSTILE)
    with service.client(Role.TECHNICIAN) as client:
        yield client


@pytest.fixture
def console(service: Served, api: Client) -> Iterator[tuple[Client, str]]:
    password = service.user("zhao", Role.TECHNICIAN)
    with service.anonymous() as client:
        answer = client.post("/api/v1/session", json={"user": "zhao", "password": password})
        yield client, answer.json()["csrf"]


def post(api: Client, path: str, key: str = "", **body: Any) -> Any:  # noqa: ANN401 - JSON
    answer = api.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
    assert answer.is_success, answer.text
    return answer.json()


def test_the_way_of_a_technician_over_the_api(service: Served, api: Client) -> None:
    found = api.get("/gateways/gw-1/discovered").json()["items"]
    assert found[0]["profiles"] == [SMOKE]
    body = {"device": "smk-3", "profile": SMOKE, "connector": "mqtt", "address": "sensors/new", "location": "lobby"}
    first, second = (post(api, "/gateways/gw-1/adopted", "key-aaaa-1", **body) for _ in range(2))
    assert first == second
    assert [each["address"] for each in api.get("/gateways/gw-1/discovered").json()["items"]] == [HOSTILE]
    (adopted,) = api.get("/gateways/gw-1/adopted").json()["items"]
    assert adopted["in_force"] is False
    serve(service.db, "smk-1", "smk-2", "smk-3", version=2)
    walk = post(api, "/walk-tests", gateway="gw-1", minutes=5)
    press(service.db, "smk-3", now_ms())
    detail = api.get(f"/walk-tests/{walk['id']}").json()
    assert {each["device"]: each["mark"] for each in detail["devices"]}["smk-3"] == "passed"
    post(api, f"/walk-tests/{walk['id']}/shown", devices={"smk-3": 0})
    post(api, f"/walk-tests/{walk['id']}/devices/smk-1/mark", mark="unreachable", note="锁着")
    assert api.post("/acceptance-sheets", json={"gateway": "gw-1"}).status_code == 409
    assert post(api, f"/walk-tests/{walk['id']}/end")["active"] is False
    sheet = post(api, "/acceptance-sheets", "key-bbbb-1", gateway="gw-1", note="ok")
    assert sheet["state"] == "signing"
    assert post(api, "/acceptance-sheets", "key-bbbb-1", gateway="gw-1", note="ok")["id"] == sheet["id"]
    tick(service.db, now_ms() + 3_600_000)
    assert api.get(f"/acceptance-sheets/{sheet['id']}").json()["state"] == "unsigned"
    files = f"/acceptance-sheets/{sheet['id']}/files"
    assert api.get(f"{files}/json").json()["missing"] == ["smk-1", "smk-2"]
    assert api.get(f"{files}/sig").status_code == 404
    stages = {each["step"]: each["state"] for each in api.get("/gateways/gw-1/installation").json()["stages"]}
    assert stages["online"] == "done"
    assert stages["configured"] == "underway"
    assert stages["walked"] == "warn"
    assert stages["accepted"] == "warn"


def test_only_who_provisions_and_only_with_a_key_of_ours(service: Served, api: Client) -> None:
    with service.client(Role.DISPATCHER) as dispatcher:
        for path in ("/walk-tests", "/acceptance-sheets", "/gateways/gw-1/installation", "/gateways/gw-1/discovered"):
            assert dispatcher.get(path).status_code == 403
            assert api.get(path).status_code == 200
    answer = api.post("/walk-tests", json={"gateway": "gw-1"}, headers={"Idempotency-Key": "no spaces!"})
    assert answer.status_code == 422
    with service.client(Role.TECHNICIAN, "/999/") as elsewhere:
        assert elsewhere.get("/gateways/gw-1/installation").status_code == 404
        assert elsewhere.post("/walk-tests", json={"gateway": "gw-1"}).status_code == 404


@ONE_DATABASE
def test_a_gateway_of_its_own_file_is_offered_no_adoption(service: Served, console: tuple[Client, str]) -> None:
    client, _ = console
    assert 'action="/install/gw-1/adopt"' in client.get("/install/gw-1").text
    with service.db.begin() as tx:
        ingest.DOCUMENTS["reported/config"](tx, "gw-1", "", encode(ConfigState(ConfigPhase.LOCAL)), now_ms())
    page = client.get("/install/gw-1").text
    assert 'action="/install/gw-1/adopt"' not in page
    assert "gateway.toml" in page


@ONE_DATABASE
def test_the_pages_show_everything_as_text(console: tuple[Client, str]) -> None:
    client, _ = console
    for lang in ("zh", "en"):
        client.cookies.set("patrol_lang", lang)
        for path in ("/install", "/install/gw-1"):
            page = client.get(path)
            assert page.status_code == 200, page.text
            assert HOSTILE not in page.text
            assert "style=" not in page.text
            assert 'onerror="alert' not in page.text
    assert client.get("/install/nobody").status_code == 404
    found = client.get("/install", params={"label": "https://x.example/install/gw-1"}, follow_redirects=False)
    assert found.headers["location"] == "/install/gw-1"


@ONE_DATABASE
def test_gateways_that_were_never_heard_come_first_and_a_claim_is_no_label(
    service: Served, console: tuple[Client, str]
) -> None:
    know(service.db, "zz-new")
    page = console[0].get("/install", headers={"Accept": "text/html"}).text
    assert page.index("/install/zz-new") < page.index("/install/gw-1")
    answer = console[0].get("/install", params={"label": "patrolgrid:claim?url=x&code=y"})
    assert answer.status_code == 422
    assert "patrol-edge enrol" in answer.text


@ONE_DATABASE
def test_claims_for_a_new_gateway_and_for_other_hardware(service: Served, console: tuple[Client, str]) -> None:
    client, csrf = console
    make_authority(service.app.state.patrol.config.data_dir)
    with service.db.begin() as tx:
        enrolment.announce(tx, "https://enrol.example:8443")
    made = client.post("/install", data={"csrf": csrf, "node": "/", "gateway": "gw-new", "location": HOSTILE})
    assert made.status_code == 200, made.text
    assert re.search(r'id="claim-code">[0-9A-Z-]{15,}<', made.text)
    assert "<svg" in made.text
    assert HOSTILE not in made.text
    replaced = client.post("/install/gw-1/replace", data={"csrf": csrf, "device": "", "note": "雷击"})
    assert re.search(r'id="claim-code">[0-9A-Z-]{15,}<', replaced.text)
    history = client.get("/install/gw-1").text
    assert "雷击" in history


@ONE_DATABASE
def test_a_form_that_is_sent_twice_is_done_once_D7(console: tuple[Client, str]) -> None:
    client, csrf = console
    form = {
        "csrf": csrf, "key": "key-cccc-1", "device": "smk-3", "profile": SMOKE, "connector": "mqtt",
        "address": "sensors/new", "location": "3 号楼", "point": "34.2，108.9",
    }  # fmt: skip
    for _ in range(2):
        assert client.post("/install/gw-1/adopt", data=form, follow_redirects=False).status_code == 303
    assert len(re.findall("data-adopted", client.get("/install/gw-1").text)) == 1
    scripted = {"HX-Request": "true"}
    wrong = client.post("/install/gw-1/adopt", data={**form, "key": "key-dddd-1", "point": "x"}, headers=scripted)
    assert wrong.status_code == 422
    assert client.post("/install/gw-1/adopt", data={**form, "csrf": ""}).status_code == 403


@ONE_DATABASE
def test_a_walk_and_a_sheet_from_the_pages(service: Served, console: tuple[Client, str]) -> None:
    client, csrf = console
    begun = client.post(
        "/install/gw-1/walks", data={"csrf": csrf, "key": "key-eeee-1", "minutes": "5"}, follow_redirects=False
    )
    walk = begun.headers["location"]
    press(service.db, "smk-1", now_ms())
    page = client.get(walk).text
    assert 'data-device-id="smk-1" data-mark="passed" data-unshown' in page
    marked = {"csrf": csrf, "device": "smk-2", "mark": "failed", "note": HOSTILE}
    assert client.post(f"{walk}/marks", data=marked, follow_redirects=False).status_code == 303
    assert HOSTILE not in client.get(walk).text
    assert client.get(walk.replace("gw-1", "gw-2")).status_code == 404
    client.post(f"{walk}/end", data={"csrf": csrf})
    client.post("/install/gw-1/sheets", data={"csrf": csrf, "note": "n"})
    page = client.get("/install/gw-1").text
    assert 'data-state="signing"' in page
    tick(service.db, now_ms() + 3_600_000)
    sheet = re.search(r'data-sheet="(\d+)" data-state="unsigned"', client.get("/install/gw-1").text)
    assert sheet
    client.post(f"/install/gw-1/sheets/{sheet[1]}/sign", data={"csrf": csrf})
    done = client.post(
        "/install/gw-1/maintenance", data={"csrf": csrf, "minutes": "30", "reason": "换电池", "device": "smk-1"},
        follow_redirects=False,
    )  # fmt: skip
    assert done.status_code == 303
    assert client.post("/install/gw-1/check", data={"csrf": csrf}, follow_redirects=False).status_code == 303
    replaced = {"csrf": csrf, "device": "smk-1", "address": "sensors/other", "note": "坏了"}
    answer = client.post("/install/gw-1/replace", data=replaced, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    assert "坏了" in client.get("/install/gw-1").text
