"""The pages of notification channels in Chromium: made on a phone, its test message fails, and that is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.consolesite import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.consolesite import Site


def _fits(page: Page) -> bool:
    expect(page.locator("#line")).to_have_attribute("data-state", "on")  # its word takes room until then
    fits: bool = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return fits


def test_a_channel_on_a_phone_from_its_making_to_its_failure_S5(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(f"{site.url}/channels?lang=en")
    expect(page.locator("#channel-list")).to_contain_text("No notification channel yet")
    assert _fits(page)
    form = page.locator("#add-channel")
    form.locator("input[name=name]").fill(HOSTILE[:60])
    form.locator("input[name=target]").fill("https://localhost/hidden-path")
    form.get_by_role("button", name="Add a channel").click()
    secret = page.locator("#secret").inner_text()
    assert len(secret) >= 40
    assert _fits(page)
    page.get_by_role("link", name="I have it").click()
    expect(page.locator("#channel-list")).to_contain_text("https://localhost/…")
    assert secret not in page.content()
    page.get_by_role("button", name="Send a test message").click()
    # The page looks again by itself until the worker has tried.
    told = page.locator("#deliveries")
    expect(told).to_contain_text("is a loopback address")
    expect(page.locator("#channel-list .pill")).to_have_text("Failing")
    assert _fits(page)
    page.locator("#channel-list a").first.click()
    expect(page.locator("#channel")).to_contain_text("is a loopback address")
    expect(page.locator("#settings input[name=target]")).to_have_value("")
    assert _fits(page)
    assert "hidden-path" not in page.content()
    assert page.evaluate("window.hit") is None
