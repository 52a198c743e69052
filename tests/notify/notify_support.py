"""What the notification tests share: a message, a channel, a sender with its own clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cloud.alerts.notify import channels, deliveries, service
from cloud.alerts.notify.models import ChannelIn, DeliveryFilter
from cloud.alerts.notify.sender import Sender
from cloud.org.rules import ROOT, SYSTEM, Role
from firmware_specs.readings import Severity
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from cloud.alerts.notify.guard import Resolver
    from cloud.alerts.notify.models import ChannelMade, DeliveryView
    from cloud.config import Config
    from cloud.db import Database

SECRET = "a secret of sixteen"
EVERYBODY = [role.value for role in Role]


def message(key: str = "alarm:1", **more: object) -> service.Message:
    base = service.Message(
        node=ROOT, subject="alarm", subject_id=1, template="alarm.raised",
        values={"what_zh": "烟雾", "what_en": "Smoke", "where": "3 号楼"}, severity=Severity.MAJOR,
        roles=(Role.DISPATCHER,), urgent=False, drill=False, key=key,
    )  # fmt: skip
    changed: dict[str, Any] = more
    return base._replace(**changed)


def channel(db: Database, target: str, allowed: Iterable[str] = (), **more: object) -> ChannelMade:
    given = {"name": "desk", "target": target, "secret": SECRET, "audience": EVERYBODY, **more}
    if given.get("kind") == "apprise":
        given["secret"] = None
    with db.begin() as tx:
        wanted = ChannelIn.model_validate(given)
        return channels.add_channel(tx, SYSTEM, wanted, now_ms=NOW, allowed=channels.hosts_of(list(allowed)))


def put(db: Database, *messages: service.Message, now: int = NOW) -> list[int]:
    with db.begin() as tx:
        return [service.enqueue(tx, each, now) for each in messages]


def listed(db: Database, **query: object) -> list[DeliveryView]:
    """Oldest first."""
    with db.read() as tx:
        page = deliveries.list_deliveries(tx, SYSTEM, DeliveryFilter.model_validate(query), limit=1000)
    return list(reversed(page.items))


class Work:
    """A sender whose time is what the test says."""

    def __init__(
        self, config: Config, db: Database, *, now: int = NOW, resolver: Resolver | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.now = now
        more: dict[str, Any] = {"resolver": resolver} if resolver else {}
        self.sender = Sender(config, db, clock=lambda: self.now, context=context, **more)

    def look(self, times: int = 1) -> int:
        """Take what is due, wait until it is sent; how many."""

        async def run() -> int:
            done = 0
            for _ in range(times):
                done += await self.sender.look()
                await self.sender.settle()
            return done

        return asyncio.run(run())

    def drain(self) -> int:
        """Until nothing is due any more."""
        done = 0
        while count := self.look():
            done += count
        return done
