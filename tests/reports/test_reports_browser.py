"""The front line's form and a review in Chromium: on a phone, in the dark, without a word of complaint."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from cloud.app import Role as Part
from cloud.config import Config
from cloud.org.rules import SYSTEM, Role
from cloud.reports import service as reports
from cloud.reports.models import NewReview
from tests.browser.chrome import launch
from tests.browser.consolesite import Watch
from tests.cloud.cloud_support import serving
from tests.reports.reports_support import HOUR, OCTOBER, grow, seed_month

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from cloud.db import Database

pytestmark = pytest.mark.browser


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


@pytest.mark.skipif(os.environ.get("PATROL_NO_BROWSER") == "1", reason="PATROL_NO_BROWSER=1: not tried in a browser")
def test_a_hazard_in_three_taps_and_a_review_on_a_phone(sqlite_db: Database, tmp_path: Path) -> None:
    town = grow(sqlite_db)
    seed_month(sqlite_db, town)
    given = NewReview.model_validate({"node": town.street, "first_day": "2026-10-01", "last_day": "2026-10-31"})
    review = reports.make(sqlite_db, SYSTEM, given, OCTOBER.to_ms + HOUR, "Asia/Shanghai").id
    config = Config.model_validate({"data_dir": tmp_path, "database": {"url": "sqlite"}})
    with serving(config, Part.API) as site, sync_playwright() as playwright:
        browser = launch(playwright)
        watch = Watch()
        context = browser.new_context(viewport={"width": 320, "height": 640}, color_scheme="dark")
        context.on("console", watch.console)
        context.on("request", watch.request)
        page = context.new_page()
        page.goto(f"{site.url}/hazards/new")
        page.fill("input[name=user]", "admin")
        page.fill("input[name=password]", site.user("admin", Role.ADMINISTRATOR))
        page.click("button.primary")
        page.wait_for_url("**/hazards/new")
        assert fits(page)
        page.check("input[value=lamp-broken]")
        page.select_option("select[name=node]", town.communities[1])
        page.click(".hz-send")
        page.wait_for_url(re.compile(r"/hazards/\d+\?sent=1"))
        expect(page.locator(".hz-sent")).to_be_visible()
        page.click("#handling summary >> nth=0")
        assert fits(page)
        page.click("#handling details[open] button")
        expect(page.locator(".timeline li")).to_have_count(2)
        page.goto(f"{site.url}/reviews/{review}")
        expect(page.locator(".rv-heat")).to_have_count(2)
        assert fits(page)
        browser.close()
    assert watch.complaints == []
    assert watch.hosts <= {site.url}
