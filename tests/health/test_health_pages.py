"""The pages of the fleet's health: the worst first, every measure, the ledger; hostile words are text (S5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud import timers
from cloud.console.fleet_health import figure
from cloud.console.i18n import WORDS
from cloud.devices.health import judging, rules
from cloud.devices.health.alarms import ALARMS
from cloud.devices.health.models import MeasureView
from cloud.devices.health.rules import State
from cloud.org.rules import Role
from firmware_specs.wire import Status
from firmware_specs.wire_vitals import Start, StartReason, Vitals
from tests.browser.consoleweb import GATEWAY, Web, now_ms, serving
from tests.health.test_health_rules import CASES, GOOD, NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client

HOSTILE = '"><script>hit()</script>{{7*7}}'


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A console whose gateway is short of disk."""
    with serving(tmp_path_factory.mktemp("console")) as made:
        starts = (Start(now_ms() - 9_000, StartReason.CRASH, HOSTILE),)
        vitals = Vitals(disk_free=1, disk_size=100, written=((1, 5), (2, 6)), written_budget=5, starts=starts)
        made.heard(vitals=vitals, degraded=HOSTILE, connectors={HOSTILE: "refused"})
        with made.db.begin() as tx:
            status = Status(True, "0.1.0", "b", "h", now_ms(), degraded=HOSTILE, vitals=vitals)
            judging.took(tx, GATEWAY, status, now_ms())
            timers.tick(tx, now_ms() + judging.SOON_MS)
        yield made


@pytest.fixture(scope="module")
def browser(web: Web) -> Client:
    """Somebody of the property staff."""
    return web.user("wang", Role.PROPERTY)


def test_the_list_and_the_gateway_say_what_is_wrong_S5(browser: Client) -> None:
    listed = browser.get("/fleet", params={"state": "bad"})
    assert listed.status_code == 200
    assert f'data-gateway="{GATEWAY}"' in listed.text
    assert "磁盘剩余" in listed.text
    assert f'data-gateway="{GATEWAY}"' not in browser.get("/fleet", params={"state": "good"}).text
    page = browser.get(f"/fleet/{GATEWAY}").text
    assert 'data-health="bad"' in page
    assert "自身出错后" in page
    assert "零丢失" in page
    assert HOSTILE not in page
    assert "&lt;script&gt;hit()" in page
    assert browser.get("/fleet/nothing").status_code == 404
    assert browser.get("/fleet", params={"node": "/77/"}).status_code == 404
    assert f'href="/fleet/{GATEWAY}"' in browser.get(f"/gateways/{GATEWAY}").text


def test_every_word_that_a_measure_needs_is_there() -> None:
    for words in WORDS.values():
        found = [*rules.judge(GOOD, NOW)]
        for _, facts, _, _ in CASES:
            found += rules.judge(GOOD._replace(**facts), NOW)
        for each in found:
            assert words(f"fleet_health.measures.{each.measure}")
            assert not each.reason or words(f"fleet_health.why_words.{each.reason}")
        for reason in StartReason:
            assert words(f"fleet_health.why_words.{reason}")
        for kind in ALARMS:
            assert words(f"kind.{kind}")


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (MeasureView(measure="disk", state=State.GOOD, value=0.5, unit="share"), "50.0 %"),
        (MeasureView(measure="silent", state=State.GOOD, value=1, unit="count", of=10), "1 / 10"),
        (MeasureView(measure="restarts", state=State.GOOD, value=2, unit="count", of=3), "2"),
        (MeasureView(measure="line", state=State.GOOD), ""),
        (MeasureView(measure="signal", state=State.GOOD, value=-71.5, unit="dBm"), "-71.5 dBm"),
    ],
)
def test_figures_read_as_people_read_them(measure: MeasureView, text: str) -> None:
    class Plain:
        count = staticmethod("{:,}".format)

    assert figure(Plain(), measure).replace("\N{MINUS SIGN}", "-") == text  # type: ignore[arg-type]
