"""Keeps the broker in step with the fleet: background work of the worker role.

Owns the pass, every few seconds: write what changed, tell the broker, end the sessions of what was revoked, and raise
an alarm when any of it does not happen. A revoked certificate's session is ended twice, for a broker that reads its
files later than it is told; what was ended is a row, so that nothing is forgotten while no worker runs. Several workers
may do this at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, ParamSpec

import structlog

from cloud.alerts import service as alerts
from cloud.devices.broker import rules, service, sessions, writing
from cloud.devices.enrolment import service as enrolment
from cloud.devices.places import Place
from cloud.org.rules import ROOT
from cloud.state import now_ms
from cloud.threads import in_thread
from firmware_specs.errors import PatrolError, StoreError
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud.config import Config
    from cloud.db import Database
    from cloud.devices.broker.settings import MosquittoConfig
    from cloud.state import AppState

P = ParamSpec("P")

DEVICE: Final = "broker"
STALE: Final = "broker-list-stale"
EVERY_S: Final = 5.0
"""Where no `[mosquitto]` says how often."""
log: Final = structlog.get_logger("broker")


async def run(state: AppState) -> None:
    """Keep the broker in step until cancelled; nothing to do without `[mosquitto]` and without a broker that asks."""
    config = state.config
    if config.mosquitto is None and service.shared_token(config) is None:
        return
    keeper = Keeper(config)
    every_s = config.mosquitto.every_s if config.mosquitto else EVERY_S
    while True:
        try:
            await in_thread(keeper.keep, state.db, now_ms())
        except StoreError as e:
            log.warning("the broker is not kept in step", error=str(e))
        await asyncio.sleep(every_s)


class Keeper:
    """See the module. `keep` is one pass."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._untold = True
        """Whether the broker has to read its files: what the last process wrote, it may not have told."""
        self._behind_since: int | None = None
        self.fault = ""
        """What went wrong in the last pass, empty when nothing did."""
        self._alarmed: bool | None = None

    def keep(self, db: Database, now: int) -> None:
        """Write, tell, end sessions, and judge whether that is an alarm. Raises StoreError of the database."""
        with db.read() as tx:
            revoked = enrolment.revoked(tx, now)
            cuts = service.cuts_at(tx, now)
        fault = self._attempt(self._write, revoked, now) or self._attempt(self._end, db, cuts, now)
        uncertified = self._attempt(self._certify, now)  # revocations do not wait for it
        fault = fault or uncertified
        if not fault:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        if fault and fault != self.fault:
            log.warning("the broker is behind", error=fault)
        self.fault = fault
        self._judge(db, now)

    @staticmethod
    def _attempt(step: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> str:
        """What went wrong in a step, empty when nothing did."""
        try:
            step(*args, **kwargs)
        except PatrolError as e:
            return str(e)
        return ""

    def _write(self, revoked: dict[int, int], now: int) -> None:
        settings = self._config.mosquitto
        if settings is None:
            return
        authority = enrolment.authority_of(self._config)
        written = writing.write(settings, authority, revoked, self._config.broker, now)
        if written.restart:
            log.warning(
                "mosquitto.conf was written; a broker that runs has to be started again", folder=str(settings.dir)
            )
        self._tell(settings, changed=written.reload)

    def _certify(self, now: int) -> None:
        settings = self._config.mosquitto
        if settings is not None:
            changed = writing.certify(settings, enrolment.authority_of(self._config), now)
            self._tell(settings, changed=changed)

    def _tell(self, settings: MosquittoConfig, *, changed: bool) -> None:
        self._untold |= changed
        if self._untold:
            sessions.reload(settings)
            self._untold = False

    def _end(self, db: Database, cuts: service.Cuts, now: int) -> None:
        if cuts.over:
            with db.begin() as tx:
                service.forget_cuts(tx, cuts.over)
        for gateway, serials in cuts.due.items():
            sessions.end(self._config.broker, gateway)
            log.info("session ended", gateway=gateway, certificates=len(serials))
            with db.begin() as tx:
                service.note_cut(tx, gateway, serials, now)

    def _judge(self, db: Database, now: int) -> None:
        settings = self._config.mosquitto
        if settings is None:
            stale = rules.is_stale(now, 0, self._behind_since, now)
        else:
            try:
                made = writing.list_made_ms(settings.dir)
            except StoreError:
                made = None
            stale = rules.is_stale(made, round(settings.stale_h * 3_600_000), self._behind_since, now)
        if stale == self._alarmed:
            return
        with db.begin() as tx:
            if stale:
                where = Place(ROOT, "")
                alerts.raise_own(tx, "", DEVICE, STALE, Severity.MAJOR, at_ms=now, now_ms=now, where=where)
            else:
                alerts.clear_own(tx, "", DEVICE, STALE, now)
        if stale:
            log.error("the broker's revocation list is stale", cause=self.fault or "it is too old")
        self._alarmed = stale
