"""What an outbox does when its disk has lied, refuses for long, or never comes to rest."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from edge import control
from edge.outbox_live import LiveLane
from edge.outbox_open import FILE
from firmware_specs.readings import Lane
from firmware_specs.wire import Ack
from tests.edge.test_outbox import acknowledge, items, leased, outbox, reading
from tests.support import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from edge.outbox import Outbox


async def test_D4_a_disk_that_lost_what_it_confirmed_goes_on_above_what_the_cloud_has(tmp_path: Path) -> None:
    """The cloud has acknowledged 40 items; the file is an older one, with 3 of them and 2 that are new."""
    async with outbox(tmp_path) as box:
        box.add([reading(number) for number in range(5)], ())
        lease = await leased(box, Lane.TELEMETRY)
        assert not box.acknowledge(Ack(lease.epoch, Lane.TELEMETRY, 40))
        await wait_until(lambda: (again := box.lease(Lane.TELEMETRY)) and again.first == 41, what="new numbers")
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


async def test_D9_a_folder_that_refuses_a_socket_does_not_end_the_agent(tmp_path: Path) -> None:
    (tmp_path / control.SOCKET).mkdir()

    async def answer(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return

    assert await control._listen(tmp_path, answer) is None
    assert not (tmp_path / FILE).exists()
