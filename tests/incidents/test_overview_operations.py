"""What the overview shows of operations: nothing on a calm day, else incidents, posts, the level and drills."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from cloud.alerts.models import AlarmView
from cloud.console import show
from cloud.console.i18n import WORDS
from cloud.console.ui import OwnThing, Ui
from cloud.incidents import service
from cloud.incidents.drills import service as drills
from cloud.incidents.drills.models import Plan
from cloud.incidents.levels import service as levels
from cloud.incidents.rules import Category
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.paging import at
from cloud.presence.service import PostState
from cloud.presence.store import posts
from firmware_specs.readings import Severity
from tests.browser.consoleweb import Web, now_ms, serving
from tests.cloud.presence_support import add_post

if TYPE_CHECKING:
    from collections.abc import Iterator

CHIEF = Principal("user", 7, "chief", Role.SUPERVISOR)
LI = Principal("user", 8, "li", Role.DISPATCHER)


@pytest.fixture
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serving(tmp_path_factory.mktemp("console")) as made:
        with made.db.begin() as tx:
            names = ("新城街道", "Xincheng")
            tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, names, now_ms=now_ms(), lat=34.26, lon=108.95)
        yield made


def incident(web: Web, category: Category) -> int:
    with web.db.begin() as tx:
        return service.open_by_hand(
            tx, LI, node="/1/", category=category, title=f"{category}", place="三层", severity=Severity.MAJOR,
            now_ms=now_ms(),
        )  # fmt: skip


def test_a_calm_day_shows_nothing_of_operations(web: Web) -> None:
    add_post(web.db, "/1/", now_ms())
    page = web.user("li", Role.DISPATCHER).get("/").text
    assert 'id="operations"' not in page


def test_incidents_stand_there_the_most_urgent_first_with_a_counting_clock_D6(web: Web) -> None:
    li = web.user("li", Role.DISPATCHER)
    late, soon = incident(web, Category.FIRE), incident(web, Category.FACILITY)
    with web.db.begin() as tx:
        service.take(tx, LI, late, now_ms())
        for clock in service.get_incident(tx, LI, soon, now_ms()).clocks[:2]:
            service.stop_clock(tx, LI, soon, now_ms(), name=clock.name, reason="电话确认")
    page = li.get("/").text
    assert re.findall(r'data-incident="(\d+)"', page) == [str(late), str(soon)]
    assert re.search(r'data-clock="on_scene" data-due="\d+"', page)
    assert re.search(r'data-clock="area" data-due="\d+"', page)
    assert WORDS["zh"]("incidents.nobody") in page
    assert WORDS["zh"]("overview.handled_incidents", n=2) in page
    assert "style=" not in page


def test_the_level_in_force_and_a_running_drill_lead_to_their_pages_D7(web: Web) -> None:
    chief = web.user("chief", Role.SUPERVISOR)
    now = now_ms()
    with web.db.begin() as tx:
        asked = levels.declare(tx, LI, "/1/", 2, "暴雨", now_ms=now, ends_at=now + 3_600_000)
    assert WORDS["zh"]("overview.level_waiting", n=1) in chief.get("/").text
    with web.db.begin() as tx:
        levels.approve(tx, CHIEF, asked.id, now)
    page = chief.get("/?lang=en", follow_redirects=True).text
    assert 'class="level of-2"' in page
    assert "Xincheng" in page
    assert WORDS["en"]("overview.level_waiting", n=1) not in page
    assert 'href="/drills/' not in page
    with web.db.begin() as tx:
        named = {"node": "/1/", "kind": "incident", "name": "消防演练", "ends_at": at(now + 3_600_000)}
        drill = drills.plan(tx, CHIEF, Plan.model_validate(named), now).id
    assert f'<a class="card op" href="/drills/{drill}">' in chief.get("/").text
    assert 'class="card op" href="/drills/' not in web.user("tom", Role.PROPERTY).get("/").text


def test_posts_without_their_people_lead_to_the_board_D4(web: Web) -> None:
    made = [add_post(web.db, "/1/", now_ms(), name_zh=f"{n} 号岗").id for n in range(3)]
    states = zip(made, (PostState.UNMANNED, PostState.UNDERSTAFFED, PostState.MANNED), strict=True)
    with web.db.begin() as tx:
        for post, state in states:
            tx.execute(posts.update().where(posts.c.id == post).values(state=state.value))
    page = web.user("li", Role.DISPATCHER).get("/").text
    assert '<a class="card op" href="/presence">' in page
    assert WORDS["zh"]("overview.unmanned", n=1) in page
    assert WORDS["zh"]("overview.understaffed", n=1) in page


@pytest.mark.parametrize(
    ("text", "zh", "en"),
    [
        ("翠华社区/3号楼 · Cuihua/Building 3", "翠华社区/3号楼", "Cuihua/Building 3"),
        ("兴庆巡线 · A1", "兴庆巡线 · A1", "兴庆巡线 · A1"),
        ("翠华/1号楼 · 翠华/2号楼", "翠华/1号楼 · 翠华/2号楼", "翠华/1号楼 · 翠华/2号楼"),
        ("building-3/floor-2", "building-3/floor-2", "building-3/floor-2"),
        ("", "", ""),
    ],
)
def test_a_place_in_both_languages_is_shown_in_one(text: str, zh: str, en: str) -> None:
    assert (show.place("zh", text), show.place("en", text)) == (zh, en)


def alarm(**changes: Any) -> AlarmView:  # noqa: ANN401 - fields of a view
    return AlarmView.model_construct(**{"gateway": "", "device": None, **changes})


def test_an_alarm_of_the_clouds_own_leads_to_what_it_is_about() -> None:
    assert Ui.own_thing(alarm(device="post:12")) == OwnThing("presence.post", "/presence/12")
    assert Ui.own_thing(alarm(device="route:3")) == OwnThing("presence.kind_route", "/presence")
    assert Ui.own_thing(alarm(device="smk-1", gateway="gw-1")) is None
    assert Ui.own_thing(alarm(device="post:1", gateway="gw-1")) is None
    assert Ui.own_thing(alarm()) is None
