"""The cloud's ingest and history: readings a second through the real commit path, a device's day out of ten million.

Everything of the commit path is in the figure: packs are decoded, written to the telemetry store with its fsync, and
the registry's transaction is committed, batch by batch as the ingest worker takes them. Only the encoding of the packs,
which is the gateways' work, is done before the clock starts.
"""

from __future__ import annotations

import itertools
import random
import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from cloud import schema
from cloud.db import open_database
from cloud.devices import service as devices
from cloud.ingest.commit import Committer, Incoming
from cloud.ingest.consumer import BATCH_BYTES, BATCH_MESSAGES
from cloud.ingest.metrics import IngestMetrics
from cloud.org.rules import SYSTEM
from cloud.telemetry.sqlite import SqliteStore
from cloud.telemetry.store import Point, Retention, Series, open_store
from firmware_specs.readings import Lane, Reading
from firmware_specs.wire import PackHeader, encode_item, encode_pack
from tests import support

from .results import Cell, Result, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

METRICS = (("temperature", "Cel", 21.0), ("humidity", "%RH", 45.0), ("battery", "%EL", 90.0))
DEVICES_A_GATEWAY = 100
INTERVAL_MS = 10_000
DAY_MS = 86_400_000


class Fleet:
    """Gateways with devices that report every ten seconds; the values walk at random, as measured ones do."""

    def __init__(self, count: int, start_ms: int) -> None:
        self.count = count
        self.gateways = [f"gw-{i:04d}" for i in range(-(-count // DEVICES_A_GATEWAY))]
        chance = random.Random(1)
        self._noise = itertools.cycle([round(chance.gauss(0, 1), 2) for _ in range(9973)])
        self._at = start_ms
        self._sequence = 1

    def round(self) -> Iterator[tuple[str, list[Reading]]]:
        """One interval: every gateway with one reading of each metric of each of its devices."""
        noise = self._noise
        for index, gateway in enumerate(self.gateways):
            first = index * DEVICES_A_GATEWAY
            yield (
                gateway,
                [
                    Reading(f"dev-{number:05d}", metric, mean + next(noise), unit, at := self._at + number % 9973, at)
                    for number in range(first, min(first + DEVICES_A_GATEWAY, self.count))
                    for metric, unit, mean in METRICS
                ],
            )
        self._at += INTERVAL_MS

    def packs(self, readings: int) -> Iterator[Incoming]:
        """At least so many readings as packs, one a gateway and interval."""
        done = 0
        while done < readings:
            for gateway, items in self.round():
                header = PackHeader("e1", Lane.TELEMETRY, self._sequence, len(items), 1, "b1")
                payload, properties = encode_pack(header, [encode_item(item) for item in items])
                done += len(items)
                yield Incoming(gateway, "up/telemetry", tuple(properties), payload)
            self._sequence += DEVICES_A_GATEWAY * len(METRICS)


def batches(packs: Iterator[Incoming]) -> list[list[Incoming]]:
    """Packs as the ingest worker takes them when there is always more."""
    taken: list[list[Incoming]] = [[]]
    size = 0
    for pack in packs:
        taken[-1].append(pack)
        size += len(pack.payload)
        if size >= BATCH_BYTES or len(taken[-1]) >= BATCH_MESSAGES:
            taken.append([])
            size = 0
    return [batch for batch in taken if batch]


@contextmanager
def victoria(directory: Path) -> Iterator[str]:
    """A VictoriaMetrics on a free port; its URL."""
    program, port = shutil.which("victoria-metrics"), support.free_port()
    if program is None:
        raise FileNotFoundError("victoria-metrics is not installed")
    argv = [
        program, f"-storageDataPath={directory / 'vm'}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=10y",
        "-dedup.minScrapeInterval=1ms", "-loggerLevel=ERROR", "-memory.allowedBytes=1GB",
    ]  # fmt: skip
    running = support.Running(argv, directory / "vm.log", None, None)
    try:
        support.wait_for(lambda: support.accepts(port) or not running.alive, 20, "victoria-metrics")
        yield f"victoriametrics+http://127.0.0.1:{port}"
    finally:
        running.stop()


def ingest(url: str, directory: Path, count: int, readings: int) -> list[Cell]:
    """Commit readings of so many devices; a row of the table."""
    fleet = Fleet(count, time.time_ns() // 1_000_000 - 3_600_000)
    database = open_database("sqlite", directory)
    schema.migrate(database)
    with database.begin() as tx:
        for gateway in fleet.gateways:
            devices.add_gateway(tx, SYSTEM, gateway, 1)
    telemetry = open_store(url, directory)
    committer = Committer(database, telemetry, IngestMetrics(CollectorRegistry()))
    committer.commit(list(fleet.packs(1)), time.time_ns() // 1_000_000)
    work = batches(fleet.packs(readings))
    total = sum(int(dict(pack.properties)["count"]) for batch in work for pack in batch)
    took: list[float] = []
    cpu_before, begun = time.process_time(), time.monotonic()
    for batch in work:
        before = time.monotonic()
        assert len(committer.commit(batch, time.time_ns() // 1_000_000)) == len({pack.gateway for pack in batch})
        took.append(time.monotonic() - before)
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu_before
    telemetry.close()
    database.close()
    return [count, total, total / seconds, cpu / total * 1e6, statistics.median(took) * 1000, max(took) * 1000]


def build(store: SqliteStore, rows: int, count: int, start_ms: int) -> float:
    """Fill a store with rows of so many devices; readings a second, merges included."""
    fleet = Fleet(count, start_ms)
    begun, done = time.monotonic(), 0
    points: list[Point] = []
    while done < rows:
        for gateway, items in fleet.round():
            points += [Point(gateway, item) for item in items]
        if len(points) >= 20_000:
            store.write(points)
            done += len(points)
            points.clear()
    return done / (time.monotonic() - begun)


def history(directory: Path, rows: int) -> tuple[list[list[Cell]], float]:
    """Times of a device's day, at different resolutions, out of so many rows."""
    start_ms = 1_795_000_000_000 // DAY_MS * DAY_MS
    store = SqliteStore(directory / "telemetry.db", Retention())
    count = max(10, rows // (DAY_MS // INTERVAL_MS) // len(METRICS))
    rate = build(store, rows, count, start_ms)
    chance = random.Random(2)
    table: list[list[Cell]] = []
    for name, step_ms in (
        ("1,000 points (86.4 s)", 86_400),
        ("1 minute", 60_000),
        ("1 hour", 3_600_000),
        ("raw", None),
    ):
        took: list[float] = []
        points = 0
        for _ in range(100):
            number = chance.randrange(count)
            series = Series(f"gw-{number // DEVICES_A_GATEWAY:04d}", f"dev-{number:05d}", chance.choice(METRICS)[0])
            before = time.monotonic()
            points = len(store.history(series, start_ms, start_ms + DAY_MS, step_ms, 1000).points)
            took.append((time.monotonic() - before) * 1000)
        took.sort()
        table.append([name, points, took[49], took[94], took[98]])
    store.close()
    return table, rate


def run(*, quick: bool) -> Result:
    """Both tables for the embedded store, the first for VictoriaMetrics too when it is installed."""
    readings, rows = (150_000, 1_000_000) if quick else (1_500_000, 10_000_000)
    columns = ("devices", "readings", "readings/s", "CPU µs a reading", "batch p50 ms", "batch max ms")
    note = "Packs of 300 readings, decoded and committed in both stores; registry on SQLite, one process."
    tables: list[Table] = []
    for title, url in (("Ingest, embedded store", "sqlite"), ("Ingest, VictoriaMetrics", "victoriametrics")):
        if url != "sqlite" and shutil.which("victoria-metrics") is None:
            continue
        measured: list[list[Cell]] = []
        for count in (100, 1_000, 10_000):
            with tempfile.TemporaryDirectory(prefix="patrol-bench-") as name:
                if url == "sqlite":
                    measured.append(ingest(url, Path(name), count, readings))
                else:
                    with victoria(Path(name)) as address:
                        measured.append(ingest(address, Path(name), count, readings))
        tables.append(Table(title, columns, measured, note))
    with tempfile.TemporaryDirectory(prefix="patrol-bench-") as name:
        measured, rate = history(Path(name), rows)
    title = f"A device's day out of {rows:,} rows, embedded store"
    note = (
        f"100 random series, up to 1,000 points a page; the rows were written at {rate:,.0f} a second, merges included."
    )
    tables.append(Table(title, ("resolution", "points", "p50 ms", "p95 ms", "p99 ms"), measured, note))
    return Result(tables)
