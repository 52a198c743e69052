"""D7: repeats and disorder change nothing: one alarm each, and any permutation of packs gives the same state.

`PATROL_REPEATS` sets the number of redeliveries.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from firmware_specs.readings import AlarmEvent, AlarmPhase, Lane, Reading, Severity
from tests.support import wait_for
from tests.system.fakegateway import FakeGateway, canary, packs_of
from tests.system.harness import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_specs.readings import Item
    from tests.system.fakegateway import WirePack
    from tests.system.harness import Json, Stack

REPEATS = int(os.environ.get("PATROL_REPEATS", "3000"))
pytestmark = [pytest.mark.system, pytest.mark.timeout(120 + REPEATS // 50)]
DEVICES = 10
OCCURRENCES = 60


def _alarms(gateway: str, start_ms: int) -> list[Item]:
    """Raise and clear of each occurrence, the last one of every device still burning."""
    events: list[Item] = []
    for number in range(OCCURRENCES):
        for phase in (AlarmPhase.RAISED, AlarmPhase.CLEARED):
            if phase is AlarmPhase.CLEARED and number >= OCCURRENCES - DEVICES:
                continue
            at = start_ms + number * 1000 + (500 if phase is AlarmPhase.CLEARED else 0)
            rule = ("test-counter/fire", "1.0")
            device = f"dev-{number % DEVICES}"
            name = f"{gateway}-occ-{number}"
            events.append(AlarmEvent(name, device, "fire", Severity.CRITICAL, phase, *rule, at, at))
    return events


def _readings(start_ms: int) -> list[Item]:
    return [
        Reading(f"dev-{i % DEVICES}", "n", float(i), "", start_ms + i * 10, start_ms + i * 10 + 1, i * 10)
        for i in range(1200)
    ]


def _state(stack: Stack, gateway: str) -> Json:
    """Everything that the cloud shows of a gateway, less the times of arrival and what carries its name."""
    alarms = [alarm for alarm in stack.items("/alarms") if alarm["gateway"] == gateway and alarm["kind"] == "fire"]
    shown = ("device", "kind", "severity", "state", "raised_at", "late")
    devices = {f"dev-{i}": stack.get(f"/devices/{gateway}/dev-{i}") for i in range(DEVICES)}
    latest = {name: device["latest"]["n"] for name, device in devices.items()}
    return {
        "alarms": sorted(([alarm[key] for key in shown] for alarm in alarms), key=str),
        "latest": {name: (n["value"], n["observed_at"], n["quality"]) for name, n in latest.items()},
        "states": {name: device["state"] for name, device in devices.items()},
        "history": {name: stack.raw(name, "n", gateway) for name in devices},
        "ledger": stack.get(f"/gateways/{gateway}")["ledger"],
    }


def _mixed(packs: list[WirePack], publishes: int, dice: random.Random) -> list[WirePack]:
    """Every pack at least once, in a random order with random repeats."""
    order = [*packs, *dice.choices(packs, k=publishes - len(packs))]
    dice.shuffle(order)
    return order


def _deliver(gateway: FakeGateway, packs: list[WirePack], order: list[WirePack]) -> None:
    for sent in [gateway.publish(pack) for pack in order]:
        sent.wait_for_publish(60)
    total = {lane: sum(_count(pack) for pack in packs if pack.lane is lane) for lane in Lane}
    for lane in Lane:
        wait_for(lambda lane=lane: gateway.through(lane) == total[lane], 60, f"{lane} acknowledged")  # type: ignore[misc]
        gateway.publish(canary(lane, total[lane] + 1)).wait_for_publish(10)
    # The cloud takes packs of one connection in order: an answered canary means that every repeat was dealt with.
    before = len(gateway.acks)
    gateway.publish(canary(Lane.TELEMETRY, total[Lane.TELEMETRY] + 1)).wait_for_publish(10)
    wait_for(lambda: len(gateway.acks) > before, 10, "the canary acknowledged")


def _count(pack: WirePack) -> int:
    return int(dict(pack.properties)["count"])


def test_D7_any_permutation_with_any_repeats_gives_the_same_state(make_stack: Callable[..., Stack]) -> None:
    seed = int(os.environ.get("PATROL_SEED", "7"))
    dice = random.Random(seed)
    stack = make_stack()
    stack.start(stack.north, stack.cloud)
    start_ms = now_ms() - 80_000
    names = ("gw-straight", "gw-shuffled", "gw-repeated")
    for name in names:
        stack.cloud_verb("gateway", "add", name)
    for name, publishes in zip(names, (0, 1, REPEATS), strict=True):
        packs = packs_of(_readings(start_ms), Lane.TELEMETRY, 20) + packs_of(_alarms(name, start_ms), Lane.ALARMS, 1)
        with FakeGateway(stack.north_port, name) as gateway:
            _deliver(gateway, packs, _mixed(packs, max(publishes, len(packs)), dice) if publishes else packs)
    straight, shuffled, repeated = (_state(stack, name) for name in names)
    assert len(straight["alarms"]) == OCCURRENCES
    assert sum(1 for alarm in straight["alarms"] if alarm[3] == "open") == DEVICES
    assert straight["ledger"]["lost"] == 0
    assert straight["ledger"]["received"] == 1200 + 2 * OCCURRENCES - DEVICES
    assert shuffled == straight
    assert repeated == straight


def test_D7_what_the_gateway_gave_up_on_counts_as_lost(make_stack: Callable[..., Stack]) -> None:
    """The negative control of the ledger: a pack that never comes shows, once `base` says that it never will."""
    stack = make_stack()
    stack.start(stack.north, stack.cloud)
    packs = packs_of(_readings(now_ms() - 20_000), Lane.TELEMETRY, 100)
    with FakeGateway(stack.north_port, stack.gateway) as gateway:
        for pack in packs[:3] + packs[4:]:
            gateway.publish(pack).wait_for_publish(10)
        wait_for(lambda: gateway.through(Lane.TELEMETRY) == 300, 20, "everything before the hole acknowledged")
        assert stack.ledger()["lost"] == 0
        gateway.publish(canary(Lane.TELEMETRY, 1201)).wait_for_publish(10)
        wait_for(lambda: stack.ledger()["lost"] == 100, 20, "100 readings counted as lost")
        wait_for(lambda: gateway.through(Lane.TELEMETRY) == 1200, 20, "the acknowledgement of all of it")
