"""The roster pages: planning a duty by its forms, what who may do, and what of a member they show (P4, P5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from cloud.console.i18n import WORDS
from cloud.devices import service as devices
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Role
from cloud.presence.rosters import service as rosters
from cloud.presence.rosters.models import MemberChange
from firmware_specs.readings import Position, Reading
from firmware_specs.wire import ReportedDevice
from tests.browser.consolesite import HOSTILE, Watch
from tests.browser.consoleweb import GATEWAY, Web, csrf, now_ms, post, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client
    from playwright.sync_api import Browser, Page

HOUR = 3_600_000


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A console that knows a street with people and a gateway with an armband."""
    with serving(tmp_path_factory.mktemp("rosters")) as made:
        made.heard(ReportedDevice("arm-0001", "owntracks-armband"))
        with made.db.begin() as tx:
            tree.add_node(
                tx, SYSTEM, ROOT, tree.Kind.STREET, (HOSTILE, "Street"), now_ms=now_ms(), population=10_000,
                settlement="urban",
            )  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def planner(web: Web) -> Client:
    return web.user("zhao", Role.SUPERVISOR)


def street(web: Web) -> str:
    with web.db.read() as tx:
        return tree.list_nodes(tx, SYSTEM)[0].path


def test_a_duty_is_planned_by_the_forms_begun_handed_over_and_ended(web: Web, planner: Client) -> None:
    token = csrf(planner.get("/rosters"))
    for sign in ("雁-1", "雁-2"):
        answer = post(planner, "/rosters/members", token, {"call_sign": sign, "node": street(web)})
        assert answer.status_code == 303, answer.text[-800:]
    thing = {"gateway": GATEWAY, "device": "arm-0001", "kind": "armband", "node": street(web)}
    assert post(planner, "/rosters/equipment", token, thing).status_code == 303
    page = planner.get("/rosters").text
    members = dict(re.findall(r'<option value="(\d+)">(雁-\d)', page))
    (armband,) = re.findall(r'<option value="(\d+)">arm-0001', page)
    (day,) = re.findall(r'name="day" value="([\d-]+)"', page)
    first, second = sorted(members, key=lambda member: members[member])
    shift = {"member": first, "armband": armband, "starts": f"{day}T00:00", "ends": f"{day}T23:59", "note": HOSTILE}
    assert post(planner, "/rosters/shifts", token, shift).status_code == 303
    refused = post(planner, "/rosters/shifts", token, shift | {"member": second})
    assert refused.status_code == 409
    later = {"member": second, "starts": f"{day}T00:00", "ends": f"{day}T23:59"}
    assert post(planner, "/rosters/shifts", token, later).status_code == 303
    page = planner.get("/rosters").text
    assert '<b id="running">2</b>' in page
    assert "<script>window.hit" not in page
    ids = sorted(set(re.findall(r"/rosters/shifts/(\d+)/end", page)), key=int)
    assert post(planner, f"/rosters/shifts/{ids[0]}/begin", token, {}).status_code == 303
    handed = post(planner, f"/rosters/shifts/{ids[0]}/handover", token, {"to": ids[1], "note": "平安"})
    assert handed.status_code == 303
    page = planner.get("/rosters").text
    assert WORDS["zh"]("rosters.handed_to", call_sign="雁-2") in page
    assert "平安" in page
    assert WORDS["zh"]("rosters.short", n=4) in page, "5 are due for 10,000 people and one is on duty"
    assert post(planner, f"/rosters/shifts/{ids[1]}/end", token, {"note": ""}).status_code == 303
    assert '<b id="running">0</b>' in planner.get("/rosters").text
    assert planner.get("/rosters", params={"day": "2020-01-01"}).text.count(WORDS["zh"]("rosters.none")) == 1
    assert planner.get("/rosters", params={"day": "none", "node": "/9/"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/rosters/members", {"call_sign": "", "node": "/"}, 422), ("/rosters/members", {"node": "/"}, 422),
        ("/rosters/members", {"call_sign": "x", "node": "/77/"}, 404),
        ("/rosters/equipment", {"gateway": GATEWAY, "device": "no name", "kind": "armband", "node": "/"}, 422),
        ("/rosters/equipment", {"gateway": GATEWAY, "device": "d", "kind": "gun", "node": "/"}, 422),
        ("/rosters/shifts", {"member": "1", "starts": "soon", "ends": ""}, 422),
        ("/rosters/shifts", {"member": "1", "where": "post:x", "starts": "2026-01-01T00:00", "ends": "x"}, 422),
        ("/rosters/shifts/99/begin", {}, 404), ("/rosters/reveal", {"pseudonym": "k", "reason": "x"}, 422),
    ],
)  # fmt: skip
def test_a_form_that_is_wrong_is_refused(planner: Client, path: str, fields: dict[str, str], status: int) -> None:
    token = csrf(planner.get("/rosters"))
    assert post(planner, path, token, fields).status_code == status
    assert post(planner, path, "0" * 64, {"member": "1", "call_sign": "x", "node": "/"} | fields).status_code in {
        403, 422,
    }  # fmt: skip


def test_who_may_not_plan_sees_no_form_and_is_refused(web: Web, planner: Client) -> None:
    technician = web.user("qian", Role.TECHNICIAN)
    for path in ("/rosters", "/rosters/members", "/rosters/equipment"):
        page = technician.get(path)
        assert page.status_code == 200
        assert 'action="/rosters/' not in page.text.replace('action="/rosters/members">\n  <label>', "")
    token = csrf(technician.get("/rosters"))
    assert post(technician, "/rosters/members", token, {"call_sign": "x", "node": "/"}).status_code == 403
    assert post(technician, "/rosters/shifts/1/end", token, {}).status_code == 403


def test_P4_a_page_never_names_whose_a_pseudonym_is_but_on_record(web: Web, planner: Client) -> None:
    with web.db.begin() as tx:
        member = rosters.list_members(tx, SYSTEM, now_ms()).items[0]
        rosters.put_pseudonym(tx, SYSTEM, "k-4f1d", member.id, now_ms())
    for path in ("/rosters", "/rosters/members", "/rosters/equipment"):
        assert "k-4f1d" not in planner.get(path).text
    token = csrf(planner.get("/rosters"))
    given = {"pseudonym": "k-4f1d", "reason": "lost keys", "case_number": "7"}
    assert member.call_sign in post(planner, "/rosters/reveal", token, given).text
    nobody = post(planner, "/rosters/reveal", token, given | {"pseudonym": "k-0"})
    assert WORDS["zh"]("rosters.revealed_nobody") in nobody.text


def test_P5_a_member_sees_on_a_page_who_looked(web: Web, planner: Client) -> None:
    now = now_ms()
    with web.db.begin() as tx:
        member = rosters.list_members(tx, SYSTEM, now).items[0]
        (thing,) = rosters.list_equipment(tx, SYSTEM, now).items
        rosters.plan(tx, SYSTEM, rosters.Plan(member.id, now, now + HOUR, armband=thing.id), now)
        fix = Reading("arm-0001", "position", Position(34.256789, 108.9, 5.0), "", now, now)
        devices.apply_readings(tx, GATEWAY, "e", [(1, fix)], now)
    wearer = web.user("sun", Role.PROPERTY)
    assert WORDS["zh"]("rosters.looks_nobody") in wearer.get("/rosters/looks").text
    with web.db.begin() as tx:
        rosters.change_member(tx, SYSTEM, member.id, MemberChange(user="sun"), now)
    assert WORDS["zh"]("rosters.looks_none") in wearer.get("/rosters/looks").text
    assert "34.25679" not in wearer.get(f"/devices/{GATEWAY}/arm-0001").text
    assert "34.25679" not in planner.get("/devices").text
    assert "34.25679" in planner.get(f"/devices/{GATEWAY}/arm-0001").text
    page = wearer.get("/rosters/looks").text
    assert "<b>zhao</b>" in page
    assert f"device/{GATEWAY}/arm-0001" in page


@pytest.fixture(scope="module")
def chromium(web: Web, planner: Client, browser: Browser) -> Iterator[tuple[Page, Watch]]:
    """A phone's page, signed in as the planner; it may not complain."""
    watch = Watch()
    context = browser.new_context(viewport={"width": 320, "height": 640})
    context.on("console", watch.console)
    context.on("weberror", lambda error: watch.complaints.append(f"exception: {error.error}"))
    context.on("request", watch.request)
    secret = planner.cookies["patrolgrid_session"]
    context.add_cookies([{"name": "patrolgrid_session", "value": secret, "url": web.url}])
    yield context.new_page(), watch
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/rosters", "/rosters/members", "/rosters/equipment", "/rosters/looks"])
def test_the_pages_fit_a_phone_and_do_not_complain(web: Web, chromium: tuple[Page, Watch], path: str) -> None:
    page, watch = chromium
    page.goto(f"{web.url}{path}?lang=en")
    expect(page.locator("#line")).to_have_attribute("data-state", "on")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    low = page.evaluate(
        """() => [...document.querySelectorAll('main button, main select, main input:not([type=hidden]), main summary')]
          .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 43.5)
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert low == []
    assert page.evaluate("window.hit") is None
    assert not watch.complaints
    assert watch.hosts <= {web.url}
