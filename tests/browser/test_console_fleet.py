"""The fleet's health and help from afar in a real Chromium: answers fill in by themselves, a narrow phone holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from paho.mqtt import publish, subscribe
from playwright.sync_api import expect

from firmware_specs.wire_fleet import Result, ResultPhase, encode

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.consolesite import Site
    from tests.browser.gatewaytalk import GatewayTalk

pytestmark = pytest.mark.browser


def test_a_check_fills_in_live_and_the_health_fits_a_phone(page: Page, gateway: GatewayTalk, site: Site) -> None:
    del gateway
    root = page.url.rstrip("/")
    page.set_viewport_size({"width": 320, "height": 700})
    page.goto(f"{root}/gateways/gw-0001/help")
    page.locator("button", has_text="全面检查").click()
    expect(page.locator("[data-phase=waiting]")).to_be_visible()
    topic = "patrolgrid/v1/gw-0001"
    message = subscribe.simple(f"{topic}/command/+", port=site.broker_port)  # type: ignore[no-untyped-call]
    command = json.loads(message.payload)["id"]

    def told(part: int, phase: ResultPhase, text: str = "") -> None:
        payload = encode(Result(command, phase, part, text))
        publish.single(f"{topic}/result/{command}", payload, 1, port=site.broker_port)

    told(0, ResultPhase.RUNNING, json.dumps({"what": "clock", "state": "ok", "detail": "disciplined"}))
    expect(page.locator("#remote td.lead", has_text="clock")).to_be_visible()
    told(1, ResultPhase.RUNNING, json.dumps({"what": "disk", "state": "fail", "detail": "/" + "x" * 300}))
    told(2, ResultPhase.DONE)
    expect(page.locator("[data-phase=done]")).to_be_visible()
    expect(page.locator("#remote td.lead", has_text="disk")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for path in ("/fleet", "/fleet/gw-0001"):
        page.goto(root + path)
        expect(page.locator(".card").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    expect(page.locator(".ledger-day")).to_have_count(35)
    assert page.evaluate("window.hit") is None
