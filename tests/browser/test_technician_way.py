"""The technician's way, from the claim to the acceptance sheet for 20 devices, on a phone, against real processes.

What is timed is printed and written to `technician-way.md` in the test's folder; the documents keep a measured one.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.consolesite import Watch
from tests.browser.fieldsite import FieldSite, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
DETECTORS = [f"smk-{n:02}" for n in range(1, 21)]
FIVE_MINUTES_S = 300
PACE_S = 1.3
"""Between two test buttons: faster than anybody walks, and slower than what the platform takes for a real fire."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FieldSite]:
    made = FieldSite(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def phone(browser: Browser, site: FieldSite) -> Iterator[tuple[Page, BrowserContext]]:
    watch = Watch(expected=("net::ERR", "htmx:sendError", "htmx:afterRequest"))  # while the line is away
    context = browser.new_context(viewport={"width": 320, "height": 640}, color_scheme="light", locale="zh-CN")
    context.on("console", watch.console)
    context.on("weberror", lambda error: watch.complaints.append(f"exception: {error.error}"))
    context.on("request", watch.request)
    yield context.new_page(), context
    assert not watch.complaints, watch.complaints
    assert watch.hosts <= {site.url}, watch.hosts
    context.close()


def stage(page: Page, step: str, state: str = "done", wait_s: float = 60) -> None:
    expect(page.locator(f'[data-step="{step}"]')).to_have_attribute("data-state", state, timeout=wait_s * 1000)


def claim(page: Page, site: FieldSite) -> tuple[str, str, str]:
    """Issue a claim on the page; its code, address and fingerprint."""
    page.goto(f"{site.url}/sign-in?next=/install")
    page.fill("input[name=user]", "zhao")
    page.fill("input[name=password]", site.password)
    page.click("button.primary")
    page.fill("input[name=gateway]", "gw-stair-3")
    page.fill("input[name=location]", "3 号楼 弱电井")
    page.click(".in-new button.primary")
    code = page.locator("#claim-code").inner_text().strip()
    told = page.locator(".facts dd.mono").all_inner_texts()
    return code, told[1].strip(), told[0].strip()


def adopt(page: Page, name: str, floor: int) -> None:
    page.click(f'li[data-address="sensors/{name}"] [data-adopt]')
    assert page.input_value("#adopt [name=device]") == name
    page.fill("#adopt [name=location]", f"building-3/floor-{floor}/{name}")
    page.click("#adopt button.primary")


def no_sideways(page: Page) -> None:
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.url}: {wide} px wider than the phone"


def test_from_the_claim_to_the_acceptance_sheet_in_five_minutes(
    site: FieldSite, phone: tuple[Page, BrowserContext], tmp_path: Path
) -> None:
    page, context = phone
    watch = Stopwatch()
    with watch.step("sign in, issue a claim for the gateway"):
        code, url, root = claim(page, site)
    no_sideways(page)
    with watch.step("`patrol-edge enrol` at the gateway", "wait"):
        site.box("enrol", url, "--claim", code, "--root", root, "--config", tmp_path / "gateway.toml", "--state",
                 tmp_path / "state")  # fmt: skip
    site.run_box()
    with watch.step("the gateway comes online", "wait"):
        page.goto(f"{site.url}/install/gw-stair-3")
        stage(page, "enrolled")
        stage(page, "online")
    with watch.step("the first configuration is in force", "wait"):
        stage(page, "configured")
    with watch.step("run the checks on the gateway, all of them"):
        page.click("#run-check")
        expect(page.locator('[data-step="checked"]')).to_have_attribute("data-state", re.compile("done|warn"))
    site.connect_detectors()
    with watch.step("20 detectors are heard and offered with a profile", "wait"):
        site.say(DETECTORS)
        expect(page.locator("li[data-address]")).to_have_count(20, timeout=30_000)
    no_sideways(page)
    adopt_all(page, context, site, watch)
    walk(page, site, watch)
    sheet(page, watch, tmp_path)
    no_sideways(page)
    table = watch.table()
    (tmp_path / "technician-way.md").write_text(table)
    print(f"\n{table}")
    assert watch.total_s < FIVE_MINUTES_S


def adopt_all(page: Page, context: BrowserContext, site: FieldSite, watch: Stopwatch) -> None:
    with watch.step("adopt, name and place 20 detectors, one of them while the line is away"):
        for n, name in enumerate(DETECTORS):
            if n == 4:
                context.set_offline(True)
                adopt(page, name, 1)
                expect(page.locator("#outbox")).to_contain_text("已存在本机，联网后发送")
                context.set_offline(False)
            else:
                adopt(page, name, n // 5 + 1)
        expect(page.locator("#outbox")).to_be_hidden(timeout=60_000)
    with watch.step("the configuration with all of them is in force, and each is heard", "wait"):
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(1):
                site.say(DETECTORS)

        talking = threading.Thread(target=go_on)
        talking.start()
        try:
            expect(page.locator('[data-adopted][data-heard="1"]')).to_have_count(20, timeout=120_000)
        finally:
            stop.set()
            talking.join()


def walk(page: Page, site: FieldSite, watch: Stopwatch) -> None:
    with watch.step("start the walk test"):
        page.click("#start-walk")
        expect(page.locator("#walk-devices li")).to_have_count(20)
    no_sideways(page)
    pause = threading.Event()
    with watch.step("walk: press 20 test buttons, each ticked off on the page"):
        for name in DETECTORS:
            site.say([name], alarm=True)
            expect(page.locator(f'[data-device-id="{name}"]')).to_have_attribute("data-mark", "passed", timeout=15_000)
            site.say([name])
            pause.wait(PACE_S)
    with watch.step("end the walk test"):
        page.click("#end-walk")
        expect(page.locator("#end-walk")).to_have_count(0)
    expect(page.locator("#walk-count")).to_contain_text("20 / 20")
    assert page.locator(".notice").count() == 0, "20 buttons one after the other are no storm"


def sheet(page: Page, watch: Stopwatch, folder: Path) -> None:
    page.goto(page.url.rpartition("/walks/")[0])
    with watch.step("make the acceptance sheet"):
        page.click("#make-sheet")
        expect(page.locator("[data-sheet]")).to_have_count(1)
    with watch.step("the gateway signs it", "wait"):
        expect(page.locator('[data-sheet][data-state="signed"]')).to_have_count(1, timeout=30_000)
    with watch.step("download it as PDF", "wait"):
        with page.expect_download() as paper:
            page.click('[data-sheet] a[href$="/pdf"]')
        assert paper.value.path().read_bytes().startswith(b"%PDF")
    for part in ("json", "txt", "sig", "pem"):
        with page.expect_download() as part_file:
            page.click(f'[data-sheet] a[href$="/{part}"]')
        part_file.value.save_as(folder / f"sheet.{part}")
    assert hashlib.sha256((folder / "sheet.json").read_bytes()).hexdigest() in (folder / "sheet.txt").read_text()
    public = subprocess.run(
        ["openssl", "x509", "-pubkey", "-noout", "-in", "sheet.pem"], cwd=folder, capture_output=True, check=True
    )
    (folder / "key.pem").write_bytes(public.stdout)
    verify = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sheet.sig", "sheet.txt"]
    assert b"Verified OK" in subprocess.run(verify, cwd=folder, capture_output=True, check=True).stdout
