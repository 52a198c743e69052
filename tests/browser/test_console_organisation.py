"""The organisation, the map and the audit chain in the console: forms, scope, and Chromium under the strict policy."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, Page, expect

from cloud.console.organisation import drawing
from cloud.devices import service as devices
from cloud.incidents import service as incidents
from cloud.org import service as org
from cloud.org import tree
from cloud.org.audit import audit
from cloud.org.rules import ROOT, SYSTEM, Role
from cloud.org.tree import Kind
from firmware_specs.wire import ReportedDevice
from tests.browser.consolesite import HOSTILE
from tests.browser.consoleweb import GATEWAY, Web, csrf, now_ms, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client, Response

SQUARE = {
    "type": "Polygon",
    "coordinates": [[[108.9, 34.2], [109.0, 34.2], [109.0, 34.3], [108.9, 34.3], [108.9, 34.2]]],
}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serving(tmp_path_factory.mktemp("web")) as made:
        made.heard(ReportedDevice("smk-0001", "generic-smoke-senml", "c", "a", "楼上"))
        with made.db.begin() as tx:
            outline = {"outline": json.dumps(SQUARE), "lat": 34.25, "lon": 108.95}
            top = tree.add_node(
                tx, SYSTEM, ROOT, Kind.DISTRICT, ("未央区", "Weiyang"), now_ms=now_ms(), code="WY", **outline
            )
            names = (HOSTILE, HOSTILE)
            tree.add_node(tx, SYSTEM, top.path, Kind.STREET, names, now_ms=now_ms(), code="WY-1", **outline)
            tree.add_node(tx, SYSTEM, ROOT, Kind.DISTRICT, ("碑林区", "Beilin"), now_ms=now_ms(), code="BL")
            devices.place(tx, SYSTEM, GATEWAY, None, top.path, now_ms())
        yield made


def path_of(web: Web, code: str) -> str:
    with web.db.read() as tx:
        return tree.find_code(tx, SYSTEM, code).path


def page_of(web: Web, code: str) -> str:
    return f"/organisation/{path_of(web, code).strip('/').rpartition('/')[2]}"


def person(web: Web, name: str, role: Role, code: str = "") -> Client:
    """A browser with somebody of a node signed in."""
    with web.db.begin() as tx:
        password = org.add_user(tx, SYSTEM, name, role, now_ms(), node=path_of(web, code) if code else ROOT)
    client = web.browser()
    assert client.post("/sign-in", data={"user": name, "password": password}).status_code == 303
    return client


@pytest.fixture(scope="module")
def boss(web: Web) -> Client:
    return person(web, "boss", Role.ADMINISTRATOR)


def send(client: Client, path: str, page: str, **fields: str) -> Response:
    return client.post(path, data={"csrf": csrf(client.get(page)), **fields})


def test_the_menu_shows_what_serves_somebody(web: Web, boss: Client) -> None:
    seen = {}
    for name, client in (("boss", boss), ("guard", person(web, "guard", Role.PROPERTY))):
        menu = client.get("/more").text.partition('<nav class="nav"')[2].partition("</nav>")[0]
        seen[name] = re.findall(r'href="(/[a-z]*)"', menu)
    assert len(seen["boss"]) == 22
    assert set(seen["boss"]) - set(seen["guard"]) == {
        "/rosters", "/drills", "/reviews", "/silences", "/channels", "/audit", "/install", "/claims", "/configs",
        "/campaigns",
    }  # fmt: skip


def test_the_tree_counts_what_is_at_and_below_a_node(web: Web, boss: Client) -> None:
    web.alarm()
    page = boss.get("/organisation").text
    row = page.partition(">未央区<")[2].partition("</tr>")[0]
    assert re.findall(r">(\d+)<", row) == ["1", "1", "0"], "devices, alarms, users"
    assert "<script>window" not in page
    node = boss.get(page_of(web, "WY")).text
    assert '<path d="M0.0 ' in node
    assert 'href="/devices/gw-0001/smk-0001"' in node


def test_an_outline_is_drawn_with_its_longitudes_shortened() -> None:
    numbers = [float(n) for n in re.findall(r"[\d.]+", drawing(json.dumps(SQUARE)))]
    assert max(numbers[1::2]) == 240.0
    assert max(numbers[::2]) == pytest.approx(240 * 0.8265, abs=0.1), "the cosine of 34.25°"
    assert drawing(None) == ""


def test_a_node_is_made_changed_and_archived_with_forms(web: Web, boss: Client) -> None:
    fields = {"parent": path_of(web, "WY"), "kind": "street", "code": "WY-2", "name_zh": "大明宫", "name_en": ""}
    assert boss.post("/organisation", data=fields).status_code == 403, "without the form's token"
    assert send(boss, "/organisation", "/organisation", **fields).headers["location"] == "/organisation"
    node = page_of(web, "WY-2")
    feature = json.dumps({"type": "Feature", "geometry": SQUARE, "properties": {}})
    changed = {"name_zh": "大明宫街道", "population": "1200", "settlement": "urban", "code": "WY-2", "outline": feature}
    assert send(boss, node, node, **changed).status_code == 303
    shown = boss.get(node).text
    assert "1,200" in shown
    assert 'class="outline"' in shown
    for wrong, said in (
        ({"population": "many"}, "population"),
        ({"outline": "{}"}, "outline"),
        ({"name_zh": ""}, "name_zh"),
    ):
        answer = send(boss, node, node, **{**changed, **wrong})
        assert (answer.status_code, said in answer.text) == (422, True), wrong
    assert send(boss, f"{node}/places", node, gateway=GATEWAY, device="smk-0001").status_code == 303
    assert send(boss, f"{node}/archive", node).status_code == 409
    assert send(boss, f"{page_of(web, 'WY')}/places", node, gateway=GATEWAY, device="smk-0001").status_code == 303
    assert send(boss, f"{node}/archive", node).status_code == 303
    assert boss.get(node).status_code == 404


def test_users_and_tokens_are_made_where_they_belong_and_told_once(web: Web, boss: Client) -> None:
    node = page_of(web, "WY")
    answer = send(boss, f"{node}/users", node, name="wang", role="dispatcher")
    password = re.search(r'<code class="mono">([\w-]{20})</code>', answer.text)
    assert password
    assert password[1] not in boss.get(node).text
    client = web.browser()
    assert client.post("/sign-in", data={"user": "wang", "password": password[1]}).status_code == 303
    assert "碑林区" not in client.get("/organisation").text
    answer = send(boss, f"{node}/tokens", node, name="bridge", role="auditor", days="30")
    token = re.search(r'<code class="mono">(pg_[\w-]+)</code>', answer.text)
    assert token
    headers = {"Authorization": f"Bearer {token[1]}"}
    assert web.browser().get("/api/v1/session", headers=headers).json()["node"] == path_of(web, "WY")
    revoke = re.search(r'action="([^"]*/revoke)"', boss.get(node).text)
    assert revoke
    assert send(boss, revoke[1], node).status_code == 303
    assert web.browser().get("/api/v1/session", headers=headers).status_code == 401
    send(boss, f"{node}/users/change", node, name="wang", role="supervisor", subject="x|1", node=path_of(web, "BL"))
    with web.db.read() as tx:
        user = org.get_user(tx, SYSTEM, "wang")
    assert (user.role, user.subject, user.node) == (Role.SUPERVISOR, "x|1", path_of(web, "BL"))
    assert send(boss, f"{node}/users/disable", node, name="wang").status_code == 303
    assert send(boss, f"{node}/users/disable", node, name="boss").status_code == 409, "oneself"
    assert send(boss, f"{node}/users/dance", node, name="wang").status_code == 422


def test_an_administrator_of_a_part_finds_only_that_part_S4(web: Web) -> None:
    client = person(web, "part", Role.ADMINISTRATOR, "BL")
    assert "未央区" not in client.get("/organisation").text
    for page in (page_of(web, "WY"), "/organisation/0"):
        assert client.get(page).status_code == 404
        assert send(client, page, "/organisation", name_zh="mine").status_code == 404
        assert send(client, f"{page}/users", "/organisation", name="x", role="auditor").status_code == 404
    assert send(client, f"{page_of(web, 'BL')}/users/password", "/organisation", name="boss").status_code == 404


def test_the_audit_chain_is_read_filtered_verified_and_exported_S11(web: Web, boss: Client) -> None:
    page = boss.get("/audit", params={"action": "node", "target": "node/"}).text
    assert "node.add" in page
    assert "sign-in" not in page.partition("<tbody>")[2]
    lines = boss.get("/audit/export", params={"action": "user.add"}).text.splitlines()
    assert {json.loads(line)["action"] for line in lines} == {"user.add"}
    assert 'id="verdict">链完整' in send(boss, "/audit", "/audit").text
    with web.db.begin() as tx:
        tx.execute(audit.update().where(audit.c.id == 2).values(detail="else"))
    assert "第 2 条记录处断开" in send(boss, "/audit", "/audit").text
    assert boss.get("/audit", params={"from": "someday"}).status_code == 422
    assert person(web, "viewer", Role.DISPATCHER).get("/audit").status_code == 403
    local = person(web, "auditor", Role.AUDITOR, "BL").get("/audit").text
    assert "boss" not in local.partition("<tbody>")[2]


@pytest.fixture
def seen(browser: Browser, web: Web) -> Iterator[Page]:
    """A page of Chromium that may not complain, with a dispatcher signed in."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.on("console", lambda m: complaints.append(m.text) if m.type in {"error", "warning"} else None)
    context.on("weberror", lambda e: complaints.append(str(e.error)))
    client = person(web, f"d{now_ms()}", Role.DISPATCHER)
    context.add_cookies([{"name": c.name, "value": c.value or "", "url": web.url} for c in client.cookies.jar])
    yield context.new_page()
    context.close()
    assert not complaints, complaints


def test_the_map_draws_our_data_under_the_strict_policy_S5(web: Web, seen: Page) -> None:
    with web.db.begin() as tx:
        incidents.open_by_hand(
            tx, SYSTEM, node=path_of(web, "WY"), category="crowd", title=HOSTILE, lat=34.26, lon=108.94, now_ms=now_ms()
        )
    seen.goto(f"{web.url}/map")
    expect(seen.locator("#map[data-drawn]")).to_be_attached()
    expect(seen.locator("path.map-node")).to_have_count(2)
    expect(seen.locator(".map-mark")).to_have_count(1)
    seen.locator(".map-incident.is-major").click()
    expect(seen.locator(".map-popup strong")).to_have_text(HOSTILE)
    seen.keyboard.press("Escape")
    seen.locator("input[name=nodes]").uncheck()
    expect(seen.locator("path.map-node")).to_have_count(0)
    seen.locator("input[name=members]").check()
    expect(seen.locator("#map-problem")).to_be_hidden()
    seen.locator(".leaflet-control-zoom-in").click()
    assert seen.evaluate("window.hit") is None
    seen.set_viewport_size({"width": 320, "height": 640})
    assert seen.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_new_pages_fit_a_phone(web: Web, browser: Browser, boss: Client) -> None:
    context = browser.new_context(viewport={"width": 320, "height": 640}, has_touch=True)
    context.add_cookies([{"name": c.name, "value": c.value or "", "url": web.url} for c in boss.cookies.jar])
    page = context.new_page()
    for path in ("/organisation", page_of(web, "WY"), "/audit", "/more"):
        page.goto(web.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
        assert page.evaluate("window.hit") is None
    assert page.locator(".nav a:visible").count() == 5
    page.locator(".doors a", has_text="审计").click()
    expect(page.locator("h1")).to_have_text("审计")
    context.close()
