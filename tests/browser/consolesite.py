"""What the console's tests share: a cloud that can be stopped, what a page is watched for, signing in."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

from firmware_specs.wire import ReportedDevice
from tests import support

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Request

CLOUD = str(Path(sys.executable).with_name("patrol-cloud"))
HOSTILE = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>{{7*7}}'
DEVICES = (
    ReportedDevice("smk-0001", "generic-smoke-senml", "sensors", "sensors/smk-0001", "3 号楼 2 层"),
    ReportedDevice("smk-0002", "generic-smoke-senml", "sensors", "sensors/smk-0002", HOSTILE),
    ReportedDevice("tmp-0001", "generic-temperature-json", "sensors", "sensors/tmp-0001", "1 号楼"),
    ReportedDevice("door-0001", "generic-door-opcua", "doors", "ns=2;s=door1", "大门"),
    ReportedDevice("arm-0001", "owntracks-armband", "sensors", "owntracks/a/1", ""),
    ReportedDevice("odd-0001", "no-such-profile", "sensors", "x", "仓库"),
)


@dataclass
class Site:
    """A cloud that can be stopped and started, and who may sign in."""

    directory: Path
    port: int
    broker_port: int
    password: str = ""
    running: support.Running | None = None
    broker: support.Running | None = None
    commands: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.directory / "cloud.toml"

    def command(self, *argv: str) -> str:
        """Run `patrol-cloud` to its end; its output."""
        self.commands += 1
        log = self.directory / f"command-{self.commands}.log"
        ended = support.Running([CLOUD, *argv, "--config", str(self.config)], log, None, None)
        assert ended.popen.wait(30) == 0, ended.text()
        return log.read_text()

    def start(self) -> None:
        """Serve, and wait until it does."""
        argv = [CLOUD, "serve", "--config", str(self.config)]
        self.running = support.Running(argv, self.directory / "serve.log", None, None)
        support.wait_for(lambda: support.accepts(self.port), 30, "the cloud's port")

    def stop(self) -> None:
        """End it politely."""
        assert self.running
        self.running.stop()


@dataclass
class Watch:
    """What a page complained about, and whom it asked."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    expected: tuple[str, ...] = ()
    """Parts of complaints that a test provokes."""

    def console(self, message: ConsoleMessage) -> None:
        """An error or warning on the console; a violated Content-Security-Policy is one."""
        if message.type in {"error", "warning"} and not any(part in message.text for part in self.expected):
            self.complaints.append(f"{message.type}: {message.text}")

    def request(self, request: Request) -> None:
        """A request, whether it succeeds or not."""
        self.hosts.add("/".join(request.url.split("/")[:3]))


def sign_in(page: Page, site: Site) -> Page:
    """Through the form, until the page is live."""
    page.goto(site.url + "/")
    page.fill("input[name=user]", "admin")
    page.fill("input[name=password]", site.password)
    page.click("button.primary")
    expect(page.locator("#line")).to_have_attribute("data-state", "on")
    return page
