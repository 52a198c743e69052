"""The charts and the phone's filters in a real browser: ranges, gaps, themes, languages, an alarm's moment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from firmware_specs.readings import Evidence, Lane
from tests.browser.chrome import box_of
from tests.browser.gatewaytalk import GatewayTalk, now_ms, reading

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.consolesite import Site, Watch

pytestmark = [pytest.mark.browser, pytest.mark.system]

MINUTE = 60_000
COLOURS = """selector => { const c = document.querySelector(selector + ' canvas'); if (!c) return {};
    const s = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });
    s.drawImage(c, 0, 0); const d = s.getImageData(0, 0, c.width, c.height).data, n = {};
    for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200) {
      const k = [d[i], d[i + 1], d[i + 2]].join(); n[k] = (n[k] || 0) + 1; }
    return n; }"""
LIGHT, DARK = "23,90,184", "110,168,254"
"""The accent of each theme, as pixels."""


@pytest.fixture(autouse=True)
def _looks_often(watch: Watch) -> None:
    """The tests read pixels many times; Chromium has an advice for that."""
    watch.expected = ("willReadFrequently",)


def opened(page: Page, site: Site, path: str) -> None:
    """Open a page and wait until its stream is."""
    page.goto(site.url + path)
    expect(page.locator("#line")).to_have_attribute("data-state", "on")


def drawn_in(page: Page, colour: str, selector: str = "#chart", least: int = 100) -> None:
    """Wait until a chart has a line of a colour."""
    page.wait_for_function(f"([s, c, n]) => (({COLOURS})(s)[c] ?? 0) > n", arg=[selector, colour, least])


def range_of(page: Page) -> str | None:
    """The range that is pressed."""
    return page.locator("[data-hours][aria-pressed=true]").get_attribute("data-hours")


def test_a_short_history_fills_the_smallest_range_and_an_old_one_a_wider(
    page: Page, site: Site, gateway: GatewayTalk
) -> None:
    now = now_ms()
    gateway.send(Lane.TELEMETRY, [reading("smk-0001", "smoke", 0.1 * n, at=now - n * MINUTE) for n in range(9)])
    gateway.send(Lane.TELEMETRY, [reading("smk-0001", "battery", 80.0, at=now - 200 * MINUTE)])
    opened(page, site, "/devices/gw-0001/smk-0001")
    drawn_in(page, LIGHT)
    assert range_of(page) == "0.25"
    expect(page.get_by_role("button", name="15 分钟")).to_be_visible()
    page.select_option("#chart-metric", "battery")
    expect(page.locator("[data-hours='6']")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="24 小时").click()
    page.select_option("#chart-metric", "smoke")
    expect(page.locator("#chart-summary")).not_to_have_text("")
    assert range_of(page) == "24", "a range that somebody chose stays"


def test_what_was_not_heard_is_a_gap_and_no_line(page: Page, site: Site, gateway: GatewayTalk) -> None:
    now = now_ms()
    # A temperature comes each minute, and at the latest every five within its deadband: eight minutes apart is steady
    # or slow, nine minutes is silence.
    minutes = (55, 54, 53, 46, 45, 30, 29, 28, 2, 1)
    gateway.send(
        Lane.TELEMETRY, [reading("tmp-0001", "temperature", 20.0 + n / 10, at=now - n * MINUTE) for n in minutes]
    )
    gateway.send(Lane.TELEMETRY, [reading("door-0001", "open", n % 2 == 0, at=now - n * MINUTE) for n in (9, 8, 7, 1)])
    opened(page, site, "/devices/gw-0001/tmp-0001")
    page.get_by_role("button", name="1 小时").click()
    expect(page.locator("#chart")).to_have_attribute("data-gaps", "2")
    expect(page.locator("#chart-summary")).to_contain_text("有 2 处没有数据")
    opened(page, site, "/devices/gw-0001/door-0001")
    expect(page.locator("#chart")).to_have_attribute("data-gaps", "1")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_history_draws_in_both_themes_and_languages(
    page: Page, site: Site, gateway: GatewayTalk, lang: str
) -> None:
    now = now_ms()
    gateway.send(Lane.TELEMETRY, [reading("smk-0001", "smoke", 0.1 * n, at=now - n * MINUTE) for n in range(9)])
    opened(page, site, f"/devices/gw-0001/smk-0001?lang={lang}")
    expect(page.locator("html")).to_have_attribute("lang", {"zh": "zh-CN", "en": "en"}[lang])
    drawn_in(page, LIGHT)
    page.locator("#theme").click()
    drawn_in(page, DARK)
    expect(page.locator("#chart-summary")).to_contain_text({"zh": "最高", "en": "high"}[lang])


def test_an_alarms_page_draws_its_moment_with_the_limit(page: Page, site: Site, gateway: GatewayTalk) -> None:
    now = now_ms()
    curve = [reading("smk-0002", "smoke", 10.0 - n, at=now - n * MINUTE) for n in range(9)]
    gateway.send(Lane.TELEMETRY, curve)
    evidence = (Evidence("smoke", 10.0, now),)
    gateway.alarm("smk-0002", rule="generic-smoke-senml/smoke-high", evidence=evidence)
    page.locator("#overview .alarm-row", has_text="smk-0002").get_by_role("link").first.click()
    drawn_in(page, LIGHT, "#moment-chart")
    drawn_in(page, "192,21,47", "#moment-chart", 50)  # the limit and the moment
    expect(page.locator(".limits")).to_contain_text("触发限 8.00 %/m")
    page.locator("#theme").click()
    drawn_in(page, DARK, "#moment-chart")


def test_an_alarm_is_assigned_and_shelved_on_its_page(page: Page, site: Site, gateway: GatewayTalk) -> None:
    gateway.alarm("tmp-0001", "heat", rule="generic-temperature-json/heat")
    page.locator("#overview .alarm-row", has_text="tmp-0001").get_by_role("link").first.click()
    page.get_by_role("button", name="由我负责").click()
    expect(page.locator("#alarm .tag.assigned")).to_have_text("admin")
    page.locator("#shelve summary").click()
    page.select_option("#shelve select", "1800")
    page.locator("#shelve input[name=comment]").fill("检修")
    page.locator("#shelve button").click()
    expect(page.locator("#alarm .tag.shelved")).to_have_text(re.compile("^搁置至 "))
    page.get_by_role("button", name="立即取消搁置").click()
    expect(page.locator("#alarm .tag.shelved")).to_have_count(0)


def test_a_phone_shows_devices_first_and_the_filters_on_demand(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    opened(page, site, "/devices")
    box = box_of(page.locator("#device-list"))
    assert box["y"] < 170, "search and a button are all that stands before the devices"
    expect(page.locator("select[name=state]")).to_be_hidden()
    page.get_by_role("button", name="筛选").first.click()
    page.select_option("select[name=category]", "smoke")
    expect(page).to_have_url(re.compile("category=smoke"))
    expect(page.locator(".more-toggle .badge")).to_have_text("1")
    expect(page.locator("tr[data-device]")).to_have_count(2)


def test_a_long_fault_of_a_connector_is_read_whole_on_a_phone(page: Page, site: Site, gateway: GatewayTalk) -> None:
    fault = "opc.tcp://192.168.100.200:4840/freeopcua/server: BadSecurityChecksFailed: the certificate was refused " * 2
    gateway.status(connectors={"sensors": "up", "doors": fault}, counters={"frames_refused": 3})
    page.set_viewport_size({"width": 360, "height": 740})
    opened(page, site, "/gateways/gw-0001")
    text = page.locator(".fault-text")
    expect(text).to_have_text(fault.strip())
    box = box_of(text)
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    assert page.evaluate("e => e.scrollWidth <= e.clientWidth", text.element_handle())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
