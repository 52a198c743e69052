"""Certificates of our own that end: an alarm long before, cleared when there is a later one.

Owns which they are: the root and the intermediate, which people renew by the root's key, and those of servers in our
folders, which renew themselves or are asked for. The alarms are the cloud's own at the root of the tree. Those of
gateways are their own to renew, and are watched by their health.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from cloud.alerts import service as alerts
from cloud.devices.broker import service as broker
from cloud.devices.enrolment import making, serving
from cloud.devices.enrolment.authority import FOLDER, millis
from cloud.devices.enrolment.rules import AUTHORITY_WARN_MS, SERVER_WARN_MS, is_ending
from cloud.devices.places import Place
from cloud.org.rules import ROOT
from cloud.state import now_ms
from cloud.threads import in_thread
from firmware_specs.errors import ConfigError, StoreError
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from cloud.config import Config
    from cloud.state import AppState

EVERY_S: Final = 3600.0
AUTHORITY_ENDING: Final = "authority-ending"
SERVER_ENDING: Final = "server-certificate-ending"
KINDS: Final = {AUTHORITY_ENDING: AUTHORITY_WARN_MS, SERVER_ENDING: SERVER_WARN_MS}
"""How long before its end a certificate is an alarm, by the alarm's kind."""
log: Final = structlog.get_logger("authority")


class Ours(NamedTuple):
    """A certificate of our own. name: the device of its alarm. until_ms: its end."""

    kind: str
    name: str
    until_ms: int

    @property
    def called(self) -> str:
        """What it is called among all of them."""
        return self.name if self.kind == AUTHORITY_ENDING else f"server_{self.name}"

    def ending(self, now_ms: int) -> bool:
        """Whether it is time to do something."""
        return is_ending(self.until_ms, KINDS[self.kind], now_ms)


async def run(state: AppState) -> None:
    """Look now and every hour, until cancelled."""
    while True:
        try:
            await in_thread(_look_once, state)
        except StoreError as e:
            log.warning("the authority's certificates cannot be watched", error=str(e))
        await asyncio.sleep(EVERY_S)


def _look_once(state: AppState) -> None:
    with state.db.begin() as tx:
        look(tx, state.config, now_ms())


def look(tx: Connection, config: Config, now_ms: int) -> None:
    """Raise what is near its end, clear what is not any more."""
    ending = {(each.name, each.kind) for each in ours(config) if each.ending(now_ms)}
    standing = {
        (name, kind) for (_, name), kinds in alerts.active_kinds(tx, [""]).items() for kind in kinds if kind in KINDS
    }
    for name, kind in sorted(standing - ending):
        alerts.clear_own(tx, "", name, kind, now_ms)
    for name, kind in sorted(ending - standing):
        where = Place(ROOT, "")
        alerts.raise_own(tx, "", name, kind, Severity.MAJOR, at_ms=now_ms, now_ms=now_ms, where=where)
        log.error("a certificate of our own is near its end", name=name, kind=kind)


def ours(config: Config) -> Iterator[Ours]:
    """The certificates of our own that there are; one that cannot be read is passed over, whoever needs it says so."""
    folder = config.data_dir / FOLDER
    files = making.paths_of(folder)
    yield from _found(AUTHORITY_ENDING, "root", files.root)
    yield from _found(AUTHORITY_ENDING, "intermediate", files.intermediate)
    for path in sorted((folder / serving.FOLDER).glob("*.pem")):
        if not path.name.startswith(".") and not path.name.endswith("-key.pem"):
            yield from _found(SERVER_ENDING, path.stem, path)
    for name, path in broker.certificate_files(config).items():
        yield from _found(SERVER_ENDING, name, path)


def _found(kind: str, name: str, path: Path) -> Iterator[Ours]:
    with suppress(ConfigError):
        yield Ours(kind, name, millis(making.read_certificate(path).not_valid_after_utc))
