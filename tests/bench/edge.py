"""The agent's parts by themselves: splitting MQTT packets, decoding and judging, and commits to disk."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from edge.clock import GatewayClock
from edge.codecs import frame_decoder
from edge.intake import Intake
from edge.mqttclient import PacketSplitter
from edge.outbox import Outbox
from firmware_specs.load import BUILTIN, load_profile

from .load import publish_packet
from .results import Result, Table
from .rig import scratch

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = b'{"temp":21.5,"hum":40,"bat":90,"ts":%d}'
DEVICES = 500


def _per_call_us(work: Callable[[int], object], count: int) -> float:
    began = time.process_time()
    for number in range(count):
        work(number)
    return 1e6 * (time.process_time() - began) / count


def _split_us(count: int) -> float:
    packets = b"".join(publish_packet(b"sensors/d001", PAYLOAD % number, number % 65535 + 1) for number in range(100))
    splitter = PacketSplitter(False, lambda _first, _body: None)
    return _per_call_us(lambda _number: splitter.feed(packets), count // 100) / 100


async def _intake(count: int) -> tuple[float, float]:
    """Processor microseconds a message up to the commit, and messages/s committed, in groups of 100."""
    profile = load_profile(BUILTIN / "generic-temperature-json.toml")
    decode = frame_decoder(profile)
    with scratch() as folder:
        outbox = Outbox(folder, "bench")
        await outbox.open()
        intake = Intake(outbox, GatewayClock())
        intake.configure([(f"d{i:03d}", profile) for i in range(DEVICES)])
        await outbox.settled()
        first_ms = time.time_ns() // 1_000_000 - count
        cpu, began = time.process_time(), time.monotonic()
        for start in range(0, count, 100):
            outbox.hold()
            for number in range(start, start + 100):
                intake.accept(f"d{number % DEVICES:03d}", decode(PAYLOAD % (first_ms + number), first_ms))
            outbox.release()
            await outbox.settled()
        cpu, took = time.process_time() - cpu, time.monotonic() - began
        await outbox.close()
    return 1e6 * cpu / count, count / took


def run(*, quick: bool) -> Result:
    """Each part, once."""
    count = 10_000 if quick else 100_000
    decode = frame_decoder(load_profile(BUILTIN / "generic-temperature-json.toml"))
    cpu_us, rate = asyncio.run(_intake(count))
    rows: list[list[str | float | int]] = [
        ["split an MQTT packet", _split_us(count)],
        [
            "decode three readings of JSON",
            _per_call_us(lambda number: decode(PAYLOAD % number, 1_790_000_000_000), count),
        ],
        ["decode, normalise, judge, encode, commit in groups of 100", cpu_us],
        ["the last, messages/s with the disk's syncs", rate],
    ]
    note = "Processor microseconds a message of three readings, one thread; the last row is a rate."
    return Result([Table("The agent's parts", ("", "µs a message"), rows, note)])
