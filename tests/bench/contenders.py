"""What the gateway is compared with, each between its own two brokers, and the load they all get.

Owns how each contender is set up as a person would run it. What is measured is in `peers.py`.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.support import wait_for

from .load import Message, Sink, Source
from .relay import Relay
from .rig import PROFILES, AckingCloud, Process, broker, free_ports, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES = 500
GATEWAY = "gw-bench"
Key = tuple[str, int]


def messages(count: int, first_ms: int, devices: int = DEVICES) -> list[tuple[bytes, bytes]]:
    """Messages that each have their own device time; values stay off the alarm limits."""
    return [
        (
            b"sensors/d%03d" % (i % devices),
            b'{"temp":%d.%d,"hum":%d,"bat":%d,"ts":%d}' % (15 + i % 20, i % 10, 30 + i % 40, 40 + i % 60, first_ms + i),
        )
        for i in range(count)
    ]


def keys_of(count: int, first_ms: int) -> list[Key]:
    return [(f"d{i % DEVICES:03d}", first_ms + i) for i in range(count)]


class North(Protocol):
    """What counts at the north side."""

    def done(self) -> int:
        """Messages that arrived, roughly: good enough to know when to stop."""

    def arrivals(self) -> tuple[Counter[Key], dict[Key, float]]:
        """How often each message arrived, and when it first did."""


class _Plain:
    """The north side of a peer that copies messages as they are."""

    def __init__(self) -> None:
        self.got: list[Message] = []

    def done(self) -> int:
        return len(self.got)

    def arrivals(self) -> tuple[Counter[Key], dict[Key, float]]:
        counts: Counter[Key] = Counter()
        first_at: dict[Key, float] = {}
        for message in self.got:
            key = (message.topic.rpartition("/")[2], int(message.payload.rpartition(b":")[2][:-1]))
            counts[key] += 1
            first_at.setdefault(key, message.at_s)
        return counts, first_at


class _Packs:
    """The north side of the gateway."""

    def __init__(self, cloud: AckingCloud) -> None:
        self.cloud = cloud

    def done(self) -> int:
        return self.cloud.readings // 3

    def arrivals(self) -> tuple[Counter[Key], dict[Key, float]]:
        return self.cloud.arrivals()


@dataclass
class Run:
    """A contender between its two brokers."""

    process: Process
    south_port: int
    relay: Relay
    north: North


@contextmanager
def gateway() -> Iterator[Run]:
    """PatrolGrid's agent."""
    with scratch() as folder, ExitStack() as stack:
        south_port, north_port = free_ports(2)
        stack.enter_context(broker(folder, "south", south_port))
        stack.enter_context(broker(folder, "north", north_port))
        relay = stack.enter_context(Relay(north_port))
        cloud = stack.enter_context(AckingCloud(north_port, GATEWAY))
        config = folder / "gateway.toml"
        config.write_text(gateway_toml(folder, south_port, relay.port))
        program = str(Path(sys.executable).parent / "patrol-edge")
        process = stack.enter_context(Process([program, "run", "--config", str(config)], folder / "edge.log"))
        north = _Packs(cloud)
        _wait_through(south_port, north, process)
        yield Run(process, south_port, relay, north)


def gateway_toml(folder: Path, south_port: int, uplink_port: int) -> str:
    """A gateway of 500 MQTT devices."""
    return (
        f'gateway = "{GATEWAY}"\nstate_dir = "{folder}/edge"\nprofiles_dir = "{PROFILES}"\n'
        f'[uplink]\nurl = "mqtt://127.0.0.1:{uplink_port}"\nbackoff_max_s = 2.0\n'
        f'[[connectors]]\nname = "sensors"\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{south_port}"\n'
        "backoff_max_s = 2.0\n"
        + "".join(
            f'[[devices]]\nid = "d{i:03d}"\nprofile = "bench-probe"\nconnector = "sensors"\n'
            f'address = "sensors/d{i:03d}"\n'
            for i in range(DEVICES)
        )
    )


@contextmanager
def copy_loop() -> Iterator[Run]:
    """The bare paho copy loop."""
    with scratch() as folder, ExitStack() as stack:
        south_port, north_port = free_ports(2)
        stack.enter_context(broker(folder, "south", south_port))
        stack.enter_context(broker(folder, "north", north_port))
        relay = stack.enter_context(Relay(north_port))
        north = _Plain()
        stack.enter_context(Sink(north_port, "sensors/#", north.got.append))
        argv = [sys.executable, str(Path(__file__).with_name("copyloop.py")), str(south_port), str(relay.port)]
        process = stack.enter_context(Process(argv, folder / "copy.log"))
        _wait_through(south_port, north, process)
        yield Run(process, south_port, relay, north)


@contextmanager
def bridge() -> Iterator[Run]:
    """A mosquitto that bridges: here the south broker is the contender itself."""
    with scratch() as folder, ExitStack() as stack:
        south_port, north_port = free_ports(2)
        stack.enter_context(broker(folder, "north", north_port))
        relay = stack.enter_context(Relay(north_port))
        north = _Plain()
        stack.enter_context(Sink(north_port, "sensors/#", north.got.append))
        lines = (
            "persistence true", f"persistence_location {folder}/", "autosave_interval 1", "max_inflight_messages 1000",
            "connection up", f"address 127.0.0.1:{relay.port}", "topic sensors/# out 1", "cleansession false",
            "restart_timeout 1 2", "bridge_attempt_unsubscribe false", "notifications false",
        )  # fmt: skip
        process = stack.enter_context(broker(folder, "south", south_port, *lines))
        _wait_through(south_port, north, process)
        yield Run(process, south_port, relay, north)


def _wait_through(south_port: int, north: North, process: Process) -> None:
    """Wait until the whole path works: send messages of another time until one has come through."""
    stop = threading.Event()
    Source(south_port, messages(2000, 1_600_000_000_000), "probe").thread(20, deadline_s=60, stop=stop)
    try:
        wait_for(lambda: north.done() >= 3, 30, f"a message through {process.argv[0]}: {process.running.text()[-500:]}")
    finally:
        stop.set()


Contender = Callable[[], AbstractContextManager[Run]]
CONTENDERS: dict[str, Contender] = {
    "PatrolGrid edge agent": gateway,
    "bare paho copy loop, no checks, no storage": copy_loop,
    "mosquitto bridge (C, no decoding)": bridge,
}
