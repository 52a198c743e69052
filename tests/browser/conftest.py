"""A running cloud with a broker and a talking gateway, and pages of a real Chromium that may not complain."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from firmware_specs.wire import LaneStatus
from tests import support
from tests.browser.chrome import launch
from tests.browser.consolesite import DEVICES, HOSTILE, Site, Watch, sign_in
from tests.browser.gatewaytalk import GatewayTalk

if TYPE_CHECKING:
    from collections.abc import Iterator

expect.set_options(timeout=10_000)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Broker and cloud, for all tests of a module."""
    directory = tmp_path_factory.mktemp("site")
    made = Site(directory, support.free_port(), support.free_port())
    program = support.mosquitto_path()
    assert program, "mosquitto is not installed: the console's tests feed it through a real broker"
    (directory / "mosquitto.conf").write_text(
        f"user root\nlistener {made.broker_port} 127.0.0.1\nallow_anonymous true\n"
    )
    made.broker = support.Running(
        [program, "-c", str(directory / "mosquitto.conf")], directory / "mosquitto.log", None, None
    )
    try:
        support.wait_for(lambda: support.accepts(made.broker_port), 10, "mosquitto")
        made.config.write_text(
            f'data_dir = "{directory / "data"}"\n[http]\nbind = "127.0.0.1:{made.port}"\n'
            f'[broker]\nurl = "mqtt://127.0.0.1:{made.broker_port}"\n[limits]\nsign_in_tries = 1000\n'
        )
        made.password = json.loads(made.command("init", "--json").splitlines()[-1])["password"]
        made.command("gateway", "add", "gw-0001", "--location", HOSTILE)
        made.start()
        yield made
    finally:
        for running in (made.running, made.broker):
            if running:
                running.stop()


@pytest.fixture(scope="module")
def gateway(site: Site) -> Iterator[GatewayTalk]:
    """A gateway with a device of every sort, hostile strings among them."""
    talk = GatewayTalk(site.broker_port)
    talk.report(*DEVICES)
    talk.status(
        lanes={"alarms": LaneStatus(), "telemetry": LaneStatus(37, 5120, 0, 4)},
        connectors={"sensors": "up", "doors": HOSTILE}, degraded=HOSTILE, counters={"frames_refused": 3},
    )  # fmt: skip
    talk.value("smk-0001", "temperature", 21.5, unit="Cel")
    yield talk
    talk.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Its absence is a failure, unless PATROL_NO_BROWSER=1 says that it is known."""
    if os.environ.get("PATROL_NO_BROWSER") == "1":
        pytest.skip("PATROL_NO_BROWSER=1: the console was not tried in a browser")
    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture
def watch(site: Site) -> Iterator[Watch]:
    """Every page of the test is watched: no console error, no CSP violation, no request to anybody else."""
    watching = Watch()
    yield watching
    assert not watching.complaints, watching.complaints
    assert watching.hosts <= {site.url}, watching.hosts


@pytest.fixture
def context(browser: Browser, watch: Watch) -> Iterator[BrowserContext]:
    """A fresh browser profile whose pages are watched."""
    made = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    made.on("console", watch.console)
    made.on("weberror", lambda error: watch.complaints.append(f"exception: {error.error}"))
    made.on("request", watch.request)
    made.on("dialog", lambda dialog: dialog.accept())
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, site: Site, gateway: GatewayTalk) -> Page:
    """The overview, signed in, live."""
    return sign_in(context.new_page(), site)
