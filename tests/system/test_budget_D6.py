"""D6: nothing is dropped silently: at the disk budget telemetry is thinned and counted, alarms are kept."""

from __future__ import annotations

import json
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.bench.load import Source
from tests.support import wait_for
from tests.system.harness import BIN, Device, counter, counter_frame, ms_of, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Json, Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
MESSAGES = 60_000
STEP_MS = 100
FIRE_EVERY = 1000


def _outbox(stack: Stack) -> Json:
    """What `patrol-edge outbox --json` says."""
    argv = [str(BIN / "patrol-edge"), "outbox", "--config", str(stack.edge_toml), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    view: Json = json.loads(done.stdout)
    return view


def _disk_bytes(stack: Stack) -> int:
    return sum(file.stat().st_size for file in stack.state_dir.rglob("*") if file.is_file())


def _frames(first_ms: int) -> list[tuple[bytes, bytes]]:
    """Messages with a text of noise, so that no compression makes room for them."""
    noise = random.Random(6)
    frames = []
    for i in range(MESSAGES):
        fire = i % FIRE_EVERY == FIRE_EVERY // 2
        body = {"n": i, "fire": fire, "ts": first_ms + i * STEP_MS, "note": noise.randbytes(120).hex()}
        frames.append((b"sensors/text-1", json.dumps(body).encode()))
    return frames


def test_D6_at_the_disk_budget_telemetry_is_thinned_and_counted_and_every_alarm_kept(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(
        [Device("text-1", "test-text", "sensors", "sensors/text-1"), counter("mqtt-2")],
        edge_lines={"outbox": "budget_mb = 4"},
    )
    stack.start(stack.south, stack.edge)
    first_ms = now_ms() - MESSAGES * STEP_MS
    source = Source(stack.south_port, _frames(first_ms))
    source.run(deadline_s=60)
    marker = Source(stack.south_port, [(b"sensors/mqtt-2", counter_frame(1, now_ms()))])
    marker.run(deadline_s=10)
    budget_bytes = 4_000_000
    wait_for(lambda: _outbox(stack)["lanes"]["telemetry"]["thinned"] > 0, 60, "the outbox thinned")
    assert _disk_bytes(stack) <= budget_bytes * 1.1
    assert stack.edge.running.alive

    stack.start(stack.north, stack.cloud)
    wait_for(lambda: stack.try_get(f"/devices/{stack.gateway}/mqtt-2"), 60, "the last reading in the cloud")
    wait_for(lambda: _outbox(stack)["lanes"]["telemetry"]["waiting"] == 0, 60, "the outbox drained")
    assert _disk_bytes(stack) <= budget_bytes * 1.1

    fires = [alarm for alarm in stack.items("/alarms") if alarm["kind"] == "fire"]
    expected = {first_ms + i * STEP_MS for i in range(FIRE_EVERY // 2, MESSAGES, FIRE_EVERY)}
    assert sorted(ms_of(alarm["raised_at"]) for alarm in fires) == sorted(expected)
    assert {alarm["state"] for alarm in fires} == {"cleared"}

    ledger = stack.ledger()
    series = {metric: stack.raw("text-1", metric) for metric in ("n", "fire", "note")}
    numbers = series["n"]
    print(f"ledger {ledger}, kept {len(numbers)} of {MESSAGES}")
    assert ledger["lost"] == 0
    assert ledger["thinned"] > 0
    assert sum(len(points) for points in series.values()) + ledger["thinned"] == 3 * MESSAGES
    minutes = {(at - first_ms) // 60_000 for at, _ in numbers}
    # In a burst at full speed the budget thins beyond one a minute, and memory refuses; the ledger counts all of it.
    assert len(minutes) >= 10, "hardly a minute with a reading"
    assert numbers[-1][1] == MESSAGES - 1, "the newest reading is kept"
