"""D1: an alarm reaches an open event stream, and again after every kind of break that leaves a path."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.bench.load import Source
from tests.bench.relay import Relay
from tests.support import wait_for
from tests.system.harness import counter, counter_frame, now_ms
from tests.system.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


def _raise(stack: Stack, device: str) -> float:
    sent = time.monotonic()
    frame = counter_frame(1, now_ms(), fire=True)
    Source(stack.south_port, [(f"sensors/{device}".encode(), frame)], f"src-{device}").run(deadline_s=10)
    return sent


def test_D1_an_alarm_reaches_the_event_stream_at_once_and_within_10_s_after_any_break(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack([counter(f"alarm-{i}") for i in range(4)])
    stack.start(stack.south, stack.north)
    with Relay(stack.north_port) as relay:
        stack.write_edge_toml([counter(f"alarm-{i}") for i in range(4)], {}, relay.port)
        stack.start(stack.cloud, stack.edge)
        with Listener(stack) as listener:
            _through_all_breaks(stack, relay, listener)


def _through_all_breaks(stack: Stack, relay: Relay, listener: Listener) -> None:
    _told_within(stack, listener, "alarm-0", 2)
    stack.edge.kill()
    stack.edge.start()
    _told_within(stack, listener, "alarm-1", 10)
    relay.cut()
    wait_for(lambda: not stack.online(), 10, "the gateway offline")
    relay.mend()
    _told_within(stack, listener, "alarm-2", 10)
    stack.north.kill()
    stack.north.start()
    _told_within(stack, listener, "alarm-3", 10)


def _told_within(stack: Stack, listener: Listener, device: str, seconds: float) -> None:
    sent = _raise(stack, device)
    at = wait_for(lambda: listener.alarm_of(device), seconds, f"the alarm of {device} on the stream")
    assert at is not None
    print(f"{device}: {1000 * (at - sent):.0f} ms")
