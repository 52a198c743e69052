"""D10: a corrupt store does not stop the gateway: quarantined, a new epoch, the loss counted, at most one restart."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

import pytest

from firmware_specs import wire
from tests.bench.load import Message, Sink, Source
from tests.support import wait_for
from tests.system.harness import counter, counter_frame, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.harness import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
WAITING = 200


def _store_files(stack: Stack) -> list[Path]:
    """The outbox and what SQLite keeps beside it: every file of the state folder that begins like one of its own."""
    main = [
        file for file in stack.state_dir.rglob("*") if file.is_file() and file.read_bytes()[:15] == b"SQLite format 3"
    ]
    assert main, f"no SQLite file in {[file.name for file in stack.state_dir.rglob('*')]}"
    return [beside for file in main for beside in file.parent.glob(file.name + "*")]


def _overwrite(stack: Stack, share: float) -> None:
    """Overwrite a share of every file with noise, in place, the header included."""
    noise = random.Random(10)
    for file in _store_files(stack):
        size = file.stat().st_size
        with file.open("r+b") as f:
            f.write(noise.randbytes(int(size * share)))


class _Epochs:
    """The epochs that the gateway spoke of."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def take(self, message: Message) -> None:
        self.seen.add(dict(message.properties)["epoch"])


def _fill(stack: Stack, first: int, count: int) -> None:
    start = now_ms()
    frames = [(b"sensors/mqtt-1", counter_frame(first + i, start + i)) for i in range(count)]
    Source(stack.south_port, frames, f"src-{first}").run(deadline_s=20)


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_D10_a_corrupt_outbox_is_set_aside_at_start_and_its_loss_counted(
    make_stack: Callable[..., Stack], share: float
) -> None:
    stack = make_stack([counter("mqtt-1")]).start()
    epochs = _Epochs()
    with Sink(stack.north_port, wire.topic(stack.gateway, "up", "telemetry"), epochs.take):
        _fill(stack, 0, 10)
        wait_for(lambda: len(_numbers(stack)) == 10, 20, "the first readings in the cloud")
        stack.cloud.stop()
        _fill(stack, 10, WAITING)
        stack.edge.stop()
        _overwrite(stack, share)
        stack.start(stack.cloud)
        stack.edge.start()
        _fill(stack, 1000, 10)
        wait_for(lambda: set(range(1000, 1010)) <= _numbers(stack), 30, f"new readings\n{stack.edge.tail()}")
    assert stack.edge.running.alive, "no restart was needed"
    assert len(epochs.seen) >= 2, "a new epoch"
    quarantined = [file.name for file in stack.state_dir.rglob("*") if "corrupt" in file.name]
    assert quarantined, f"no file was set aside: {[f.name for f in stack.state_dir.rglob('*')]}"
    missing = WAITING - len(_numbers(stack) & set(range(10, 10 + WAITING)))
    wait_for(lambda: missing == 0 or stack.ledger()["lost"] > 0, 20, f"the loss of {missing} readings counted")
    print(f"share {share}: {missing} of {WAITING} readings lost, ledger {stack.ledger()}, set aside {quarantined}")


def test_D10_corruption_under_a_running_gateway_costs_at_most_one_restart(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([counter("mqtt-1")]).start()
    _fill(stack, 0, 10)
    wait_for(lambda: len(_numbers(stack)) == 10, 20, "the first readings in the cloud")
    stack.edge.running.signal(signal.SIGSTOP)
    _overwrite(stack, 1.0)
    stack.edge.running.signal(signal.SIGCONT)
    restarts = 0
    sender = Source(
        stack.south_port, [(b"sensors/mqtt-1", counter_frame(1000 + i, now_ms() + i)) for i in range(1200)], "src-after"
    ).thread(rate=40, deadline_s=60)

    def arrived() -> bool:
        nonlocal restarts
        if not stack.edge.running.alive:
            restarts += 1
            stack.edge.start()
        return len(_numbers(stack) & set(range(1000, 2200))) >= 200

    wait_for(arrived, 40, f"new readings in the cloud\n{stack.edge.tail()}")
    sender.join(60)
    wait_for(lambda: 2199 in _numbers(stack), 30, "the last reading in the cloud")
    print(f"{restarts} restarts, ledger {stack.ledger()}")
    assert restarts <= 1


def _numbers(stack: Stack) -> set[int]:
    if not stack.try_get(f"/devices/{stack.gateway}/mqtt-1"):
        return set()
    return {int(value) for _, value in stack.raw("mqtt-1")}
