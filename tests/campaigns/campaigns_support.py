"""What the tests of campaigns share: a fleet, a kind of change that notes what is ordered, and the engine's turns."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cloud import timers
from cloud.devices import service as devices
from cloud.devices.campaigns import hooks, service
from cloud.devices.campaigns.models import Choice, MemberQuery, NewCampaign, PolicyBody
from cloud.errors import Invalid
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from firmware_specs.wire import Status
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from cloud.db import Database
    from cloud.devices.campaigns.models import CampaignDetail

AUTHOR = Principal("user", 1, "ada", Role.ADMINISTRATOR)
OTHER = Principal("user", 2, "bo", Role.ADMINISTRATOR)
QUICK: dict[str, Any] = {"soak_s": 0, "health": False, "timeout_s": 60, "offline_s": 600}
"""A policy that waits for nothing."""


class Orders:
    """A kind of change whose orders are noted. refused: gateways of which it cannot be ordered."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.backed: list[str] = []
        self.refused: set[str] = set()

    def start(self, _tx: Connection, _campaign: int, _s: hooks.Subject, gateway: str, _device: str, _now: int) -> None:
        if gateway in self.refused:
            raise Invalid(f"gateway {gateway}: takes no orders")
        self.started.append(gateway)

    def stop(self, _tx: Connection, _campaign: int, _s: hooks.Subject, gateway: str, _device: str, _now: int) -> None:
        self.stopped.append(gateway)

    def back(self, _tx: Connection, _campaign: int, _s: hooks.Subject, gateway: str, _device: str, _now: int) -> None:
        self.backed.append(gateway)


@contextmanager
def ordering(name: str = "test", **more: Any) -> Iterator[Orders]:  # noqa: ANN401 - the rest of a kind
    """A kind that is there for a while."""
    orders = Orders()
    hooks.KINDS[name] = hooks.Kind(**{"start": orders.start, "stop": orders.stop, "back": orders.back} | more)
    try:
        yield orders
    finally:
        del hooks.KINDS[name]


def names(count: int) -> list[str]:
    return [f"gw-{number:03d}" for number in range(count)]


def fleet(db: Database, count: int, *, offline: int = 0, node: str = ROOT, version: str = "1.0") -> list[str]:
    """Gateways of which the last so many are offline."""
    found = names(count)
    actor = Principal("system", 0, "tests", Role.ADMINISTRATOR, node)
    with db.begin() as tx:
        for number, name in enumerate(found):
            devices.add_gateway(tx, actor, name, NOW)
            if number < count - offline:
                come(tx, name, NOW, version)
    return found


def come(tx: Connection, gateway: str, now_ms: int, version: str = "1.0") -> None:
    """A gateway is there and says so, as ingest tells it."""
    status = Status(online=True, agent_version=version, boot="b", config_hash="h", at_ms=now_ms)
    devices.apply_status(tx, gateway, status, now_ms)
    from cloud.ingest import hooks as ingest

    for call in ingest.STATUS:
        call(tx, gateway, status, now_ms)


def begun(db: Database, policy: dict[str, Any] | None = None, now: int = NOW, **choice: Any) -> int:  # noqa: ANN401
    """A campaign of kind `test` that was approved and started."""
    new = NewCampaign(
        kind="test", title="t", subject={"to": "2.0"}, choice=Choice(**choice),
        policy=PolicyBody(**QUICK | (policy or {})),
    )  # fmt: skip
    with db.begin() as tx:
        made = service.create(tx, AUTHOR, new, now)
        service.approve(tx, OTHER, made.id, now)
        service.start(tx, AUTHOR, made.id, now)
    return made.id


def turns(db: Database, now: int = NOW) -> None:
    """Let everything happen that is due, a turn a millisecond."""
    for later in range(now, now + 500):
        with db.begin() as tx:
            due = timers.next_due(tx)
            if due is None or due > later:
                return
            timers.tick(tx, later)
    raise AssertionError("the engine does not come to rest")


def tell(db: Database, campaign: int, gateways: Sequence[str], *, ok: bool = True, now: int = NOW, **more: Any) -> int:  # noqa: ANN401
    """Outcomes; how many changed anything."""
    with db.begin() as tx:
        return sum(
            service.outcome(tx, campaign, gateway, "", ok, "" if ok else "broken", now, **more) for gateway in gateways
        )


def seen(db: Database, campaign: int) -> CampaignDetail:
    with db.read() as tx:
        return service.get_campaign(tx, SYSTEM, campaign)


def standing(db: Database, campaign: int, **query: Any) -> dict[str, str]:  # noqa: ANN401 - of a list
    """Gateway and state of members."""
    with db.read() as tx:
        page = service.list_members(tx, SYSTEM, campaign, MemberQuery(limit=1000, **query))
    return {item.gateway: item.state.value for item in page.items}
