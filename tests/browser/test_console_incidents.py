"""The incident desk in a real browser: clocks that count, and a phone that shows it all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.consolesite import Site
    from tests.browser.gatewaytalk import GatewayTalk

pytestmark = pytest.mark.browser


def test_a_fire_appears_on_the_desk_counts_and_fits_a_phone(page: Page, site: Site, gateway: GatewayTalk) -> None:
    page.goto(f"{site.url}/incidents")
    expect(page.locator("#line[data-state=on]")).to_be_visible()
    gateway.alarm("smk-0001", "fire")
    row = page.locator("[data-incident]").first
    count = row.locator("[data-clock=on_scene] [data-count]")
    expect(count).to_have_text(re.compile(r"^4:[0-5]\d$"))
    shown = count.inner_text()
    expect(count).not_to_have_text(shown)
    page.set_viewport_size({"width": 320, "height": 640})
    row.locator("a").first.click()
    expect(page.locator("[data-clock=area] [data-count]")).to_have_text(re.compile(r"^29:[0-5]\d$"))
    page.locator("button[id^=take-]").click()
    expect(page.locator(".facts")).to_contain_text("admin")
    page.locator("#tick-0").click()
    expect(page.locator(".checklist li.is-done")).to_have_count(1)
    for path in (page.url, page.url.rpartition("/")[0], f"{page.url.rpartition('/')[0]}/plans"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path


def test_forms_follow_the_incident_and_wait_for_who_is_typing(page: Page, site: Site, gateway: GatewayTalk) -> None:
    page.goto(f"{site.url}/incidents")
    expect(page.locator("#line[data-state=on]")).to_be_visible()
    gateway.alarm("arm-0007", "sos")
    page.locator("[data-incident]").filter(has=page.locator("button[id^=take-]")).first.locator("a").first.click()
    expect(page.locator("#line[data-state=on]")).to_be_visible()
    clocks = page.locator("#stop option")
    expect(clocks).to_have_count(3)
    page.locator("#stop summary").click()
    note = page.locator("#handling textarea[name=text]")
    note.fill("电话无人接听")
    colleague = page.context.new_page()
    colleague.goto(page.url)
    colleague.locator("#stop summary").click()
    colleague.locator("#stop input[name=text]").fill("到场")
    colleague.locator("#stop button").click()
    expect(colleague.locator("#stop option")).to_have_count(2)
    expect(page.locator("#incident")).to_contain_text("到场")
    expect(note).to_have_value("电话无人接听")
    expect(clocks).to_have_count(3)
    note.fill("")
    note.blur()
    expect(clocks).to_have_count(2)
    expect(page.locator("#stop")).to_have_attribute("open", "")
