"""D8: clocks lie: jumps between 1970 and 2099 and by an hour drop nothing, keep the order, and are marked."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from firmware_specs import wire
from firmware_specs.readings import Clock, Reading
from tests.bench.load import Message, Sink, Source
from tests.support import wait_for
from tests.system.faults import FakeClock
from tests.system.harness import counter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
HOUR_S = 3600
YEAR_S = 31_557_600
TO_1970_S = -56 * YEAR_S
TO_2099_S = 73 * YEAR_S
JUMPS_S = (0, HOUR_S, -HOUR_S, TO_1970_S, TO_2099_S, TO_1970_S, HOUR_S, TO_2099_S, -HOUR_S, 0)
A_JUMP = 20


class _Heard:
    """What the gateway sent in its telemetry lane, by sequence."""

    def __init__(self) -> None:
        self.items: dict[int, tuple[str, Reading]] = {}

    def take(self, message: Message) -> None:
        pack = wire.decode_pack("telemetry", message.properties, message.payload)
        for sequence, item in pack.items:
            if isinstance(item, Reading) and item.metric == "n":
                self.items[sequence] = (pack.header.boot, item)


def test_D8_clock_jumps_drop_nothing_keep_the_order_and_are_marked(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([counter("mqtt-1")])
    clock = FakeClock(stack.edge, stack.folder)
    stack.start()
    jumps = [*JUMPS_S, *random.Random(8).choices(JUMPS_S[1:-1], k=10), 0]
    heard = _Heard()
    number = 0
    wrong: set[int] = set()
    with Sink(stack.north_port, wire.topic(stack.gateway, "up", "telemetry"), heard.take):
        for jump in jumps:
            clock.shift(jump)
            # No time in the message: the gateway's clock is all there is.
            frames = [
                (b"sensors/mqtt-1", json.dumps({"n": n, "fire": False}).encode())
                for n in range(number, number + A_JUMP)
            ]
            if jump:
                wrong.update(range(number, number + A_JUMP))
            number += A_JUMP
            Source(stack.south_port, frames, f"src-{number}").run(deadline_s=20)
            _wait_stored(stack, number - 1, f"reading {number - 1} in the cloud at shift {jump} s")
    stored = sorted(value for _, value in stack.raw("mqtt-1"))
    assert stored == list(range(number)), "0 dropped, 0 twice"
    ledger = stack.ledger()
    assert ledger["lost"] == 0
    assert ledger["thinned"] == 0
    _order_kept_and_marked(heard, number, wrong)
    assert stack.edge.running.alive


def _wait_stored(stack: Stack, number: int, what: str) -> None:
    def stored() -> bool:
        known = stack.try_get(f"/devices/{stack.gateway}/mqtt-1")
        return bool(known) and number in {value for _, value in stack.raw("mqtt-1")}

    wait_for(stored, 20, what)


def _order_kept_and_marked(heard: _Heard, number: int, wrong: set[int]) -> None:
    ordered = [heard.items[sequence] for sequence in sorted(heard.items)]
    assert [reading.value for _, reading in ordered] == list(range(number)), "order by sequence"
    assert len({boot for boot, _ in ordered}) == 1
    monotonic = [reading.monotonic_ms for _, reading in ordered]
    assert monotonic == sorted(monotonic), "the monotonic time never went back"
    marked = {int(reading.value) for _, reading in ordered if reading.clock is not Clock.SYNCED}  # type: ignore[arg-type]
    assert wrong <= marked, f"taken under a wrong clock, yet marked synced: {sorted(wrong - marked)[:5]}"
