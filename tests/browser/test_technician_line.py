"""The technician's pages on a flaky line: what waits, what is refused and put right, what is too old to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.browser.consolesite import Site, Watch
    from tests.browser.gatewaytalk import GatewayTalk

pytestmark = pytest.mark.browser
OUTBOX = "#outbox li"


@pytest.fixture
def install(page: Page, site: Site, watch: Watch) -> Page:
    """A gateway's page on a phone."""
    watch.expected = ("net::ERR", "htmx:sendError", "htmx:afterRequest", "409 (Conflict)")
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{site.url}/install/gw-0001?lang=en")
    expect(page.locator("#line")).to_have_attribute("data-state", "on")
    return page


def maintain(page: Page, reason: str) -> None:
    page.locator("summary", has_text="Maintenance").click()
    page.select_option("form[action$='/maintenance'] [name=device]", "smk-0001")
    page.fill("form[action$='/maintenance'] [name=reason]", reason)
    page.click("form[action$='/maintenance'] button")


def test_maintenance_is_kept_sent_once_shown_and_ended(install: Page, context: BrowserContext) -> None:
    context.set_offline(True)
    maintain(install, "new battery")
    expect(install.locator(OUTBOX)).to_contain_text("saved here, will be sent")
    assert install.input_value("form[action$='/maintenance'] [name=reason]") == ""
    context.set_offline(False)
    expect(install.locator("[data-maintenance]")).to_have_count(1)
    expect(install.locator("[data-maintenance]")).to_contain_text("smk-0001")
    expect(install.locator("#outbox")).to_be_hidden()
    install.click("[data-maintenance] button")
    expect(install.locator("[data-maintenance]")).to_have_count(0)


def test_what_is_refused_says_why_and_is_put_right_in_its_form(install: Page) -> None:
    install.locator("summary", has_text="Replace a sensor").click()
    install.select_option("form[action$='/replace'] select", "tmp-0001")
    install.fill("form[data-outbox][action$='/replace'] [name=address]", "sensors/tmp-0001")
    install.fill("form[data-outbox][action$='/replace'] [name=note]", "wet")
    install.click("form[data-outbox][action$='/replace'] button")
    expect(install.locator(OUTBOX)).to_contain_text("has this address already")
    install.reload()
    install.click("#outbox button:has-text('Correct it')")
    expect(install.locator("#outbox")).to_be_hidden()
    assert install.input_value("form[data-outbox][action$='/replace'] [name=address]") == "sensors/tmp-0001"
    assert install.input_value("form[data-outbox][action$='/replace'] [name=note]") == "wet"
    assert install.input_value("form[data-outbox][action$='/replace'] select") == "tmp-0001"
    assert install.locator("form[data-outbox][action$='/replace'] button").is_visible()


def test_a_walk_that_waited_too_long_begins_no_more(install: Page, context: BrowserContext) -> None:
    """It would hold alarms while nobody walks."""
    install.clock.install()
    context.set_offline(True)
    install.click("#start-walk")
    install.click("#start-walk")
    expect(install.locator(OUTBOX)).to_have_count(1)
    install.clock.fast_forward(121_000)
    context.set_offline(False)
    install.clock.run_for(31_000)
    expect(install.locator(OUTBOX)).to_contain_text("no answer for too long")
    assert install.locator("#walk a").count() == 0


def test_the_next_one_at_the_phone_neither_sees_nor_sends_it(
    install: Page, context: BrowserContext, site: Site, gateway: GatewayTalk
) -> None:
    context.set_offline(True)
    maintain(install, "not theirs")
    expect(install.locator(OUTBOX)).to_have_count(1)
    install.close()
    context.clear_cookies()  # before the line is back: a page that is just ending may still send
    context.set_offline(False)
    password = site.command("user", "add", "zhao", "--role", "technician").splitlines()[-1].strip()
    other = context.new_page()
    other.goto(f"{site.url}/sign-in?next=/install/gw-0001")
    other.fill("input[name=user]", "zhao")
    other.fill("input[name=password]", password)
    other.click("button.primary")
    expect(other.locator("[data-step]")).to_have_count(8)
    expect(other.locator("#outbox")).to_be_hidden()
    assert other.locator("[data-maintenance]").all_inner_texts() == []
