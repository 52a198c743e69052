"""What an outbox does when its disk has lied, refuses for long, or never comes to rest."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

import edge.outbox
from edge.outbox_live import LiveLane
from edge.outbox_open import FILE, open_outbox, quarantine, write_note
from firmware_specs.readings import Lane
from firmware_specs.wire import Ack
from tests.edge.test_outbox import acknowledge, alarm, items, leased, outbox, reading
from tests.edge.vfs import Faults, FaultyVFS
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.outbox import Outbox

VFS = "faulty-hardships"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """A disk to be told how it fails, which is asked again at once."""
    monkeypatch.setattr(edge.outbox, "_RETRY_S", 0.01)
    made = Faults()
    vfs = FaultyVFS(VFS, made)
    yield made
    vfs.unregister()


async def test_D4_a_disk_that_lost_what_it_confirmed_goes_on_above_what_the_cloud_has(tmp_path: Path) -> None:
    """The cloud has acknowledged 40 items; the file is an older one, with 3 of them and 2 that are new."""
    async with outbox(tmp_path) as box:
        box.add([reading(number) for number in range(5)], ())
        lease = await leased(box, Lane.TELEMETRY)
        assert not box.north.acknowledge(Ack(lease.epoch, Lane.TELEMETRY, 40))
        await wait_until(lambda: (again := box.north.lease(Lane.TELEMETRY)) and again.first == 41, what="new numbers")
        again = await leased(box, Lane.TELEMETRY)
        assert (again.first, again.span, again.base) == (41, 5, 41)
        assert items(again) == [reading(number) for number in range(5)]
        box.add([reading(5)], ())
        await box.settled()
        assert acknowledge(box, again)
        assert items(await leased(box, Lane.TELEMETRY)) == [reading(5)]
    async with outbox(tmp_path) as box:
        kept = await leased(box, Lane.TELEMETRY)
        assert (kept.first, items(kept)) == (46, [reading(5)])


async def test_settled_returns_under_a_load_that_never_ends(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        feeder = asyncio.create_task(feed(box))
        try:
            async with asyncio.timeout(5):
                for _ in range(20):
                    await box.settled()
        finally:
            feeder.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeder


async def feed(box: Outbox) -> None:
    """Enough at a time for the writer's thread, and always more."""
    number = 0
    while True:
        box.add([reading(number + i) for i in range(300)], ())
        number += 300
        await asyncio.sleep(0)
        await box.ready()


def test_D9_a_repeat_of_what_is_only_in_memory_is_not_confirmed_before_it() -> None:
    told: list[str] = []
    live = LiveLane()
    live.add([(Lane.TELEMETRY, 1, b"{}")], "boot", 0, [lambda kept: told.append(f"first {kept}")])
    live.add([], "boot", 0, [lambda kept: told.append(f"repeat {kept}")])
    assert not told
    live.acknowledge(Lane.TELEMETRY, 1)
    assert told == ["first True", "repeat True"]
    live.add([], "boot", 0, [lambda kept: told.append(f"alone {kept}")])
    assert told[-1] == "alone True"


async def test_D9_a_disk_that_stays_full_is_not_left_locked_by_those_who_tried(tmp_path: Path, faults: Faults) -> None:
    async with outbox(tmp_path, VFS) as box:
        box.add([reading(1)], (), {"rule": b"old"})
        await box.settled()
        faults.room = 0
        box.add([reading(n) for n in range(2, 100)], [alarm(1)], {"rule": b"new"})
        await wait_until(lambda: box.degraded, what="the fault to be noticed")
        tries = faults.opened + 10
        seen: set[str] = set()
        while faults.opened < tries:
            seen.add(box.degraded)
            await asyncio.sleep(0.01)
        assert seen == {"outbox: disk full"}
        faults.room = None
        await wait_until(lambda: not box.degraded, 5, "the recovery")


async def test_D9_a_disk_with_room_for_a_state_only_is_not_taken_for_well(tmp_path: Path, faults: Faults) -> None:
    with capture_logs() as log:
        async with outbox(tmp_path, VFS) as box:
            faults.room = 60_000
            box.add([reading(n) for n in range(2000)], (), {"rule": b"new"})
            await wait_until(lambda: box.degraded, what="the fault to be noticed")
            tries = faults.opened + 10
            number = 2000
            while faults.opened < tries:
                box.add([reading(number := number + 1) for _ in range(1000)], ())
                await box.settled()
                await asyncio.sleep(0.01)
            faults.room = None
            await wait_until(lambda: not box.degraded, 5, "the recovery")
    assert [entry["event"] for entry in log] == ["outbox degraded", "outbox recovered"]


async def test_D9_alarms_that_fill_the_budget_are_let_go_once_the_cloud_has_them(
    tmp_path: Path, faults: Faults
) -> None:
    box = edge.outbox.Outbox(tmp_path, "boot", budget_bytes=1_000_000, vfs=VFS)
    await box.open()
    number = 0
    while not box.degraded:
        box.add((), [alarm(number := number + 1) for _ in range(100)])
        await box.settled()
    for _ in range(2 * number):
        if not box.north.has(Lane.ALARMS):
            break
        acknowledge(box, await leased(box, Lane.ALARMS))
    await wait_until(lambda: not box.degraded, 5, "the recovery")
    await box.close()


def test_D10_damaged_files_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for minute in range(4):
        monkeypatch.setattr(time, "strftime", lambda *_, at=minute: f"20261126T09{at:02d}00Z")
        for suffix in ("", "-wal"):
            (tmp_path / (FILE + suffix)).write_bytes(b"damaged")
        quarantine(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "outbox-20261126T090300Z.corrupt", "outbox-20261126T090300Z.corrupt-wal",
    ]  # fmt: skip


async def test_D10_a_damaged_file_makes_room_on_a_disk_that_is_full(tmp_path: Path, faults: Faults) -> None:
    (tmp_path / "outbox-20261126T090000Z.corrupt").write_bytes(b"damaged")
    async with outbox(tmp_path, VFS) as box:
        faults.room = 0
        box.add([reading(n) for n in range(100)], ())
        await wait_until(lambda: not list(tmp_path.glob("*.corrupt*")), 5, "room")
        faults.room = None
        await wait_until(lambda: not box.degraded, 5, "the recovery")


async def test_a_defect_in_a_commit_is_seen_and_does_not_keep_the_agent_from_ending(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        assert box.alive
        box.add(["no reading"], ())  # type: ignore[list-item]
        await wait_until(lambda: not box.alive, 5, "the defect to be seen")
    async with asyncio.timeout(5), outbox(tmp_path) as box:
        assert box.alive


async def test_D9_who_waits_for_the_end_of_a_commit_is_called_when_the_cloud_has_what_no_disk_holds(
    tmp_path: Path, faults: Faults
) -> None:
    """A connector sends its PUBACKs then; a broker whose window is full says nothing more before it has them."""
    async with outbox(tmp_path, VFS) as box:
        faults.room = 0
        told: list[str] = []

        def committed(kept: bool) -> None:
            if not told:
                box.after_commit(lambda: told.append("joined"))
            told.append(f"kept {kept}")

        for number in range(3):
            box.add([reading(number)], (), committed=committed)
        await wait_until(lambda: box.degraded, what="the fault to be noticed")
        acknowledge(box, await leased(box, Lane.TELEMETRY))
        assert told == ["kept True", "kept True", "kept True", "joined"]
        faults.room = None


def test_a_note_that_would_say_the_same_is_not_written_again(tmp_path: Path) -> None:
    """Every two seconds of ten years, on an SD card."""
    file, _ = open_outbox(tmp_path)
    note = write_note(tmp_path, file)
    (tmp_path / "outbox.note").unlink()
    assert write_note(tmp_path, file, note) == note
    assert not (tmp_path / "outbox.note").exists()
    assert write_note(tmp_path, file) == note
    assert (tmp_path / "outbox.note").read_bytes() == note
    file.close()


async def test_D9_a_state_that_changes_while_the_disk_is_tried_again_is_kept(tmp_path: Path, faults: Faults) -> None:
    async with outbox(tmp_path, VFS) as box:
        faults.room = 0
        box.add([reading(n) for n in range(100)], (), {"rule": b"old"})
        await wait_until(lambda: box.degraded, what="the fault to be noticed")
        faults.room = None
        for _ in iter(lambda: box._writer.busy, True):
            await asyncio.sleep(0)
        box.add((), [alarm(1)], {"rule": b"new"})
        await wait_until(lambda: not box.degraded, 5, "the recovery")
    state, _ = await (again := edge.outbox.Outbox(tmp_path, "boot")).open()
    assert state["rule"] == b"new"
    await again.close()
