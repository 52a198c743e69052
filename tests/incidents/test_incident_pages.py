"""The pages of incidents over HTTP: what they show, what their forms do, and who may."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from cloud.console.i18n import DIRECTORY, WORDS, flatten
from cloud.console.incident_show import figure, mood
from cloud.console.pages import STATIC
from cloud.incidents import service
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Role
from tests.browser.consoleweb import Web, csrf, now_ms, post, serving
from tests.incidents.incidents_support import patrol, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client, Response

    from cloud.incidents.models import IncidentDetail

HOSTILE = '"><script>hit()</script>{{7*7}}'


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A console with a building and two members on duty."""
    with serving(tmp_path_factory.mktemp("console")) as made:
        with made.db.begin() as tx:
            node = tree.add_node(
                tx, SYSTEM, ROOT, tree.Kind.BUILDING, ("3 号楼", HOSTILE), now_ms=now_ms(), lat=34.26, lon=108.95
            )
        members = patrol(made.db, node.path, ["巡01", "巡02"], at=now_ms())
        seen(made.db, members[0], now_ms(), away_m=100)
        yield made


@pytest.fixture(scope="module")
def li(web: Web) -> Client:
    """A dispatcher."""
    return web.user("li", Role.DISPATCHER)


@pytest.fixture(scope="module")
def chief(web: Web) -> Client:
    """A supervisor."""
    return web.user("chief", Role.SUPERVISOR)


def get(web: Web, incident: int) -> IncidentDetail:
    with web.db.read() as tx:
        return service.get_incident(tx, SYSTEM, incident, now_ms())


def act(browser: Client, incident: int, verb: str, **fields: str) -> Response:
    page = browser.get(f"/incidents/{incident}")
    return post(browser, f"/incidents/{incident}/{verb}", csrf(page), {"back": "", **fields})


def opened(web: Web, browser: Client, title: str = "3 楼冒烟", node: str = "/1/") -> int:
    page = browser.get("/incidents")
    fields = {"text": title, "node": node, "category": "fire", "severity": "critical", "place": "三层"}
    answer = post(browser, "/incidents", csrf(page), fields)
    assert answer.status_code == 303, answer.text
    return int(answer.headers["location"].rpartition("/")[2])


def test_the_desk_shows_open_incidents_with_their_clocks(web: Web, li: Client) -> None:
    web.alarm(kind="door-forced", drill=True, rule="x/y")
    incident = opened(web, li, HOSTILE)
    page = li.get("/incidents?lang=en", follow_redirects=True)
    assert page.status_code == 200
    assert f'data-incident="{incident}"' in page.text
    assert page.text.count('data-clock="on_scene"') >= 2
    assert re.search(r'data-due="\d+" data-target="300" data-left="left" data-over="overdue"', page.text)
    assert "<script>hit" not in page.text
    assert "style=" not in page.text
    assert li.get("/incidents?drill=real&lang=zh", follow_redirects=True).text.count("data-incident=") >= 1
    assert f'data-incident="{incident}"' not in li.get("/incidents?state=closed").text
    assert li.get("/incidents?state=x&category=y&drill=z").status_code == 200


def test_what_was_taken_late_is_listed_for_the_review_of_missed_reports(web: Web, li: Client) -> None:
    began = now_ms() - 600_000
    with web.db.begin() as tx:
        late = service.open_by_hand(
            tx, SYSTEM, node="/1/", category="crowd", title=HOSTILE, now_ms=began, event_at=began
        )
        service.take(tx, SYSTEM, late, began + 180_000)
    page = li.get("/incidents/missed?lang=en", follow_redirects=True)
    assert page.status_code == 200
    assert f'href="/incidents/{late}"' in page.text
    assert "Taken late" in page.text
    assert "2 min too late" in page.text
    assert "<script>hit" not in page.text
    assert 'href="/incidents/missed"' in li.get("/incidents").text


def test_an_incident_goes_from_taking_to_closing_by_its_page(web: Web, li: Client, chief: Client) -> None:
    incident = opened(web, li)
    assert act(li, incident, "take").headers["location"] == f"/incidents/{incident}"
    assert get(web, incident).owner == "li"
    found = li.get(f"/incidents/{incident}/nearest")
    assert "130" in found.text
    assert found.text.count(" checked") == 1
    members = re.findall(r'name="members" value="(\d+)"', found.text)
    sent = li.post(f"/incidents/{incident}/dispatch", data={"csrf": csrf(found), "members": members})
    assert sent.status_code == 303
    assert act(li, incident, "accept", member=members[0]).status_code == 303
    assert act(li, incident, "release", member=members[1]).status_code == 303
    assert act(li, incident, "tick", line="0", done="true").status_code == 303
    assert act(li, incident, "comment", text="厨房").status_code == 303
    assert act(li, incident, "stop", clock="on_scene", text="").status_code == 422
    assert act(li, incident, "stop", clock="on_scene", text="电台报告").status_code == 303
    assert act(chief, incident, "take").status_code == 409
    assert act(chief, incident, "take", text="换班").status_code == 303
    assert act(chief, incident, "handover", user="li").status_code == 303
    assert act(li, incident, "close", text="油烟", follow_up="").status_code == 422
    assert act(li, incident, "close", text="油烟", follow_up="加装隔板").status_code == 303
    whole = get(web, incident)
    assert (whole.state, whole.cause, whole.follow_up) == ("closed", "油烟", "加装隔板")
    for lang in ("zh", "en"):
        page = li.get(f"/incidents/{incident}?lang={lang}", follow_redirects=True).text
        for row in whole.timeline:
            assert WORDS[lang](f"incidents.action.{row.action}") in page
        assert "电台报告" in page
    assert act(li, incident, "reopen", text="复燃").status_code == 303
    assert get(web, incident).state == "on_scene"


def test_who_may_not_respond_only_looks(web: Web, li: Client) -> None:
    incident = opened(web, li)
    anna = web.user("anna", Role.AUDITOR)
    page = anna.get(f"/incidents/{incident}")
    assert page.status_code == 200
    assert "<form" not in page.text.partition('id="content"')[2].partition('id="announce"')[0]
    assert anna.get(f"/incidents/{incident}/nearest").status_code == 403
    token = csrf(page)
    assert post(anna, f"/incidents/{incident}/take", token, {}).status_code == 403
    assert post(li, f"/incidents/{incident}/take", "0" * 64, {}).status_code == 403
    assert li.get("/incidents/999999").status_code == 404


def test_plans_are_shown_to_all_and_kept_by_administrators(web: Web, li: Client) -> None:
    page = li.get("/incidents/plans")
    assert page.text.count('<td class="lead">') == 5
    assert 'name="checklist"' not in page.text
    root = web.user("root", Role.ADMINISTRATOR)
    page = root.get("/incidents/plans?node=/1/&category=medical")
    fields = {
        "node": "/1/", "category": "medical", "name_zh": "养老院", "checklist": "叫 120 | Call 120\n\n带 AED",
        "calls": "dispatcher", "on_scene": "240", "kinds": "sos, fall",
    }  # fmt: skip
    assert post(root, "/incidents/plans", csrf(page), {**fields, "on_scene": "0"}).status_code == 422
    assert post(root, "/incidents/plans", csrf(page), {**fields, "checklist": "x" * 500}).status_code == 422
    assert post(root, "/incidents/plans", csrf(page), fields).headers["location"] == "/incidents/plans"
    with web.db.read() as tx:
        [plan] = [plan for plan in service.list_plans(tx, SYSTEM) if plan.id]
    assert [(step.zh, step.en) for step in plan.checklist] == [("叫 120", "Call 120"), ("带 AED", "带 AED")]
    assert plan.kinds == ("sos", "fall")
    assert "叫 120 | Call 120" in root.get("/incidents/plans?node=/1/&category=medical").text
    assert post(root, f"/incidents/plans/{plan.id}/drop", csrf(page), {}).status_code == 303


def test_both_languages_have_the_same_words() -> None:
    texts = [dict(flatten(tomllib.loads((DIRECTORY / f"{code}.incidents.toml").read_text()))) for code in ("zh", "en")]
    assert texts[0].keys() == texts[1].keys()
    for key in texts[0]:
        assert re.findall(r"\{\w+\}", texts[0][key]) == re.findall(r"\{\w+\}", texts[1][key]), key


@pytest.mark.parametrize(
    ("seconds", "wanted"), [(0, "0:00"), (59.9, "0:59"), (-61, "1:01"), (3599, "59:59"), (3600, "1:00:00")]
)
def test_a_clock_reads_as_minutes_and_seconds(seconds: float, wanted: str) -> None:
    assert figure(seconds) == wanted


def test_a_clock_is_calm_then_soon_over_then_over() -> None:
    assert [mood(left, 300) for left in (300, 75, 74.9, 0.1, 0, -5)] == ["calm", "calm", "soon", "soon", "over", "over"]
    assert "left < target * SOON" in (STATIC / "js/clocks.js").read_text()
