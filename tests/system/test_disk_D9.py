"""D9: with a disk that refuses, alarms still go out live, nothing is accepted unkept, and the gateway recovers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from firmware_specs import wire
from tests.bench.load import Message, Sink, Source
from tests.support import wait_for
from tests.system.coapfeed import CoapFeeder
from tests.system.faults import allow_growth, log_through_pipe, refuse_growth
from tests.system.harness import coap_counter, counter, counter_frame, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


class _Status:
    """The gateway's last retained status."""

    def __init__(self) -> None:
        self.degraded = ""
        self.changed = threading.Event()

    def take(self, message: Message) -> None:
        self.degraded = wire.decode_status(message.payload).degraded


def test_D9_disk_full_alarms_go_out_live_and_the_gateway_recovers_by_itself(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([counter("mqtt-1"), coap_counter("coap-1")])
    log_through_pipe(stack.edge)
    stack.start()
    pid = stack.edge.running.pid
    first_ms = now_ms()
    feeder = CoapFeeder(stack.coap_port, "coap-1", first_ms)
    feeder.start()
    wait_for(lambda: feeder.accepted >= 3, 20, "readings accepted while the disk works")
    status = _Status()
    with Sink(stack.north_port, wire.topic(stack.gateway, "status"), status.take, "status"):
        refuse_growth(stack.edge)
        wait_for(lambda: status.degraded, 30, "the gateway says that it is degraded")
        print(f"degraded: {status.degraded}")
        before = feeder.accepted
        Source(stack.south_port, [(b"sensors/mqtt-1", counter_frame(0, first_ms, fire=True))]).thread(deadline_s=60)
        wait_for(lambda: _fires(stack) == 1, 10, "the alarm in the cloud while the disk is full")
        accepted = feeder.accepted
        held = {int(value) for _, value in stack.raw("coap-1")}
        assert held >= set(range(before + 1, accepted)), "2.04 for readings that neither the disk nor the cloud holds"
        assert stack.edge.running.alive
        allow_growth(stack.edge)
        wait_for(lambda: feeder.accepted >= before + 5, 30, "readings accepted again")
        wait_for(lambda: not status.degraded, 30, "the gateway says that it is well")
    feeder.finish()
    wait_for(lambda: len(stack.raw("coap-1")) >= feeder.accepted, 30, "every accepted reading in the cloud")
    assert {int(value) for _, value in stack.raw("coap-1")} >= set(range(feeder.accepted))
    assert stack.edge.running.pid == pid
    assert _fires(stack) == 1, "the live alarm and the kept one are one"
    assert stack.ledger()["lost"] == 0


def _fires(stack: Stack) -> int:
    return sum(1 for alarm in stack.items("/alarms") if alarm["kind"] == "fire")
