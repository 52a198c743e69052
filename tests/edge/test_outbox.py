"""The outbox in the event loop: what counts, what is told, and what happens while the disk refuses (D9, D10)."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import apsw
import pytest

from edge.outbox import Outbox
from edge.outbox_file import Chunk
from edge.outbox_open import FILE
from edge.outbox_thin import thin
from firmware_specs import zstd
from firmware_specs.readings import AlarmEvent, AlarmPhase, GapReport, Lane, Reading, Severity
from firmware_specs.wire import Ack, decode_pack, encode_item
from tests.edge.vfs import Faults, FaultyVFS
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from edge.outbox_parts import Lease
    from firmware_specs.readings import Item

T0 = 1_790_000_000_000


def reading(number: int) -> Reading:
    return Reading("dev-1", "temperature", float(number), "Cel", T0 + number, T0 + number, number)


def alarm(number: int) -> AlarmEvent:
    return AlarmEvent(
        f"occ-{number}", "dev-1", "fire", Severity.CRITICAL, AlarmPhase.RAISED, "p/r", "1.0", T0 + number, T0 + number
    )


def items(lease: Lease | None) -> list[Item]:
    assert lease is not None
    properties = [
        ("epoch", lease.epoch), ("first", str(lease.first)), ("count", str(lease.span)), ("base", str(lease.base)),
        ("boot", lease.boot),
    ]  # fmt: skip
    return [item for _, item in decode_pack(lease.lane.value, properties, b"[" + b",".join(lease.bodies) + b"]").items]


@asynccontextmanager
async def outbox(folder: Path, vfs: str | None = None) -> AsyncIterator[Outbox]:
    box = Outbox(folder, "boot", vfs=vfs)
    await box.open()
    try:
        yield box
    finally:
        await box.close()


async def leased(box: Outbox, lane: Lane) -> Lease:
    await wait_until(lambda: box.north.lease(lane), what=f"a lease of {lane}")
    lease = box.north.lease(lane)
    assert lease
    return lease


def acknowledge(box: Outbox, lease: Lease) -> bool:
    return box.north.acknowledge(Ack(lease.epoch, lease.lane, lease.through))


async def test_nothing_is_told_or_leased_before_it_is_committed(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        told: list[bool] = []
        box.add([reading(1)], (), committed=told.append)
        assert not told
        assert box.north.lease(Lane.TELEMETRY) is None
        await wait_until(lambda: told)
        assert told == [True]
        assert items(box.north.lease(Lane.TELEMETRY)) == [reading(1)]


async def test_order_and_lanes_hold_and_an_acknowledgement_deletes(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        box.add([reading(1)], [alarm(1)])
        await box.settled()
        box.add([reading(2), reading(3)], ())
        await box.settled()
        lease = await leased(box, Lane.TELEMETRY)
        assert (lease.first, lease.base, items(lease)) == (1, 1, [reading(1), reading(2), reading(3)])
        assert box.north.lease(Lane.TELEMETRY) is lease, "the same again until it is acknowledged"
        assert items(await leased(box, Lane.ALARMS)) == [alarm(1)]
        assert acknowledge(box, lease)
        assert box.north.lease(Lane.TELEMETRY) is None
        await wait_until(lambda: box.north.status()["telemetry"].waiting == 0, what="the fold")
        assert box.north.status()["alarms"].waiting == 1
        box.add([reading(4)], ())
        await box.settled()
        assert (await leased(box, Lane.TELEMETRY)).first == 4


async def test_acknowledgements_that_are_not_ours_change_nothing(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        box.add([reading(1)], ())
        await box.settled()
        lease = await leased(box, Lane.TELEMETRY)
        assert not box.north.acknowledge(Ack("another-epoch", Lane.TELEMETRY, 1))
        assert box.north.acknowledge(Ack(lease.epoch, Lane.TELEMETRY, 0)), "an old one"
        assert box.north.lease(Lane.TELEMETRY) is lease


async def test_what_was_not_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        for number in range(1, 41):
            box.add([reading(number)], (), {"k": b"%d" % number}, mark=number)
            await box.settled()
        lease = await leased(box, Lane.TELEMETRY)
        epoch = lease.epoch
        assert box.north.acknowledge(Ack(epoch, Lane.TELEMETRY, 15))
    again = Outbox(tmp_path, "boot-2")
    state, marks = await again.open()
    assert state["k"] == b"40"
    assert {int.from_bytes(marks[i : i + 8], "little") for i in range(0, len(marks), 8)} == set(range(1, 41))
    lease = await leased(again, Lane.TELEMETRY)
    assert (lease.epoch, lease.first, lease.boot) == (epoch, 16, "boot")
    assert items(lease) == [reading(n) for n in range(16, 41)]
    await again.close()


async def test_a_backlog_larger_than_memory_comes_back_in_order(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        for start in range(0, 60_000, 2000):
            box.add([reading(n) for n in range(start, start + 2000)], ())
            await box.settled()
        expected = 0
        while expected < 60_000:
            lease = await leased(box, Lane.TELEMETRY)
            for item in items(lease):
                assert isinstance(item, Reading)
                assert item.value == expected
                expected += 1
            acknowledge(box, lease)
        assert box.north.lease(Lane.TELEMETRY) is None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (apsw.FullError, "outbox: disk full"),
        (apsw.IOError, "outbox: input/output error"),
        (apsw.ReadOnlyError, "outbox: read-only file system"),
    ],
)
async def test_D9_alarms_go_out_live_while_the_disk_refuses_and_it_recovers(
    tmp_path: Path, fault: type[apsw.Error], words: str
) -> None:
    faults = Faults()
    vfs = FaultyVFS(f"faulty-{fault.__name__}", faults)
    try:
        async with outbox(tmp_path, f"faulty-{fault.__name__}") as box:
            box.add([reading(1)], (), {"rule": b"old"})
            await box.settled()
            faults.write = fault
            told: list[bool] = []
            box.add([reading(2)], [alarm(2)], {"rule": b"new"}, committed=told.append)
            await wait_until(lambda: box.degraded, what="the fault to be noticed")
            assert box.degraded == words
            live = await leased(box, Lane.ALARMS)
            assert items(live) == [alarm(2)]
            telemetry = await leased(box, Lane.TELEMETRY)
            assert telemetry.epoch == live.epoch != box.north.epoch, "never a sequence number of the file"
            acknowledge(box, live)
            assert not told, "half of it is not with the cloud yet"
            acknowledge(box, telemetry)
            assert told == [True], "told when the cloud has it, for the disk has not"
            faults.write = None
            await wait_until(lambda: not box.degraded, 5, "the recovery")
            box.add([reading(3)], [alarm(3)])
            await box.settled()
            kept = await leased(box, Lane.TELEMETRY)
            assert (kept.epoch, items(kept)) == (box.north.epoch, [reading(1), reading(3)])
            assert items(await leased(box, Lane.ALARMS)) == [alarm(3)]
        state, _ = await (again := Outbox(tmp_path, "boot")).open()
        assert state["rule"] == b"new", "states that changed meanwhile are kept"
        await again.close()
    finally:
        vfs.unregister()


async def test_D9_memory_is_bounded_and_what_is_refused_is_told_and_counted(tmp_path: Path) -> None:
    faults = Faults()
    vfs = FaultyVFS("faulty-bounded", faults)
    try:
        async with outbox(tmp_path, "faulty-bounded") as box:
            faults.write = apsw.FullError
            told: list[bool] = []
            refused = 0
            for start in range(0, 200_000, 1000):
                awaited = bool(start % 2000)
                if box.takes(awaited=awaited):
                    box.add([reading(n) for n in range(start, start + 1000)], (), committed=told.append)
                elif awaited:
                    refused += 1000
                else:
                    box.drop(1000)
                await box.settled()
            assert refused
            assert not told, "nothing of it is safe"
            assert 200_000 - box.north.status()["telemetry"].waiting == box.dropped + refused
            assert box.north.status()["telemetry"].waiting <= 101_000
            box.add((), [alarm(1)])
            assert items(await leased(box, Lane.ALARMS)) == [alarm(1)], "alarms are taken all the same"
            faults.write = None
            await wait_until(lambda: not box.degraded, 5, "the recovery")
            acknowledge(box, await leased(box, Lane.ALARMS))
            (gap,) = items(await leased(box, Lane.ALARMS))
            assert isinstance(gap, GapReport)
            assert gap.count == box.dropped
    finally:
        vfs.unregister()


async def test_D9_a_disk_that_refuses_from_the_start(tmp_path: Path) -> None:
    faults = Faults()
    faults.write = apsw.ReadOnlyError
    vfs = FaultyVFS("faulty-start", faults)
    try:
        async with outbox(tmp_path, "faulty-start") as box:
            assert box.degraded
            box.add([reading(1)], [alarm(1)])
            assert items(await leased(box, Lane.ALARMS)) == [alarm(1)]
            faults.write = None
            await wait_until(lambda: not box.degraded, 5, "the recovery")
            assert items(await leased(box, Lane.TELEMETRY)) == [reading(1)]
    finally:
        vfs.unregister()


async def test_D10_a_file_that_turns_corrupt_is_replaced_while_running(tmp_path: Path) -> None:
    box = Outbox(tmp_path, "boot")
    await box.open()
    box.on_new_file = lambda: {"rule": b"state"}
    for number in range(400):
        box.add([reading(number * 100 + i) for i in range(100)], ())
        await box.settled()
    before = box.north.epoch
    path = tmp_path / FILE
    size = path.stat().st_size
    with path.open("r+b") as f:
        f.seek(8192)
        f.write(b"\xa5" * (size - 8192))
    (tmp_path / (FILE + "-wal")).write_bytes(b"")
    number = 50_000
    while box.north.epoch == before:
        number += 1
        box.add([reading(number)], [alarm(number)])
        await box.settled()
        lease = box.north.lease(Lane.TELEMETRY)
        if lease:
            acknowledge(box, lease)
        assert number < 60_000, "the damage was never noticed"
        await wait_until(lambda: not box.degraded or box.north.epoch != before, 5, "a new file")
    await wait_until(lambda: not box.degraded, 5, "the new file in use")
    assert any("corrupt" in name for name in os.listdir(tmp_path))  # noqa: PTH208 - a loop that only tests
    await box.close()


async def merged(folder: Path) -> None:
    """An outbox whose readings all stand in compressed chunks, closed."""
    box = Outbox(folder, "boot")
    await box.open()
    keeper = asyncio.create_task(box.budget.keep())
    for number in range(150):
        box.add([reading(number * 100 + i) for i in range(100)], ())
        await box.settled()
    await wait_until(lambda: box.north.status()["telemetry"].bytes < 1_000_000, 10, "the merge")
    keeper.cancel()
    await box.close()


async def test_D10_a_damaged_pack_that_the_check_cannot_see_is_set_aside_and_the_agent_goes_on(tmp_path: Path) -> None:
    await merged(tmp_path)
    file = apsw.Connection(str(tmp_path / FILE))
    file.execute(
        "UPDATE telemetry SET body = CAST(substr(body, 1, 600) || zeroblob(16) || substr(body, 617) AS BLOB) "
        "WHERE substr(body, 1, 4) = ?",
        (zstd.MAGIC,),
    )
    assert file.changes()
    file.close()
    async with outbox(tmp_path) as box:
        before = box.north.epoch
        box.add((), [alarm(1)])
        while box.north.epoch in {before, ""}:
            lease = box.north.lease(Lane.TELEMETRY)
            if lease:
                acknowledge(box, lease)
            await asyncio.sleep(0)
        gaps = [i for i in items(await leased(box, Lane.ALARMS)) if isinstance(i, GapReport)]
        assert sum(gap.count for gap in gaps) > 0, "the loss is counted"


def test_D10_thinning_leaves_a_chunk_that_it_cannot_read_as_it_is() -> None:
    bodies = [b",".join(encode_item(reading(first + i)) for i in range(50)) for first in (1, 51, 101)]
    chunks = [Chunk(1 + 50 * n, 50, 50, "boot", T0, body) for n, body in enumerate(bodies)]
    broken = chunks[1]._replace(body=b"\xff" + chunks[1].body[1:])
    found, _, _ = thin([chunks[0], broken, chunks[2]], 60_000, {})
    assert [(c.first, c.span, c.items) for c in found] == [(1, 50, 1), (51, 50, 50), (101, 50, 0)]
    assert found[1] == broken
