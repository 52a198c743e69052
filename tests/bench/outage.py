"""The outage figure: uplink down at 500 readings/s, then `kill -9` of the agent, then the uplink back."""

from __future__ import annotations

import threading
from collections import Counter

from tests.support import wait_for
from tests.system.harness import Device, Stack, now_ms

from .contenders import messages
from .load import Source
from .relay import Relay
from .results import Cell, Result, Table
from .rig import PROFILES, scratch

DEVICES = 50
READINGS_S = 500.0
METRICS = ("temperature", "humidity", "battery")


def run(*, quick: bool) -> Result:
    """Cut, kill, mend, and look at what the store has."""
    outage_s = 5.0 if quick else 30.0
    devices = [Device(f"d{i:03d}", "bench-probe", "sensors", f"sensors/d{i:03d}") for i in range(DEVICES)]
    with scratch() as folder, Stack(folder, devices, profiles=(PROFILES,)) as stack:
        stack.start(stack.south, stack.north)
        with Relay(stack.north_port) as relay:
            stack.write_edge_toml(devices, {}, relay.port)
            stack.start(stack.cloud, stack.edge)
            sent, lost, twice, drain_s, ledger = _measure(stack, relay, outage_s)
    row: list[Cell] = [f"{outage_s:.0f} s, then kill -9 of the agent", sent, lost, twice, ledger["lost"], drain_s]
    columns = ("uplink down", "readings accepted", "lost", "stored or counted twice", "ledger: lost", "s to drain")
    note = (
        f"{READINGS_S:.0f} readings/s from {DEVICES} devices, real cloud with the embedded stores. Lost: accepted by "
        "the sensors' broker and not in the store. Twice: more rows than readings, or counted more than once in the "
        "gateway's ledger."
    )
    return Result([Table("Outage, then a power cut", columns, [row], note)])


def _measure(stack: Stack, relay: Relay, outage_s: float) -> tuple[int, int, int, float, dict[str, int]]:
    clock = threading.Event()
    around_s = 3.0
    first_ms = now_ms()
    rate = READINGS_S / len(METRICS)
    count = int(rate * (outage_s + 2 * around_s))
    source = Source(stack.south_port, messages(count, first_ms, DEVICES))
    thread = source.thread(rate)
    clock.wait(around_s)
    relay.cut()
    clock.wait(outage_s)
    stack.edge.kill()
    stack.edge.start()
    relay.mend()
    back_ms = now_ms()
    thread.join(60)
    accepted = Counter(f"d{i % DEVICES:03d}" for i in range(source.acked))

    def drained() -> bool:
        views = [stack.try_get(f"/devices/{stack.gateway}/{device}") for device in accepted]
        return all(views) and sum(stack.ledger().values()) >= len(METRICS) * source.acked

    wait_for(drained, 120, "the backlog in the cloud")
    drain_s = (now_ms() - back_ms) / 1000
    lost = twice = 0
    for number, device in enumerate(accepted):
        times = {first_ms + i for i in range(number, source.acked, DEVICES)}
        for metric in METRICS:
            stored = [at for at, _ in stack.raw(device, metric)]
            lost += len(times - set(stored))
            twice += len(stored) - len(set(stored))
    ledger = stack.ledger()
    total = len(METRICS) * source.acked
    return total, lost, max(twice, ledger["received"] - total - _about_itself(stack)), drain_s, ledger


def _about_itself(stack: Stack) -> int:
    """Readings that the gateway made of its own state; the ledger has them too."""
    view = stack.get(f"/devices/{stack.gateway}/{stack.gateway}")
    return sum(len(stack.raw(stack.gateway, metric)) for metric in view["latest"])
