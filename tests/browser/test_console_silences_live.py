"""Silencing in a real Chromium: the form, what the list says at once, and that nothing breaks on a narrow phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.consolesite import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.gatewaytalk import GatewayTalk

pytestmark = pytest.mark.browser


def test_an_alarm_is_silenced_from_its_page_and_ends_again(page: Page, gateway: GatewayTalk) -> None:
    page.set_viewport_size({"width": 320, "height": 700})
    gateway.alarm("tmp-0001", "frost")
    page.goto(page.url.rstrip("/") + "/alarms")
    page.locator(".alarm-row a", has_text="低温").first.click()
    expect(page.locator("#explanation")).to_contain_text("正在按升级链通知")
    page.locator("#explanation a", has_text="静默或维护").click()
    expect(page.locator("input[name=device]")).to_have_value("tmp-0001")
    page.fill("input[name=reason]", HOSTILE)
    page.locator("#new button.primary").click()
    expect(page.locator(".notice.mild")).to_contain_text("现有 1 起告警不再通知")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(page.url.partition("/silences")[0] + "/alarms?show=silenced")
    expect(page.locator(".tag.quiet")).to_have_text("已静默")
    page.locator(".alarm-row a").first.click()
    expect(page.locator("#explanation .why-silence")).to_contain_text("被静默")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(page.url.partition("/alarms")[0] + "/silences")
    page.locator(".cover button", has_text="立即结束").click()
    expect(page.locator("#silences .empty")).to_be_visible()
    assert page.evaluate("window.hit") is None
