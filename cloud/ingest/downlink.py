"""What the cloud wants of gateways, on its way to them: desired documents, orders and commands, retained at the broker.

Owns the sending and nothing of the content. A document counts as sent when the broker has confirmed it; one that gets
lost at the broker is sent again when its gateway reports another version, all others at each new connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from cloud.ingest import outgoing
from cloud.presence.rosters import service as rosters
from cloud.threads import in_thread
from firmware_specs.errors import StoreError
from firmware_specs.wire import topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud.db import Database
    from cloud.ingest.link import BrokerLink

EVERY_S: Final = 0.5
_log: Final = structlog.get_logger("ingest")


class Downlink:
    """Sends documents over one link after the other."""

    def __init__(self, database: Database, sos_s: int, clock: Callable[[], int]) -> None:
        self._database = database
        self._sos_s = sos_s
        self._clock = clock

    async def run(self, link: BrokerLink) -> None:
        """Send what waits until cancelled; a store that refuses is asked again."""
        known = False
        while True:
            try:
                if not known:
                    await in_thread(self._forget_what_was_sent)
                    known = True
                more = await in_thread(self.send, link)
            except StoreError as e:
                _log.warning("documents for gateways cannot be made", error=str(e))
                more = False
            await asyncio.sleep(0 if more else EVERY_S)

    def _forget_what_was_sent(self) -> None:
        with self._database.begin() as tx:
            outgoing.resend(tx)

    def send(self, link: BrokerLink) -> bool:
        """Make and send what waits, at most a batch; whether all of it went and there may be more."""
        more = self._send_desired(link)
        return self._send_orders(link) or more

    def _send_orders(self, link: BrokerLink) -> bool:
        now = self._clock()
        with self._database.read() as tx:
            over, waiting = outgoing.any_over(tx, now), outgoing.waiting(tx)
        if over:
            with self._database.begin() as tx:
                outgoing.expire(tx, now)
        gone = []
        for message in waiting:
            if not link.publish_retained(topic(message.gateway, *message.rest.split("/")), message.payload):
                break
            gone.append(message)
        if gone:
            with self._database.begin() as tx:
                for message in gone:
                    outgoing.sent(tx, message, now)
        return bool(gone) and len(gone) == len(waiting)

    def _send_desired(self, link: BrokerLink) -> bool:
        with self._database.read() as tx:
            waiting = rosters.waiting(tx)
        for gateway in waiting:
            with self._database.begin() as tx:
                made = rosters.refresh(tx, gateway, self._clock(), self._sos_s)
            if made is None:
                continue
            version, document = made
            if not link.publish_retained(topic(gateway, "desired"), document):
                return False
            with self._database.begin() as tx:
                rosters.sent(tx, gateway, version, self._clock())
        return bool(waiting)
