"""Take pictures of a running console: `PATROL_PASSWORD=… python -m tests.browser.screenshot URL DIRECTORY`.

Writes overview.png (light, desktop) and its variants: dark, phone, English, and every page. With --story it waits for
the first incident of a demo instead, and writes overview.png and incident.png, which the documentation shows.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.browser.chrome import launch

DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PICTURE: ViewportSize = {"width": 1280, "height": 900}
STORY_MS = 120_000
PHONE: ViewportSize = {"width": 390, "height": 844}


def sign_in(page: Page, url: str, user: str, password: str) -> None:
    """Through the form, as a person does."""
    page.goto(url + "/sign-in")
    page.fill("input[name=user]", user)
    page.fill("input[name=password]", password)
    page.click("button.primary")
    page.wait_for_selector("#line[data-state=on]", timeout=10_000)


def pictures(browser: Browser, url: str, user: str, password: str, target: Path) -> None:
    """Every page in every manner."""
    for name in ("light", "dark", "phone", "phone-dark"):
        phone = name.startswith("phone")
        context = browser.new_context(
            viewport=PHONE if phone else DESKTOP,
            color_scheme="dark" if name.endswith("dark") else "light",
            device_scale_factor=2 if phone else 1,
        )
        page = context.new_page()
        page.goto(url + "/sign-in")
        page.screenshot(path=target / f"sign-in-{name}.png")
        sign_in(page, url, user, password)
        page.wait_for_timeout(1500)
        page.screenshot(path=target / f"overview-{name}.png")
        if name == "light":
            page.screenshot(path=target / "overview.png")
        links = {
            "alarms": "/alarms?state=all", "devices": "/devices", "gateways": "/gateways",
            "alarm": _first(page, url, "/alarms?state=all", "a[href^='/alarms/']"),
            "device": _first(page, url, "/devices?category=smoke", "a[href^='/devices/']"),
            "gateway": _first(page, url, "/gateways", "a[href^='/gateways/']"),
        }  # fmt: skip
        for each, link in links.items():
            if not link:
                continue
            page.goto(url + link)
            page.wait_for_selector("#line[data-state=on]", timeout=10_000)
            page.wait_for_timeout(1200)
            page.screenshot(path=target / f"{each}-{name}.png", full_page=each in {"alarm", "device", "gateway"})
        context.close()


def story(browser: Browser, url: str, user: str, password: str, target: Path) -> None:
    """The overview while the first incident is handled, and its page when somebody has arrived."""
    page = browser.new_context(viewport=PICTURE, color_scheme="light").new_page()
    sign_in(page, url, user, password)
    brief = page.locator("#operations .incident-brief")
    brief.locator(".tag.assigned").first.wait_for(timeout=STORY_MS)
    page.screenshot(path=target / "overview.png")
    brief.get_by_role("link").first.click()
    page.locator(".clock.is-met").first.wait_for(timeout=STORY_MS)
    page.wait_for_timeout(500)
    page.screenshot(path=target / "incident.png")


def _first(page: Page, url: str, at: str, selector: str) -> str:
    page.goto(url + at)
    found = page.locator(f"main {selector}").first
    return (found.get_attribute("href") or "") if found.count() else ""


def main() -> None:
    """Read the arguments and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default=os.environ.get("PATROL_PASSWORD", ""), help="or PATROL_PASSWORD")
    parser.add_argument("--story", action="store_true", help="only a demo's first incident")
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        take = story if given.story else pictures
        take(browser, given.url.rstrip("/"), given.user, given.password, given.directory)
        browser.close()


if __name__ == "__main__":
    main()
