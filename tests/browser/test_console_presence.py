"""The presence board in a browser: it follows what happens at a post, and fits a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from cloud.db import open_database
from cloud.state import now_ms
from tests.cloud.presence_support import HOUR, add_fixture, add_guard, add_post, take, token

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.consolesite import Site

pytestmark = [pytest.mark.browser, pytest.mark.system]


def test_the_board_follows_a_check_in_and_fits_a_phone(page: Page, site: Site) -> None:
    db = open_database("sqlite", site.directory / "data")
    try:
        now = now_ms()
        post = add_post(db, now=now - HOUR)
        page.goto(f"{site.url}/presence")
        row = page.locator(f"[data-post='{post.id}']")
        expect(row.locator(".pill")).to_have_text("未知")
        expect(page.locator("#line")).to_have_attribute("data-state", "on")
        add_guard(db, "巡-01", post=post.id, starts=now - HOUR, ends=now + HOUR)
        add_fixture(db, "term-1", "terminal", post.id)
        take(db, [token("term-1", "checkin", "badge-巡-01", now)], now_ms())
        expect(row.locator(".pill")).to_have_text("在岗")
        expect(row).to_contain_text("1 / 1")
        page.set_viewport_size({"width": 320, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
        row.get_by_role("link").click()
        expect(page.locator("#presence-who")).to_contain_text("巡-01")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
    finally:
        db.close()
