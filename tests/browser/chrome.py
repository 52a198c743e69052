"""Debian's Chromium, headless, for tests and pictures: found, or its absence said clearly."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FloatRect, Locator, Playwright

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-default-apps", "--mute-audio",
)  # fmt: skip


class NoBrowser(Exception):  # noqa: N818 - states what is the matter
    """Chromium is not on this machine."""


def executable() -> str:
    """The browser's program. Raises NoBrowser with what to do about it."""
    found = os.environ.get("PATROL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found or not shutil.which(found):
        raise NoBrowser(
            "Chromium was not found: install Debian's package chromium, or name a program in PATROL_CHROMIUM "
            "(PATROL_NO_BROWSER=1 leaves the browser tests out)"
        )
    return found


def launch(playwright: Playwright) -> Browser:
    """A headless browser."""
    return playwright.chromium.launch(executable_path=executable(), headless=True, args=list(FLAGS))


def box_of(found: Locator) -> FloatRect:
    """Where an element is. A live page may put another in its place between finding and measuring: measure that one."""
    for _ in range(20):
        expect(found).to_be_visible()
        box = found.bounding_box()
        if box:
            return box
    raise AssertionError(f"{found}: never stays long enough to be measured")
