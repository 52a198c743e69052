"""The console in a real browser, fed by real packs through a real broker."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from cloud.console import show
from cloud.console.i18n import WORDS
from firmware_specs.readings import AlarmPhase, Evidence, Lane, Quality, Severity
from tests import support
from tests.browser.consolesite import HOSTILE, Site, Watch
from tests.browser.gatewaytalk import GatewayTalk, now_ms, reading

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.system]

PAGES = (
    "/", "/alarms", "/alarms?state=all", "/devices", "/devices?category=smoke&state=normal&q=smk", "/gateways",
    "/devices/gw-0001/smk-0001", "/devices/gw-0001/smk-0002", "/devices/gw-0001/door-0001", "/devices/gw-0001/odd-0001",
    "/devices/gw-0001/arm-0001", "/gateways/gw-0001",
)  # fmt: skip
RULE = "generic-smoke-senml/detector-alarm"


def live(page: Page, site: Site, path: str) -> None:
    """Open a page and wait until its stream is."""
    page.goto(site.url + path)
    expect(page.locator("#line")).to_have_attribute("data-state", "on")


def test_S7_a_wrong_password_is_said_and_a_right_one_goes_on_to_where_one_wanted(
    context: BrowserContext, site: Site, watch: Watch, gateway: GatewayTalk
) -> None:
    watch.expected = ("401",)
    page = context.new_page()
    page.goto(site.url + "/devices?q=smk")
    page.fill("input[name=user]", "admin")
    page.fill("input[name=password]", "wrong")
    page.click("button.primary")
    expect(page.get_by_role("alert")).to_have_text("用户名或密码不正确。")
    page.fill("input[name=password]", site.password)
    page.click("button.primary")
    expect(page).to_have_url(site.url + "/devices?q=smk")


def test_sign_in_never_leads_to_another_site(context: BrowserContext, site: Site) -> None:
    page = context.new_page()
    page.goto(site.url + "/sign-in?next=//elsewhere.example/")
    page.fill("input[name=user]", "admin")
    page.fill("input[name=password]", site.password)
    page.click("button.primary")
    expect(page).to_have_url(site.url + "/")


def test_D1_an_alarm_appears_is_told_and_is_acknowledged_without_a_reload(
    page: Page, context: BrowserContext, site: Site, gateway: GatewayTalk
) -> None:
    page.evaluate("window.sameDocument = true")
    other = context.new_page()
    live(other, site, "/alarms")
    evidence = (Evidence("alarm", True, now_ms()),)
    occurrence = gateway.alarm("smk-0001", rule=RULE, evidence=evidence)
    row = page.locator("#overview .alarm-row.state-open", has_text="smk-0001")
    expect(row).to_have_count(1)
    expect(page.locator(".hero")).to_have_class(re.compile("critical"))
    expect(page.locator("#announce")).to_contain_text("3 号楼 2 层")
    expect(page.locator("#alarm-badge")).to_have_text("1")
    expect(other.locator(".alarm-row", has_text="smk-0001").get_by_role("button")).to_be_visible()
    row.get_by_role("button", name="确认").click()
    expect(page.locator("#overview .alarm-row.state-acknowledged", has_text="smk-0001")).to_have_count(1)
    expect(page.locator("#alarm-badge")).to_be_hidden()
    expect(other.locator(".alarm-row.state-acknowledged", has_text="smk-0001")).to_have_count(1)
    gateway.alarm("smk-0001", rule=RULE, occurrence=occurrence, phase=AlarmPhase.CLEARED)
    expect(page.locator(".hero")).not_to_have_class(re.compile("critical|handled"))
    assert page.evaluate("window.sameDocument") is True


def test_an_alarm_shows_why_takes_a_remark_and_is_cleared_by_hand(page: Page, site: Site, gateway: GatewayTalk) -> None:
    evidence = (Evidence("forced", True, now_ms()),)
    gateway.alarm("door-0001", "door-forced", Severity.MAJOR, rule="generic-door-opcua/forced", evidence=evidence)
    page.locator("#overview .alarm-row", has_text="door-0001").get_by_role("link").click()
    expect(page.locator("#alarm")).to_contain_text("强行闯入 为 强行打开")
    page.fill("textarea", HOSTILE)
    page.get_by_role("button", name="添加备注").click()
    expect(page.locator(".timeline blockquote")).to_have_text(HOSTILE)
    expect(page.locator("textarea")).to_have_value("")
    page.locator("#clear summary").click()
    page.locator("#clear input[name=comment]").fill("误报")
    page.locator("#clear").get_by_role("button", name="手动解除").click()
    expect(page.locator("#alarm .pill.is-cleared")).to_be_visible()
    assert page.evaluate("window.hit") is None


def test_values_change_in_place_with_their_age_and_quality(page: Page, site: Site, gateway: GatewayTalk) -> None:
    live(page, site, "/devices")
    page.evaluate("window.sameDocument = true")
    gateway.value("tmp-0001", "temperature", 23.75, unit="Cel")
    row = page.locator('[data-device="gw-0001/tmp-0001"]')
    expect(row.locator("[data-metric=temperature] .value")).to_have_text("23.8 °C")
    gateway.value("tmp-0001", "temperature", 999.0, unit="Cel", quality=Quality.BAD)
    expect(row.locator("[data-metric=temperature] .value.q-bad")).to_have_text("999.0 °C")
    expect(row.locator("[data-state]")).to_have_text("故障")
    gateway.value("tmp-0001", "temperature", 24.0, unit="Cel")
    expect(row.locator("time[data-seen]")).to_have_text(re.compile(r"^\d+ 秒前$"))
    assert page.evaluate("window.sameDocument") is True


def test_an_old_value_says_that_it_is_old(page: Page, site: Site, gateway: GatewayTalk) -> None:
    gateway.value("smk-0001", "battery", 80.0, unit="%EL", at=now_ms() - 3 * 3_600_000)
    live(page, site, "/devices/gw-0001/smk-0001")
    age = page.locator("[data-metric=battery] time.age")
    expect(age).to_have_class(re.compile("stale"))
    expect(age).to_have_text("3 小时前")


def test_history_draws_for_figures_flags_and_texts(page: Page, site: Site, gateway: GatewayTalk) -> None:
    begin = now_ms() - 3_000_000
    curve = [
        reading("smk-0001", "smoke", 0.1 + 0.01 * (n % 7), unit="%obs/m", at=begin + n * 60_000) for n in range(45)
    ]
    flags = [reading("door-0001", "open", n % 5 == 0, at=begin + n * 60_000) for n in range(20)]
    texts = [reading("door-0001", "credential", f"p-{n // 5}{HOSTILE}", at=begin + n * 60_000) for n in range(20)]
    gateway.send(Lane.TELEMETRY, [*curve, *flags, *texts])
    live(page, site, "/devices/gw-0001/smk-0001")
    drawn = """() => { const c = document.querySelector('#chart canvas'); if (!c) return 0;
        const s = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });
        s.drawImage(c, 0, 0); const d = s.getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }"""
    page.wait_for_function(f"() => ({drawn})() > 2000")
    expect(page.locator("#chart-summary")).to_contain_text("最低 0.10 %/m")
    page.get_by_role("button", name="24 小时").click()
    expect(page.get_by_role("button", name="24 小时")).to_have_attribute("aria-pressed", "true")
    page.wait_for_function(f"() => ({drawn})() > 2000")
    live(page, site, "/devices/gw-0001/door-0001")
    page.wait_for_function(f"() => ({drawn})() > 1000")
    page.select_option("#chart-metric", "credential")
    expect(page.locator("#chart-events tr")).to_have_count(4)
    assert page.evaluate("window.hit") is None


def test_the_language_is_switched_and_remembered(page: Page, site: Site) -> None:
    expect(page.locator("h1")).to_have_text("总览")
    page.get_by_role("link", name="English").click()
    expect(page.locator("h1")).to_have_text("Overview")
    assert "lang" not in page.url
    live(page, site, "/devices/gw-0001/smk-0001")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("#device-now")).to_contain_text("Temperature")
    page.get_by_role("link", name="中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")


def test_dark_and_light_follow_the_system_and_the_switch(page: Page, browser: Browser, site: Site) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background)
    assert light != dark
    page.locator("#theme").click()
    assert page.evaluate(background) == light
    page.reload()
    assert page.evaluate(background) == light
    expect(page.locator("html")).to_have_attribute("data-theme", "light")


def test_on_a_phone_nothing_overflows_and_everything_can_be_touched(
    page: Page, site: Site, gateway: GatewayTalk
) -> None:
    gateway.alarm("smk-0002", rule=RULE)
    page.set_viewport_size({"width": 360, "height": 740})
    paths = [*PAGES, page.locator(".alarm-row a").first.get_attribute("href") or ""]
    for path in paths:
        live(page, site, path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{path} is {wide} px wide"
        small = page.evaluate(
            """() => [...document.querySelectorAll('button, .nav a, select, input:not([type=hidden]), summary, .tool')]
              .filter((e) => e.checkVisibility()).map((e) => [e.getBoundingClientRect(), e.outerHTML.slice(0, 80)])
              .filter(([r]) => r.height < 43.5).map(([r, h]) => `${r.width}x${r.height} ${h}`)"""
        )
        assert not small, f"{path}: {small}"


@pytest.mark.timeout(240)
def test_S5_hostile_strings_are_inert_on_every_page_in_both_languages(
    page: Page, site: Site, watch: Watch, gateway: GatewayTalk
) -> None:
    watch.expected = ("404",)
    gateway.value("smk-0002", "temperature", HOSTILE)
    gateway.value("odd-0001", "note", HOSTILE)
    gateway.alarm("smk-0002", "fire", rule=RULE, evidence=(Evidence("temperature", HOSTILE, now_ms()),))
    gateway.alarm("odd-0001", "<b>odd</b>", Severity.MINOR, rule="<script>window.hit=1</script>/x")
    live(page, site, "/alarms?state=all")
    links = page.locator(".alarm-row .what a").evaluate_all("all => all.map((each) => each.getAttribute('href'))")
    assert len(links) >= 2
    for lang in ("en", "zh"):
        page.goto(f"{site.url}/?lang={lang}")
        for path in (*PAGES, *links, f"/devices?q={HOSTILE}", f"/alarms?kind={HOSTILE}&cursor=", "/alarms/999999999"):
            page.goto(site.url + path)
            page.wait_for_load_state("load")
            assert page.evaluate("window.hit") is None, path
            assert page.locator("img, b:text-is('odd')").count() == 0, path
            assert "49" not in page.locator(".where").all_inner_texts(), path
    gateway.value("odd-0001", "note", HOSTILE + "live")
    live(page, site, "/devices/gw-0001/odd-0001")
    gateway.value("odd-0001", "note", HOSTILE + "again")
    expect(page.locator("[data-metric=note] .value")).to_have_text(HOSTILE + "again")
    assert page.evaluate("window.hit") is None


def test_S5_control_a_script_that_got_into_a_page_is_refused_and_noticed(page: Page, watch: Watch) -> None:
    page.evaluate("""() => { const s = document.createElement('script');
        s.textContent = 'window.hit = 1';
        document.body.append(s);
        document.body.insertAdjacentHTML('beforeend', '<img src="data:," onerror="window.hit=2">'); }""")

    def noticed() -> bool:
        page.evaluate("0")  # lets the browser's events come in
        return len(watch.complaints) >= 2

    support.wait_for(noticed, 10, "complaints")
    assert any("Content Security Policy" in text for text in watch.complaints), watch.complaints
    assert page.evaluate("window.hit") is None
    watch.complaints.clear()


def test_a_lost_line_is_said_and_what_was_missed_comes_after_the_restart(
    page: Page, site: Site, watch: Watch, gateway: GatewayTalk
) -> None:
    watch.expected = (
        "ERR_CONNECTION_REFUSED",
        "ERR_INCOMPLETE_CHUNKED_ENCODING",
        "Failed to fetch",
        "ERR_CONNECTION_RESET",
    )
    live(page, site, "/alarms")
    page.evaluate("window.sameDocument = true")
    site.stop()
    expect(page.locator("#line")).to_have_attribute("data-state", "lost")
    expect(page.locator("#lost")).to_contain_text("实时连接已中断")
    site.start()
    gateway.alarm("arm-0001", "sos", rule="owntracks-armband/sos")
    expect(page.locator("#line")).to_have_attribute("data-state", "on", timeout=20_000)
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator(".alarm-row", has_text="arm-0001")).to_have_count(1)
    assert page.evaluate("window.sameDocument") is True


def test_a_session_that_ended_leads_to_the_sign_in_page(
    page: Page, context: BrowserContext, site: Site, watch: Watch, gateway: GatewayTalk
) -> None:
    watch.expected = ("401",)
    gateway.alarm("smk-0001", rule=RULE)
    button = page.locator(".alarm-row", has_text="smk-0001").get_by_role("button", name="确认")
    expect(button).to_be_visible()
    context.clear_cookies(name="patrolgrid_session")
    button.click()
    expect(page).to_have_url(re.compile("/sign-in"))


def test_a_form_without_the_sessions_token_is_refused(page: Page, site: Site, gateway: GatewayTalk) -> None:
    gateway.alarm("smk-0002", "fire", rule=RULE)
    href = page.locator(".alarm-row a").first.get_attribute("href")
    answer = page.request.post(f"{site.url}{href}/ack", form={"csrf": "0" * 64})
    assert answer.status == 403


def test_without_scripts_one_signs_in_reads_and_acknowledges(
    browser: Browser, site: Site, gateway: GatewayTalk
) -> None:
    gateway.alarm("tmp-0001", "heat", Severity.MAJOR, rule="generic-temperature-json/heat")
    plain = browser.new_context(java_script_enabled=False)
    page = plain.new_page()
    page.goto(site.url)
    page.fill("input[name=user]", "admin")
    page.fill("input[name=password]", site.password)
    page.click("button.primary")
    row = page.locator(".alarm-row", has_text="tmp-0001").first
    row.get_by_role("button", name="确认").click()
    expect(page.locator(".alarm-row.state-acknowledged", has_text="tmp-0001")).to_have_count(1)
    plain.close()


def test_the_keyboard_reaches_the_content_first(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("跳到正文")
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_have_attribute("id", "content")


def test_page_and_script_write_figures_and_ages_alike(page: Page) -> None:
    source = page.locator("script[src$='live.js']").get_attribute("src")
    assert source
    numbers = [
        (0.0, 1),
        (-0.04, 1),
        (-1.25, 1),
        (21.46, 1),
        (1234.5678, 2),
        (7.0, 0),
        (99.95, 1),
        (1e17, 3),
        (-2.5e30, 1),
    ]
    seconds = [0, 1.9, 2, 59, 61, 119, 120, 3599, 7199, 7200, 172_799, 172_800, 9e6]
    told = page.evaluate(
        """async ([source, numbers, seconds]) => { const f = await import(source.replace('live.js', 'format.js'));
           return [numbers.map(([v, d]) => f.number(v, d)), seconds.map(f.ago), seconds.map(f.span)]; }""",
        [source, numbers, seconds],
    )
    words = WORDS["zh"]
    assert told == [
        [show.number(value, decimals) for value, decimals in numbers],
        [show.ago(words, s) for s in seconds],
        [show.span(words, s) for s in seconds],
    ]


def test_each_signed_in_session_is_revoked_by_signing_out(page: Page, site: Site) -> None:
    kept = page.context.cookies()
    page.get_by_role("button", name="退出").click()
    expect(page).to_have_url(re.compile("/sign-in"))
    page.context.add_cookies(json.loads(json.dumps(kept)))
    page.goto(site.url + "/devices")
    expect(page).to_have_url(re.compile("/sign-in"))


def test_many_pages_of_devices_are_walked(page: Page, site: Site, gateway: GatewayTalk) -> None:
    gateway.send(Lane.TELEMETRY, [reading(f"zz-{n:04d}", "level", float(n)) for n in range(120)])
    support.wait_for(lambda: page.goto(site.url + "/devices?q=zz-") and page.locator("tr[data-device]").count() == 50)
    page.get_by_role("link", name="下一页").click()
    page.get_by_role("link", name="下一页").click()
    expect(page.locator("tr[data-device]")).to_have_count(20)
    page.get_by_role("link", name="回到首页").click()
    expect(page.locator("tr[data-device]")).to_have_count(50)
