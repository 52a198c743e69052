"""The console over HTTP without a browser or a broker: the application itself, fed through its own services."""

from __future__ import annotations

import re
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from httpx import Client

from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter
from cloud.app import Role, create_app
from cloud.config import Config
from cloud.devices import service as devices
from cloud.org import service as org
from cloud.org.rules import SYSTEM
from cloud.org.rules import Role as UserRole
from cloud.serve import listening, server_of
from firmware_specs.readings import AlarmEvent, AlarmPhase, Evidence, Severity
from firmware_specs.wire import Reported, ReportedDevice, Status
from tests import support

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fastapi import FastAPI
    from httpx import Response

    from cloud.db import Database

GATEWAY = "gw-0001"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


class Web(NamedTuple):
    """A running application and a gateway's worth of things in it."""

    app: FastAPI
    db: Database
    url: str
    opened: list[Client]

    def browser(self) -> Client:
        """A browser that nobody signed in with; it follows no redirects."""
        self.opened.append(Client(base_url=self.url, headers=BROWSER, timeout=20))
        return self.opened[-1]

    def user(self, name: str, role: UserRole) -> Client:
        """A browser with a new user signed in."""
        with self.db.begin() as tx:
            password = org.add_user(tx, SYSTEM, name, role, now_ms())
        browser = self.browser()
        assert browser.post("/sign-in", data={"user": name, "password": password}).status_code == 303
        return browser

    def heard(self, *reported: ReportedDevice, **more: object) -> None:
        """The gateway says what it serves and how it is."""
        status = Status(True, "0.1.0", "boot-1", "cfg-1", now_ms(), **more)  # type: ignore[arg-type]
        with self.db.begin() as tx:
            devices.apply_status(tx, GATEWAY, status, now_ms())
            devices.apply_reported(tx, GATEWAY, Reported(1, "cfg-1", reported), now_ms())

    def alarm(
        self, device: str = "smk-0001", kind: str = "fire", *, rule: str = "generic-smoke-senml/smoke-high",
        at: int | None = None, drill: bool = False, evidence: tuple[Evidence, ...] = (),
    ) -> int:  # fmt: skip
        """An open alarm's id."""
        when, occurrence = at or now_ms(), uuid.uuid4().hex
        event = AlarmEvent(
            occurrence, device, kind, Severity.CRITICAL, AlarmPhase.RAISED, rule, "1.0", when, when, drill=drill,
            evidence=evidence,
        )  # fmt: skip
        with self.db.begin() as tx:
            alerts.apply_events(tx, GATEWAY, "epoch-1", [(when, event)], now_ms())
        with self.db.read() as tx:
            listed = alerts.list_alarms(tx, SYSTEM, AlarmFilter()).items
        return next(alarm.id for alarm in listed if alarm.occurrence == occurrence)


@contextmanager
def serving(directory: Path) -> Iterator[Web]:
    """An application on a fresh database that knows one gateway, over real HTTP."""
    with listening("127.0.0.1:0") as sock:
        app = create_app(Config.model_validate({"data_dir": directory}), Role.API)
        db: Database = app.state.patrol.db
        with db.begin() as tx:
            devices.add_gateway(tx, SYSTEM, GATEWAY, now_ms(), location="幸福里")
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="served")
        thread.start()
        try:
            support.wait_for(lambda: server.started or not thread.is_alive(), 20, "the server")
            made = Web(app, db, f"http://127.0.0.1:{sock.getsockname()[1]}", [])
            yield made
            for client in made.opened:
                client.close()
        finally:
            app.state.patrol.broadcaster.close()
            server.should_exit = True
            thread.join(20)


def csrf(page: Response) -> str:
    """The token that a page's forms carry."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found, page.text[:500]
    return found[1]


def post(browser: Client, path: str, token: str, fields: Mapping[str, str]) -> Response:
    """Send a form as the page would."""
    return browser.post(path, data={"csrf": token, "back": "/alarms", **fields})
