"""Handles of the connector tests: a sink that remembers, a line of socat, profiles made in a few words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firmware_specs.schema import Profile
from tests.support import wait_for, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from edge.connectors.base import Connector
    from firmware_specs.errors import FrameError
    from firmware_specs.readings import Sample, Value
    from tests.support import Running, StartProcess

ROOT = Path(__file__).parents[2]


def captures() -> list[Path]:
    """The captures of real receivers: PATROL_NMEA_DIR, or the copies that come with the tests."""
    folder = Path(os.environ.get("PATROL_NMEA_DIR") or ROOT / "tests/data/nmea")
    found = sorted(folder.glob("*.log"))
    assert found, f"no captures in {folder}"
    return found


def gpsd_fixes(log: Path) -> list[tuple[float, float]]:
    """Every fix with a place and a time that gpsd reports for a capture."""
    text = log.with_name(log.name + ".chk").read_text(errors="replace")
    reports = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return [
        (r["lat"], r["lon"])
        for r in reports
        if r.get("class") == "TPV" and r.get("mode", 0) >= 2 and "lat" in r and "time" in r
    ]


def profile(codec: dict[str, Any], connector: str = "serial", metrics: str = "", **more: Any) -> Profile:  # noqa: ANN401
    """A profile of the given codec; metrics are names, those that end in `?` are bools, in `@` positions."""
    kinds = {"?": "bool", "@": "position", "!": "text"}
    title = {"zh": "试", "en": "test"}
    specs = {name.rstrip("?@!"): {"title": title, "type": kinds.get(name[-1], "number")} for name in metrics.split()}
    table = {
        "profile": "test-device", "version": "1.0", "title": title, "category": "other", "connector": connector,
        "source": "made for a test", "interval_s": 1, "codec": codec, "metrics": specs, **more,
    }  # fmt: skip
    return Profile.model_validate(table)


NMEA = profile({"kind": "named", "name": "nmea"}, metrics="position@ speed course satellites")


class Memory:
    """A sink that keeps what it is given; `commit` decides what becomes of it, None leaves it undecided."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Sequence[Sample]]] = []
        self.refused: list[tuple[str, bytes, FrameError]] = []
        self.waiting: list[Callable[[bool], None]] = []
        self.commit: bool | None = True
        self.open = asyncio.Event()
        self.open.set()

    def accept(self, device: str, samples: Sequence[Sample], committed: Callable[[bool], None] | None = None) -> None:
        self.heard.append((device, samples))
        if committed is not None:
            if self.commit is None:
                self.waiting.append(committed)
            else:
                committed(self.commit)

    def refuse(self, device: str, frame: bytes, error: FrameError) -> None:
        self.refused.append((device, frame, error))

    async def ready(self) -> None:
        await self.open.wait()

    def values(self, device: str, metric: str) -> list[Value]:
        return [s.value for name, samples in self.heard if name == device for s in samples if s.metric == metric]

    def samples(self, device: str, metric: str) -> list[Sample]:
        return [s for name, samples in self.heard if name == device for s in samples if s.metric == metric]


class SerialPair:
    """Two ptys joined by socat: `port` is ours, what `write` says comes out of it. It can be unplugged."""

    def __init__(self, start_process: StartProcess, port: Path) -> None:
        self._start = start_process
        self.port = port
        self.far = port.with_name(port.name + ".far")
        self.socat: Running | None = None

    def plug_in(self) -> None:
        assert self.socat is None
        self.socat = self._start("socat", f"pty,raw,echo=0,link={self.port}", f"pty,raw,echo=0,link={self.far}")
        wait_for(lambda: self.port.exists() and self.far.exists(), 10, "socat's ptys")

    def unplug(self) -> None:
        assert self.socat is not None
        self.socat.kill()
        self.socat = None
        for link in (self.port, self.far):
            link.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        with self.far.open("wb", buffering=0) as f:
            f.write(data)


@contextlib.asynccontextmanager
async def running(connector: Connector, sink: Memory) -> AsyncIterator[asyncio.Task[None]]:
    """The connector at work, its link up; cancelled at the end."""
    up = asyncio.Event()
    task = asyncio.create_task(connector.run(sink, up.set), name=f"connector {connector.name}")
    await wait_until(lambda: up.is_set() or task.done(), 20, "the link")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
