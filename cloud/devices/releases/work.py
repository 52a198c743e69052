"""Background work: what is signed online is renewed long before it expires, for the rest people are called in time.

Owns the look, every ten minutes, and its alarms, which are the cloud's own at the root of the tree.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from cloud.alerts import service as alerts
from cloud.devices.places import Place
from cloud.devices.releases import rules, service
from cloud.errors import RequestRefused
from cloud.org.rules import ROOT
from cloud.state import now_ms
from cloud.threads import in_thread
from firmware_specs.errors import ConfigError, StoreError, UpdateRejected
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.config import Config
    from cloud.db import Database
    from cloud.devices.releases.repository import Repository
    from cloud.state import AppState

EVERY_S: Final = 600.0
DEVICE: Final = "releases"
RENEWAL_FAILED: Final = "release-renewal-failed"
ENDING: Final = "release-expiring"
_log: Final = structlog.get_logger("releases")


async def run(state: AppState) -> None:
    """Look now and every ten minutes, until cancelled."""
    while True:
        try:
            await in_thread(look, state.db, state.config, now_ms())
        except StoreError as e:
            _log.warning("the update repository cannot be looked after", error=str(e))
        await asyncio.sleep(EVERY_S)


def look(db: Database, config: Config, now: int) -> None:
    """Renew what is due, bring the database's copy up to date, raise and clear: by the copy, when nothing is read."""
    files = service.open_repository(config)
    try:
        if files.published:
            _renew(files, service.lifetimes(config), now)
    except (ConfigError, StoreError, RequestRefused, UpdateRejected, OSError) as e:
        _log.error("the update repository cannot be renewed", error=str(e))
    try:
        with db.begin() as tx:
            service.sync(tx, config, files, now)
    except (StoreError, RequestRefused, UpdateRejected) as e:
        _log.error("the update repository cannot be read", error=str(e))
    with db.begin() as tx:
        judge(tx, service.lifetimes(config), now)


def _renew(files: Repository, lives: rules.Lifetimes, now: int) -> None:
    expires = {role: round(when.timestamp() * 1000) for role, when in files.expiries().items()}
    due = [role for role in ("snapshot", "timestamp") if rules.renewal_due(expires[role], lives.of(role), now)]
    if due:
        files.renew(rules.utc(now), due=due)
        _log.info("signed again", roles=due)


def judge(tx: Connection, lives: rules.Lifetimes, now: int) -> None:
    """Raise and clear by how long everything is good for."""
    view = service.show(tx, lives, now)
    failed = any(role.ending for role in view.roles if not role.offline)
    ending = any(role.ending for role in view.roles if role.offline)
    for kind, stands, severity in (
        (RENEWAL_FAILED, failed, Severity.MAJOR), (ENDING, ending, Severity.MINOR),
    ):  # fmt: skip
        if stands:
            alerts.raise_own(tx, "", DEVICE, kind, severity, at_ms=now, now_ms=now, where=Place(ROOT, ""))
        else:
            alerts.clear_own(tx, "", DEVICE, kind, now)
