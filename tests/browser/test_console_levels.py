"""The pages of levels and drills: what they say, what their forms do, and to whom; over HTTP, and once in Chromium."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
from playwright.sync_api import expect

from cloud.console.i18n import WORDS
from cloud.incidents.drills import service as drills
from cloud.incidents.levels import service as levels
from cloud.org import tree
from cloud.org.rules import SYSTEM, Role
from cloud.paging import at
from tests.browser.consoleweb import Web, csrf, now_ms, post, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client
    from playwright.sync_api import Browser

HOSTILE = '"><script>window.hit=1</script>{{7*7}}'


class Street(NamedTuple):
    """A console with a street, and who works there."""

    web: Web
    node: str
    home: str
    dispatcher: Client
    supervisor: Client
    administrator: Client


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with serving(tmp_path_factory.mktemp("levels")) as web:
        with web.db.begin() as tx:
            node = tree.add_node(tx, SYSTEM, "/", tree.Kind.STREET, ("翠华街道", "Cuihua"), now_ms=now_ms()).path
            home = tree.add_node(tx, SYSTEM, node, tree.Kind.COMMUNITY, (HOSTILE, HOSTILE), now_ms=now_ms()).path
        yield Street(
            web, node, home, web.user("li", Role.DISPATCHER), web.user("sun", Role.SUPERVISOR),
            web.user("root", Role.ADMINISTRATOR),
        )  # fmt: skip


def later(hours: int) -> str:
    """A time as a browser's field gives it, in the site's zone."""
    return f"{at(now_ms()) + timedelta(hours=8 + hours):%Y-%m-%dT%H:%M}"


def declare(street: Street, node: str, level: int, **more: str) -> int:
    """Through the form; the declaration's id."""
    page = street.dispatcher.get("/levels")
    fields = {
        "node": node,
        "level": str(level),
        "reason": f"大型活动 {HOSTILE}",
        "scope": "商圈",
        "ends": later(5),
        **more,
    }
    assert post(street.dispatcher, "/levels", csrf(page), fields).status_code == 303
    with street.web.db.read() as tx:
        return levels.list_declarations(tx, SYSTEM, now_ms()).items[0].id


def test_a_level_is_declared_by_one_and_approved_by_another(street: Street) -> None:
    made = declare(street, street.node, 2)
    own = street.dispatcher.get("/levels")
    assert WORDS["zh"]("levels.yours") in own.text
    assert f"/levels/{made}/approve" not in own.text
    assert post(street.dispatcher, f"/levels/{made}/approve", csrf(own), {}).status_code == 403
    seen = street.supervisor.get("/levels")
    assert f'action="/levels/{made}/approve"' in seen.text
    assert HOSTILE not in seen.text
    assert post(street.supervisor, f"/levels/{made}/reject", csrf(seen), {}).status_code == 422
    assert post(street.supervisor, f"/levels/{made}/approve", csrf(seen), {"note": "同意"}).status_code == 303
    again = post(street.supervisor, f"/levels/{made}/approve", csrf(seen), {})
    assert again.status_code == 409
    page = street.dispatcher.get("/levels?lang=en", follow_redirects=True).text
    tree_part = page.partition('id="tree"')[2].partition('id="history"')[0]
    rows = dict(re.findall(r'data-node="([^"]+)".*?class="level of-(\d)"', tree_part, re.DOTALL))
    assert rows == {"/": "4", street.node: "2", street.home: "2"}
    assert "Cuihua, above" in tree_part
    street.dispatcher.get("/levels?lang=zh", follow_redirects=True)
    blocked = street.dispatcher.get("/levels/hint", params={"node": street.home, "level": 3}).text
    assert "上级 翠华街道 正在执行 2 级" in blocked
    refused = post(
        street.dispatcher, "/levels", csrf(own), {"node": street.home, "level": "3", "reason": "x", "ends": later(1)}
    )
    assert refused.status_code == 409
    assert post(
        street.dispatcher, f"/levels/{made}/renew", csrf(own), {"ends": later(30), "reason": "延长"}
    ).status_code == 303  # fmt: skip
    assert post(street.dispatcher, f"/levels/{made}/end", csrf(own), {"note": "结束"}).status_code == 303
    with street.web.db.read() as tx:
        assert levels.effective(tx, street.home, now_ms()) == 4


def test_the_form_says_at_once_what_needs_approval(street: Street) -> None:
    wanted = {"node": street.node}
    assert "须由主管批准" in street.dispatcher.get("/levels/hint", params={**wanted, "level": 1}).text
    assert "立即生效" in street.dispatcher.get("/levels/hint", params={**wanted, "level": 4}).text
    assert street.dispatcher.get("/levels/hint", params={**wanted, "level": 9}).status_code == 422
    page = csrf(street.dispatcher.get("/levels"))
    for wrong in ({"ends": "morgen"}, {"ends": ""}, {"reason": " "}, {"ends": later(24 * 31)}, {"level": "7"}):
        fields = {"node": street.node, "level": "2", "reason": "x", "ends": later(1)} | wrong
        assert post(street.dispatcher, "/levels", page, fields).status_code == 422, wrong
    assert post(street.dispatcher, "/levels", "0" * 64, {"node": street.node, "level": "4"}).status_code == 403


def test_what_levels_demand_is_shown_in_plain_numbers_and_changed_by_administrators(street: Street) -> None:
    page = street.administrator.get("/levels", params={"node": street.node})
    assert "全部岗位定员共 10 人时须 15 人" in page.text
    columns = {
        "headcount": ["100", "120", "160", "200"], "revisit": ["100", "80", "60", "40"],
        "reporting": ["300", "120", "60", "30"], "escalation": ["100", "80", "60", "40"],
    }  # fmt: skip
    path = "/levels/policies"
    fields = {"csrf": csrf(page), "back": "/levels", "node": street.node, **columns}
    assert street.administrator.post(path, data=fields).status_code == 303
    assert "160%" in street.administrator.get("/levels", params={"node": street.home}).text
    refused = street.administrator.post(path, data={**fields, "headcount": ["100", "120", "110", "200"]})
    assert refused.status_code == 422
    assert "headcount_percent" in refused.text
    for wrong in (["0"] * 4, ["100"]):
        assert street.administrator.post(path, data={**fields, "headcount": wrong}).status_code == 422
    assert street.supervisor.post(path, data=fields).status_code == 403
    assert street.administrator.post(path, data={**fields, "inherit": "1"}).status_code == 303
    approver = {"node": street.home, "role": "dispatcher"}
    assert post(street.administrator, "/levels/approver", csrf(page), approver).status_code == 303
    assert "须由调度员批准" in street.dispatcher.get("/levels/hint", params={"node": street.home, "level": 2}).text
    assert post(street.administrator, "/levels/approver", csrf(page), {**approver, "role": ""}).status_code == 303


def test_a_drill_is_planned_run_and_scored(street: Street) -> None:
    page = street.supervisor.get("/drills")
    fields = {"node": street.node, "name": f"消防 {HOSTILE}", "kind": "incident", "category": "fire", "ends": later(1)}
    made = post(street.supervisor, "/drills", csrf(page), fields)
    assert made.status_code == 303
    path = made.headers["location"]
    running = street.dispatcher.get(path)
    assert WORDS["zh"]("drills.sheet_running") in running.text
    assert 'class="tag drill"' in running.text
    assert HOSTILE not in running.text
    assert f'action="{path}/end"' not in running.text
    assert post(street.dispatcher, f"{path}/end", csrf(page), {}).status_code == 403
    assert post(street.supervisor, f"{path}/end", csrf(page), {"back": path}).status_code == 303
    assert WORDS["zh"]("drills.sheet") in street.dispatcher.get(path).text
    listed = street.dispatcher.get("/drills").text
    assert path in listed.partition('id="ended"')[2]
    assert 'id="plan"' not in listed


def test_a_planned_drill_is_started_or_called_off(street: Street) -> None:
    token = csrf(street.supervisor.get("/drills"))
    fields = {"node": street.node, "name": "脚本", "kind": "script", "starts": later(2), "ends": later(3)}
    path = post(street.supervisor, "/drills", token, fields).headers["location"]
    assert post(street.supervisor, "/drills", token, fields).status_code == 409
    assert "script" not in street.supervisor.get(path).text.partition("<main")[2].replace("脚本", "")
    assert post(street.supervisor, f"{path}/start", token, {}).status_code == 303
    assert post(street.supervisor, f"{path}/end", token, {}).status_code == 303
    for wrong in ({"kind": "x"}, {"name": " "}, {"ends": ""}, {"ends": later(48)}):
        assert post(street.supervisor, "/drills", token, fields | wrong).status_code == 422, wrong
    assert street.supervisor.get("/drills/999").status_code == 404
    with street.web.db.read() as tx:
        assert all(each.state == "ended" for each in drills.list_drills(tx, SYSTEM).items)


def test_both_pages_fit_a_phone_and_a_desk_and_the_hint_follows_the_choice(street: Street, browser: Browser) -> None:
    session = street.administrator.cookies["patrolgrid_session"]
    context = browser.new_context(viewport={"width": 320, "height": 640}, color_scheme="dark")
    complaints: list[str] = []
    context.on("console", lambda m: complaints.append(m.text) if m.type in {"error", "warning"} else None)
    context.add_cookies([{"name": "patrolgrid_session", "value": session, "url": street.web.url}])
    page = context.new_page()
    for path, width in itertools.product(("/levels", "/drills"), (320, 1280)):
        page.set_viewport_size({"width": width, "height": 640})
        page.goto(street.web.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
    page.goto(street.web.url + "/levels")
    page.select_option("select[name=level]", "4")
    expect(page.locator("#declare-hint")).to_contain_text("立即生效")
    page.select_option("select[name=level]", "1")
    expect(page.locator("#declare-hint")).to_contain_text("须由主管批准")
    context.close()
    assert complaints == []
