"""The pages of silences, maintenance and chains, and what an alarm's page says of who is told and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from cloud import timers
from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter
from cloud.console.i18n import WORDS
from cloud.devices.places import Place
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Role
from firmware_specs.readings import Severity
from firmware_specs.wire import ReportedDevice
from tests.browser.consolesite import HOSTILE
from tests.browser.consoleweb import GATEWAY, Web, csrf, now_ms, post, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client

DEVICES = tuple(
    ReportedDevice(f"smk-000{n}", "generic-smoke-senml", "sensors", f"sensors/smk-000{n}", "3 号楼") for n in (1, 2)
)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A console that knows a gateway with two detectors."""
    with serving(tmp_path_factory.mktemp("console")) as made:
        made.heard(*DEVICES)
        with made.db.begin() as tx:
            tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, ("幸福街道", HOSTILE), now_ms=now_ms())
        yield made


@pytest.fixture(scope="module")
def dispatcher(web: Web) -> Client:
    return web.user("li", Role.DISPATCHER)


@pytest.fixture(scope="module")
def administrator(web: Web) -> Client:
    return web.user("chen", Role.ADMINISTRATOR)


@pytest.fixture(scope="module")
def auditor(web: Web) -> Client:
    return web.user("anna", Role.AUDITOR)


def test_a_silence_is_made_says_what_stays_loud_and_is_ended(web: Web, dispatcher: Client) -> None:
    fire, door = web.alarm("smk-0001"), web.alarm("smk-0001", "door-open", rule="p/door")
    page = dispatcher.get("/silences")
    fields = {"purpose": "silence", "gateway": GATEWAY, "reason": HOSTILE, "seconds": "7200"}
    answer = post(dispatcher, "/silences", csrf(page), fields)
    assert answer.status_code == 303
    shown = dispatcher.get(answer.headers["location"]).text
    assert "现有 1 起告警不再通知，1 起照常通知" in shown
    assert "火警" in shown.partition("永不静默：")[2]
    assert HOSTILE not in shown
    listed = dispatcher.get("/alarms?show=silenced").text
    assert f'href="/alarms/{door}"' in listed
    assert f'href="/alarms/{fire}"' not in listed
    assert '<span class="tag quiet">已静默</span>' in listed
    assert f'href="/alarms/{fire}"' in dispatcher.get("/alarms?show=loud&node=/").text
    why = dispatcher.get(f"/alarms/{door}").text
    assert "被静默：" in why
    assert HOSTILE not in why
    ended = re.search(r'action="(/silences/\d+/end)"', shown)
    assert ended
    assert post(dispatcher, ended[1], csrf(page), {}).status_code == 303
    assert WORDS["zh"]("silences.loud") in dispatcher.get(f"/alarms/{door}").text
    assert "已结束 · li" in dispatcher.get("/silences?show=all").text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reason": " ", "seconds": "7200"}, "reason"), ({"reason": "x", "seconds": "99999999"}, "seconds"),
        ({"reason": "x", "seconds": "7200", "device": "smk-0001"}, "device"),
        ({"reason": "x", "seconds": "7200", "node": "x"}, "node"),
        ({"reason": "x", "seconds": "7200", "purpose": "peace"}, "purpose"),
    ],
)  # fmt: skip
def test_a_silence_that_makes_no_sense_is_refused_with_the_part_that_is_wrong(
    dispatcher: Client, fields: dict[str, str], said: str
) -> None:
    answer = post(dispatcher, "/silences", csrf(dispatcher.get("/silences")), {"purpose": "silence", **fields})
    assert answer.status_code == 422
    assert said in answer.text


def test_who_may_not_silence_sees_no_form_and_is_refused(web: Web, auditor: Client) -> None:
    page = auditor.get("/silences")
    assert page.status_code == 200
    assert 'id="new"' not in page.text
    fields = {"purpose": "silence", "reason": "x", "seconds": "7200"}
    assert post(auditor, "/silences", csrf(page), fields).status_code == 403
    assert post(auditor, "/chains", csrf(page), {"name": "x", "after": "0", "roles": "0:dispatcher"}).status_code in {
        403,
        422,
    }
    technician = web.user("zhao", Role.TECHNICIAN)
    offered = technician.get("/silences").text.partition('name="purpose"')[2].partition("</select>")[0]
    assert re.findall(r'value="(\w+)"', offered) == ["maintenance"]
    assert post(technician, "/silences", "0" * 64, fields).status_code == 403


def test_a_chain_is_made_changed_and_removed(administrator: Client, dispatcher: Client) -> None:
    token = csrf(administrator.get("/chains"))
    sent = {
        "csrf": token, "name": "夜间", "min_severity": "major", "kinds": "fire， sos", "repeat_s": "300",
        "after": ["0", "120", "", "", ""], "up": ["0", "1", "0", "0", "0"],
        "roles": ["0:dispatcher", "1:supervisor", "1:dispatcher"],
    }  # fmt: skip
    assert administrator.post("/chains", data=sent).status_code == 303
    page = dispatcher.get("/chains").text
    assert "夜间" in page
    assert "2 分钟后 → 主管、调度员 (上 1 级)" in page
    assert 'id="form"' not in page
    edit = re.search(r"/chains\?edit=(\d+)", administrator.get("/chains").text)
    assert edit
    form = administrator.get(edit[0]).text
    assert 'value="1:supervisor" checked' in form
    assert 'value="fire, sos"' in form
    assert administrator.post(f"/chains/{edit[1]}", data={**sent, "name": "白天"}).status_code == 303
    assert administrator.post(f"/chains/{edit[1]}", data={**sent, "after": [""]}).status_code == 422
    assert "白天" in administrator.get("/chains").text
    assert administrator.post(f"/chains/{edit[1]}/remove", data={"csrf": token}).status_code == 303
    assert WORDS["zh"]("silences.chain.none") in administrator.get("/chains").text
    assert administrator.get(edit[0]).status_code == 404


def test_an_alarm_says_who_is_told_next_and_of_its_group(web: Web, dispatcher: Client) -> None:
    first, second = (web.alarm(f"smk-000{n}", "smoke", drill=True) for n in (1, 2))
    page = dispatcher.get(f"/alarms/{first}").text
    assert WORDS["zh"]("silences.chain_built_in", severity="紧急") in page
    assert "第 2/3 步：主管" in page
    assert WORDS["zh"]("silences.group_head", n=2) in page
    with web.db.begin() as tx:
        timers.tick(tx, now_ms() + 121_000)
    page = dispatcher.get(f"/alarms/{first}").text
    assert "<blockquote>第 2/3 步：主管 · 全部 · 0 个渠道</blockquote>" in page
    other = dispatcher.get(f"/alarms/{second}").text
    assert f"<blockquote>第 2/3 步：主管 · 全部 · #{first}</blockquote>" in other
    assert f"同组告警 {first} 代为通知" in other
    assert "同组 2 起" in dispatcher.get("/alarms?show=drill").text
    dispatcher.get("/?lang=en")
    assert f"alarm {first} of its group tells for it" in dispatcher.get(f"/alarms/{second}").text
    dispatcher.cookies.pop("patrol_lang", None)


def test_an_alarm_of_no_gateway_has_no_dead_link_anywhere(web: Web, administrator: Client) -> None:
    now = now_ms()
    with web.db.begin() as tx:
        alerts.raise_own(
            tx, "", "post:12", "post-unmanned", Severity.MAJOR, at_ms=now, now_ms=now, where=Place("/1/", "东门岗")
        )  # fmt: skip
        alarm = alerts.list_alarms(tx, SYSTEM, AlarmFilter(kind="post-unmanned")).items[0].id
    for path in (f"/alarms/{alarm}", "/alarms", "/"):
        page = administrator.get(path)
        assert page.status_code == 200
        assert "东门岗" in page.text
        assert not re.search(r'href="/(devices|gateways)/(/|")', page.text)
    shown = administrator.get(f"/alarms/{alarm}").text
    assert "post:12" not in shown
    assert 'href="/presence/12"' in shown
    assert "幸福街道" in shown
    assert 'href="/silences?node=%2F1%2F&amp;kind=post-unmanned#new"' in shown


@pytest.mark.parametrize("path", ["/silences", "/chains", "/alarms"])
def test_hostile_names_and_addresses_are_text_S5(administrator: Client, path: str) -> None:
    query = "?lang=en&show=all&made=x&edit=&node=%22%3E%3Cimg&group=%3Cscript%3E"
    page = administrator.get(path + query, follow_redirects=True)
    assert page.status_code == 200
    assert "<img" not in page.text
    assert "<script>" not in page.text
    administrator.cookies.pop("patrol_lang", None)
