"""What the gateway benchmarks stand on: brokers, a process under test and its cost, and a cloud that only acknowledges.

Owns starting and measuring; each benchmark owns its load and what it counts.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from firmware_specs import wire
from firmware_specs.readings import Lane, Reading
from tests.support import Running, accepts, free_port, mosquitto_path, wait_for

from .load import Message, Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

PROFILES = Path(__file__).parent / "profiles"
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="patrol-bench-") as folder:
        yield Path(folder)


class Process:
    """A process under measurement that can be killed and started again."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self.argv = argv
        self.log = log
        self.running = Running(argv, log, {"PYTHONUNBUFFERED": "1"}, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.running.stop()

    def kill_and_start(self) -> None:
        """`kill -9`, then start again at once."""
        self.running.kill()
        self.running = Running(self.argv, self.log, {"PYTHONUNBUFFERED": "1"}, None)

    def cpu_s(self) -> float:
        """Processor seconds used so far."""
        fields = Path(f"/proc/{self.running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mib(self) -> float:
        """Resident memory now."""
        for line in Path(f"/proc/{self.running.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0


def broker(folder: Path, name: str, port: int, *lines: str) -> Process:
    """A mosquitto on loopback, ready. Raises RuntimeError when there is none."""
    program = mosquitto_path()
    if program is None:
        raise RuntimeError("mosquitto is not installed: this benchmark needs it")
    config = folder / f"{name}.conf"
    # Without `set_tcp_nodelay` two small packets in a row wait for the peer's delayed ACK, 40 ms, with any contender.
    settings = ("user root", "set_tcp_nodelay true", f"listener {port} 127.0.0.1", "allow_anonymous true")
    config.write_text("\n".join((*settings, "max_queued_messages 0", *lines)) + "\n")
    process = Process([program, "-c", str(config)], folder / f"{name}.log")
    wait_for(lambda: accepts(port), 10, f"mosquitto on port {port}")
    return process


class AckingCloud:
    """Takes packs and acknowledges them at once, as a cloud that commits in no time; judges them afterwards."""

    def __init__(self, port: int, gateway: str) -> None:
        self._ack_topic = wire.topic(gateway, "ack")
        self._packs: list[Message] = []
        self._through: dict[tuple[str, str], int] = {}
        self.readings = 0
        """Readings of new packs, by their headers."""
        self._sink = Sink(port, wire.topic(gateway, "up", "+"), self._take, "acking-cloud")

    def __enter__(self) -> Self:
        self._sink.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.__exit__()

    def _take(self, message: Message) -> None:
        lane = message.topic.rpartition("/")[2]
        header, _ = wire.decode_header(lane, message.properties)
        key = (header.epoch, lane)
        fresh = header.through - max(self._through.get(key, 0), header.first - 1)
        if fresh > 0:
            self._packs.append(message)
            self._through[key] = header.through
            if lane == Lane.TELEMETRY:
                self.readings += fresh
        self._sink.publish(
            self._ack_topic,
            wire.encode_message(wire.Ack(header.epoch, header.lane, self._through.get(key, header.through))),
        )

    def arrivals(self) -> tuple[Counter[tuple[str, int]], dict[tuple[str, int], float]]:
        """How often each (device, time) came, by its temperature, and when it first did."""
        counts: Counter[tuple[str, int]] = Counter()
        first_at: dict[tuple[str, int], float] = {}
        seen: set[tuple[str, int]] = set()
        for message in self._packs:
            pack = wire.decode_pack(message.topic.rpartition("/")[2], message.properties, message.payload)
            for sequence, item in pack.items:
                number = (f"{pack.header.epoch}/{pack.header.lane}", sequence)
                if number in seen or not isinstance(item, Reading) or item.metric != "temperature":
                    continue
                seen.add(number)
                key = (item.device, item.observed_at)
                counts[key] += 1
                first_at.setdefault(key, message.at_s)
        return counts, first_at


def free_ports(count: int) -> list[int]:
    """Different free ports."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)
