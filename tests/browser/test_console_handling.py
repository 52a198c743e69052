"""What the console lets people do to an alarm, what it says of one, and of what a gateway's outage hides."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import pytest

from cloud.alerts import service as alerts
from cloud.console.i18n import WORDS
from cloud.devices import liveness
from cloud.devices import service as devices
from cloud.org.rules import SYSTEM, Role
from edge.gateway import Gateway
from edge.uplink import Uplink
from firmware_specs.readings import Evidence, Severity
from firmware_specs.wire import LaneStatus, ReportedDevice
from tests.browser.consoleweb import GATEWAY, Web, csrf, now_ms, post, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from httpx import Client

DEVICES = tuple(
    ReportedDevice(f"smk-000{n}", "generic-smoke-senml", "sensors", f"sensors/smk-000{n}", "3 号楼") for n in (1, 2, 3)
)
SEVERITY = Severity.MINOR
REFUSED = {"doors": "opc.tcp://127.0.0.1:4840: the connection was refused"}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A console that knows a gateway with three detectors."""
    with serving(tmp_path_factory.mktemp("console")) as made:
        made.heard(
            *DEVICES, connectors={"sensors": "up", **REFUSED}, lanes={"alarms": LaneStatus()},
            counters={"frames_refused": 3, "timer_lateness_ms": 12, "of_tomorrow": 7},
        )  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def dispatcher(web: Web) -> Client:
    """Who may assign, shelve and clear; another who may be assigned exists."""
    web.user("wang", Role.TECHNICIAN)
    return web.user("li", Role.DISPATCHER)


@pytest.fixture(scope="module")
def auditor(web: Web) -> Client:
    """Who may look."""
    return web.user("anna", Role.AUDITOR)


def test_an_alarm_is_assigned_to_somebody_to_me_and_to_nobody(web: Web, dispatcher: Client, auditor: Client) -> None:
    path = f"/alarms/{web.alarm()}"
    page = dispatcher.get(path)
    offered = re.findall(r'<option value="(\w*)"', page.text.partition('name="user"')[2].partition("</select>")[0])
    assert {"", "li", "wang"} <= set(offered)
    assert "anna" not in offered
    for user in ("wang", "li", ""):
        assert post(dispatcher, f"{path}/assign", csrf(page), {"user": user}).status_code == 303
        with web.db.read() as tx:
            assert alerts.get_alarm(tx, SYSTEM, int(path.rsplit("/", maxsplit=1)[-1])).assigned_to == (user or None)
    assert auditor.get(path).text.count("指派") >= 3


@pytest.mark.parametrize("user", ["nobody-here", "anna", "'; drop table users"])
def test_an_alarm_is_not_assigned_to_who_is_unknown_or_may_not_handle_it(
    web: Web, dispatcher: Client, auditor: Client, user: str
) -> None:
    path = f"/alarms/{web.alarm()}"
    answer = post(dispatcher, f"{path}/assign", csrf(auditor.get("/") and dispatcher.get(path)), {"user": user})
    assert answer.status_code == 422
    assert WORDS["zh"]("alarm.assign_unknown") in answer.text


def test_an_alarm_is_shelved_with_a_reason_marked_and_brought_back(web: Web, dispatcher: Client) -> None:
    alarm = web.alarm()
    path = f"/alarms/{alarm}"
    token = csrf(dispatcher.get(path))
    assert post(dispatcher, f"{path}/shelve", token, {"seconds": "7200"}).status_code == 422
    assert post(dispatcher, f"{path}/shelve", token, {"seconds": "99999999", "comment": "x"}).status_code == 422
    assert post(dispatcher, f"{path}/shelve", token, {"seconds": "7200", "comment": "更换探头"}).status_code == 303
    page = dispatcher.get(path).text
    assert "更换探头" in page
    assert 'id="shelve"' not in page
    assert re.search(r'<span class="tag shelved"[^>]*>搁置至 ', dispatcher.get("/alarms").text)
    assert post(dispatcher, f"{path}/shelve", token, {"seconds": "0"}).status_code == 303
    assert 'id="shelve"' in dispatcher.get(path).text
    with web.db.read() as tx:
        assert alerts.get_alarm(tx, SYSTEM, alarm).shelved_until is None


def test_an_auditor_sees_no_buttons_and_is_refused_whatever_is_sent(web: Web, auditor: Client) -> None:
    alarm = web.alarm()
    page = auditor.get(f"/alarms/{alarm}")
    assert f'action="/alarms/{alarm}/' not in page.text
    assert WORDS["zh"]("alarm.readonly") in page.text
    sent = {
        "ack": {}, "clear": {}, "comment": {"comment": "x"}, "assign": {"user": "anna"},
        "shelve": {"seconds": "1800", "comment": "x"},
    }  # fmt: skip
    for act, fields in sent.items():
        assert post(auditor, f"/alarms/{alarm}/{act}", csrf(page), fields).status_code == 403, act
    with web.db.read() as tx:
        unchanged = alerts.get_alarm(tx, SYSTEM, alarm)
    assert (unchanged.state, unchanged.assigned_to, len(unchanged.history)) == ("open", None, 1)


@pytest.mark.parametrize("act", ["assign", "shelve"])
def test_a_form_from_elsewhere_neither_assigns_nor_shelves(web: Web, dispatcher: Client, act: str) -> None:
    fields = {"user": "li", "seconds": "1800", "comment": "x"}
    assert post(dispatcher, f"/alarms/{web.alarm()}/{act}", "0" * 64, fields).status_code == 403


@pytest.mark.parametrize(("lang", "late", "drill"), [("zh", "迟到", "演练"), ("en", "Late", "Drill")])
def test_late_alarms_and_drills_say_so_in_either_language(
    web: Web, dispatcher: Client, lang: str, late: str, drill: str
) -> None:
    alarm = web.alarm("smk-0002", at=now_ms() - 3_600_000, drill=True)
    dispatcher.get(f"/?lang={lang}")
    for path in ("/", "/alarms", f"/alarms/{alarm}"):
        page = dispatcher.get(path).text
        assert re.search(rf'<span class="tag late"[^>]*>{late}</span>', page), path
        assert re.search(rf'<span class="tag drill"[^>]*>{drill}</span>', page), path
    dispatcher.cookies.pop("patrol_lang", None)


def test_what_a_gateways_outage_hides_is_said_and_gone_when_it_is_back(web: Web, dispatcher: Client) -> None:
    now = now_ms()
    with web.db.begin() as tx:
        alerts.raise_own(tx, GATEWAY, "smk-0003", "device-silent", SEVERITY, at_ms=now, now_ms=now)
        liveness.went_offline(tx, GATEWAY, at_ms=now, now_ms=now)
    said = f"网关 {GATEWAY} 离线，3 台设备因此无法联络。"
    overview = dispatcher.get("/").text
    assert said in overview
    assert said in dispatcher.get(f"/gateways/{GATEWAY}").text
    link = re.search(r'href="/alarms/(\d+)">网关离线', overview)
    assert link, overview
    page = dispatcher.get(f"/alarms/{link[1]}").text
    assert WORDS["zh"]("alarm.folded_head", n=1) in page
    assert "smk-0003" in page
    assert said in page
    assert "平台 · " in page, "the platform judged it, not the gateway"
    assert (
        "Devices unreachable because their gateway gw-0001 is offline: 3."
        in dispatcher.get(
            "/", headers={"Cookie": "; ".join(f"{k}={v}" for k, v in dispatcher.cookies.items()) + "; patrol_lang=en"}
        ).text
    )
    with web.db.begin() as tx:
        liveness.came_online(tx, GATEWAY, now_ms())
    assert said not in dispatcher.get("/").text


def test_an_alarm_of_a_gateway_that_was_removed_is_still_there(tmp_path: Path) -> None:
    with serving(tmp_path) as other:
        viewer = other.user("anna", Role.AUDITOR)
        alarm = other.alarm("", "uplink-down", rule="patrolgrid-gateway/uplink-down")
        with other.db.begin() as tx:
            devices.remove_gateway(tx, SYSTEM, GATEWAY, now_ms())
        assert viewer.get(f"/alarms/{alarm}").status_code == 200


def test_a_gateways_counters_and_faults_read_as_words(dispatcher: Client) -> None:
    page = dispatcher.get(f"/gateways/{GATEWAY}").text
    assert "拒收报文" in page
    assert WORDS["zh"]("counter_hint.frames_refused") in page
    assert "12 ms" in page
    assert "of_tomorrow" in page
    assert f'<p class="fault-text">{REFUSED["doors"]}</p>' in page
    assert WORDS["zh"]("gateway.connector_fault") in page


def test_every_counter_that_an_agent_tells_has_words_and_an_explanation() -> None:
    told = re.findall(r'"([a-z_]+)":', inspect.getsource(Gateway.counters) + inspect.getsource(Uplink.__init__))
    assert len(told) >= 12
    for words in WORDS.values():
        assert not [name for name in told if words.name("counter", name) == name]
        assert not [name for name in told if words.name("counter_hint", name) == name]


def test_an_alarms_picture_has_its_metric_limits_and_the_time_around_it(web: Web, dispatcher: Client) -> None:
    at = now_ms() - 60_000
    alarm = web.alarm("smk-0001", at=at, evidence=(Evidence("smoke", 9.1, at),))
    page = dispatcher.get(f"/alarms/{alarm}").text
    assert 'data-metric="smoke"' in page
    assert f'data-raised="{at}"' in page
    assert f'data-from="{at - 900_000}"' in page
    assert re.findall(r'data-limit="([\d.]+)"', page) == ["8.0", "4.0"]
    words = web.alarm("smk-0001", "odd", rule="no-such-profile/x")
    assert 'id="moment"' not in dispatcher.get(f"/alarms/{words}").text
