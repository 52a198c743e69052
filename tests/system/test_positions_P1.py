"""P1 and P2 from end to end: a real gateway learns of shifts and holds to them, and an SOS overrides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.bench.load import Source
from tests.support import wait_for
from tests.system.harness import Device, _udp_taken, iso, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
TOPIC = "owntracks/a/1"
HOUR_MS = 3_600_000


class Walk:
    """An armband that says where it is; every word has another battery, so that it is seen to have arrived."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.words = 0

    def say(self, *, sos: bool = False) -> int:
        """Publish one location; its time."""
        self.words += 1
        at_s = now_ms() // 1000 + self.words
        told = {
            "_type": "location",
            "lat": 34.123456,
            "lon": 108.9,
            "acc": 5,
            "tst": at_s,
            "batt": 50 + self.words,
            "vel": 4,
        }
        payload = json.dumps(told | ({"sos": True} if sos else {})).encode()
        Source(self.stack.south_port, [(TOPIC.encode(), payload)], f"walk-{self.words}").run(deadline_s=10)
        return at_s * 1000

    def arrived(self) -> list[int]:
        """Wait until the last word is in the cloud; the times of all positions that are there."""
        battery = 50.0 + self.words
        wait_for(lambda: battery in [v for _, v in self.stack.raw("arm-1", "battery")], 15, f"word {self.words}")
        return [at for at, _ in self.stack.raw("arm-1", "position")]


def _in_force(stack: Stack, count: int) -> None:
    """Wait until the gateway has held to so many documents since the test began."""
    wait_for(
        lambda: stack.edge.log.read_text(errors="replace").count("desired document in force") >= count,
        15, f"{count} documents in force; {stack.edge.tail()}",
    )  # fmt: skip


def _kept_at_the_edge(stack: Stack) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(stack.state_dir.glob("outbox.db*")))


def test_P1_P2_shifts_reach_the_gateway_hold_offline_and_yield_to_an_sos(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([Device("arm-1", "owntracks-armband", "sensors", TOPIC)])
    stack.start()
    stack._token = stack.cloud_verb("token", "add", "planner", "--role", "supervisor").split()[-1]
    walk = Walk(stack)
    _in_force(stack, 1)
    member = stack.request("POST", "/members", {"call_sign": "鹰-1", "node": "/"})["id"]
    thing = {"gateway": stack.gateway, "device": "arm-1", "kind": "armband", "node": "/"}
    armband = stack.request("POST", "/equipment", thing)["id"]
    _in_force(stack, 2)
    walk.say()
    assert walk.arrived() == []
    assert b"34.123456" not in _kept_at_the_edge(stack)

    times = {"starts_at": iso(now_ms() - 60_000), "ends_at": iso(now_ms() + HOUR_MS)}
    shift = stack.request("POST", "/shifts", {"member": member, "armband": armband, **times})["id"]
    _in_force(stack, 3)
    on_shift = walk.say()
    assert walk.arrived() == [on_shift]

    stack.request("POST", f"/shifts/{shift}/end", {"note": "ill"})
    _in_force(stack, 4)
    wait_for(lambda: now_ms() > on_shift, 5, "the second after")
    stack.edge.kill()
    stack.north.kill()
    stack.edge.start()
    wait_for(lambda: _udp_taken(stack.coap_port), 15, "the gateway, offline")
    walk.words += 2
    walk.say()
    stack.north.start()
    assert walk.arrived() == [on_shift], "kept over the restart, without the cloud"

    called = walk.say(sos=True)
    assert walk.arrived() == [on_shift, called]
    (lifted,) = stack.items("/overrides")
    assert (lifted["device"], lifted["call_sign"]) == ("arm-1", None)
    assert "sos" in {alarm["kind"] for alarm in stack.items("/alarms") if alarm["device"] == "arm-1"}
    assert stack.ledger()["lost"] == 0
