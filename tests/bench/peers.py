"""The gateway beside two peers on the same load: a bare paho copy loop and a mosquitto bridge.

500 devices publish JSON over MQTT QoS 1, three readings a message, to a south mosquitto; the contender brings them to a
north mosquitto. The gateway decodes, checks, judges alarm rules and commits every reading to disk before it
acknowledges it; the peers copy bytes. "Lost" counts messages that the south broker acknowledged to the sensor.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support import wait_for

from .contenders import CONTENDERS, keys_of, messages
from .load import Source
from .results import Cell, Result, Table, median, percentile

if TYPE_CHECKING:
    from .contenders import Contender, Key, North

RATE_S = 200.0
OUTAGE_RATE_S = 500.0


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    burst: int
    steady_s: float
    outage_s: float
    around_s: float


FULL = Effort(burst=60_000, steady_s=20, outage_s=30, around_s=10)
QUICK = Effort(burst=15_000, steady_s=5, outage_s=5, around_s=3)


def now_ms() -> int:
    """The wall clock in milliseconds UTC."""
    return time.time_ns() // 1_000_000


def sustained(make: Contender, effort: Effort) -> tuple[float, float]:
    """Messages a second with a backlog, first sent to last arrived; and the contender's processor seconds per 1,000."""
    with make() as run:
        first_ms = now_ms()
        source = Source(run.south_port, messages(effort.burst, first_ms))
        before, cpu = run.north.done(), run.process.cpu_s()
        source.run()
        keys = keys_of(effort.burst, first_ms)
        _all_there(run.north, before, keys, 180)
        cpu = run.process.cpu_s() - cpu
        counts, first_at = run.north.arrivals()
        assert all(counts[key] == 1 for key in keys), "a burst without faults must arrive whole and once"
        elapsed = max(first_at[key] for key in keys) - source.sent_at[0]
        return effort.burst / elapsed, 1000 * cpu / effort.burst


def steady(make: Contender, effort: Effort) -> tuple[float, float, float, float]:
    """At 200/s: p50 and p99 in ms from sent to arrived, processor seconds per 1,000; and idle resident MiB before."""
    with make() as run:
        settle = threading.Event()
        settle.wait(1)
        resident = run.process.resident_mib()
        count = int(RATE_S * effort.steady_s)
        first_ms = now_ms()
        source = Source(run.south_port, messages(count, first_ms))
        before, cpu = run.north.done(), run.process.cpu_s()
        source.run(RATE_S)
        keys = keys_of(count, first_ms)
        _all_there(run.north, before, keys, 30)
        cpu = run.process.cpu_s() - cpu
        _, first_at = run.north.arrivals()
        latency = [1000 * (first_at[key] - source.sent_at[i]) for i, key in enumerate(keys)]
        return percentile(latency, 0.5), percentile(latency, 0.99), 1000 * cpu / count, resident


def outage(make: Contender, effort: Effort, *, kill: bool) -> tuple[int, int, int]:
    """Uplink down for `outage_s` at 500 messages/s, the contender killed in the middle or not: sent, lost, twice."""
    with make() as run:
        count = int(OUTAGE_RATE_S * (effort.outage_s + 2 * effort.around_s))
        first_ms = now_ms()
        source = Source(run.south_port, messages(count, first_ms))
        thread = source.thread(OUTAGE_RATE_S)
        clock = threading.Event()
        clock.wait(effort.around_s)
        run.relay.cut()
        clock.wait(effort.outage_s / 2)
        if kill:
            run.process.kill_and_start()
        clock.wait(effort.outage_s / 2)
        run.relay.mend()
        thread.join(60 + effort.around_s)
        _settle(run.north)
        counts, _ = run.north.arrivals()
        keys = keys_of(source.acked, first_ms)
        return len(keys), sum(1 for key in keys if not counts[key]), sum(1 for key in keys if counts[key] > 1)


def _all_there(north: North, before: int, keys: list[Key], timeout_s: float) -> None:
    """Wait for messages. The gateway's readings of itself count too at the north side, so the last is looked for."""
    wait_for(
        lambda: north.done() - before >= len(keys) and keys[-1] in north.arrivals()[1], timeout_s, "the last message"
    )


def _settle(north: North, quiet_s: float = 4.0) -> None:
    """Wait until nothing has arrived for a while."""
    clock = threading.Event()
    last, since = north.done(), time.monotonic()
    while time.monotonic() - since < quiet_s:
        clock.wait(0.1)
        if north.done() != last:
            last, since = north.done(), time.monotonic()


def run(*, quick: bool) -> Result:
    """All contenders, one after the other."""
    effort = QUICK if quick else FULL
    rows: list[list[Cell]] = []
    for name, make in CONTENDERS.items():
        bursts = [sustained(make, effort) for _ in range(1 if quick else 3)]
        p50, p99, cpu, resident = steady(make, effort)
        sent, lost, twice = outage(make, effort, kill=False)
        _, lost_killed, twice_killed = outage(make, effort, kill=True)
        rows.append([
            name, median([rate for rate, _ in bursts]), f"{p50:.1f} / {p99:.1f}", cpu, resident,
            f"{lost:,} ({twice:,} twice) of {sent:,}", f"{lost_killed:,} ({twice_killed:,} twice)",
        ])  # fmt: skip
        sys.stderr.write(f"peers: {name}: {rows[-1][1:]}\n")
    columns = (
        "", "sustained messages/s", "p50 / p99 ms at 200/s", "CPU s per 1,000 at 200/s", "idle resident MiB",
        f"lost in a {effort.outage_s:.0f} s outage", "lost when also killed -9",
    )  # fmt: skip
    note = (
        "500 devices, JSON over MQTT QoS 1, three readings a message, south mosquitto to north mosquitto, median of "
        f"{1 if quick else 3} bursts of {effort.burst:,}. The gateway's north side is a stand-in that acknowledges "
        "packs at once. Load from bare sockets (tests/bench/load.py), so that the generator is not what is measured. "
        "All brokers run with `set_tcp_nodelay`: without it two small packets in a row wait up to 40 ms for an "
        "acknowledgement of TCP, whoever the contender is. The gateway reads and commits the first message after a "
        "silence at once, and what then trickles in every 10 ms, which its latency includes."
    )
    return Result([Table("The gateway beside its peers", columns, rows, note)])
