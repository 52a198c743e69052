"""The agent's socket for a technician: a listener that is too slow, and a folder that refuses it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge import control
from edge.clock import GatewayClock
from edge.intake import Intake
from edge.outbox_open import FILE
from tests.edge.test_outbox import outbox, reading
from tests.support import wait_until

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_listener_that_is_too_slow_is_told_how_much_it_missed(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        intake = Intake(box, GatewayClock())
        serving = asyncio.create_task(control.serve(tmp_path, intake, lambda _online: NotImplemented, {}))
        await wait_until((tmp_path / control.SOCKET).exists, what="the socket")
        heard = control.ask(tmp_path, "listen")
        first = asyncio.ensure_future(anext(heard))
        await wait_until(lambda: intake.listener, what="the listener")
        assert intake.listener
        intake.listener([reading(number) for number in range(1500)], ())
        assert (await first)["v"] == 0
        assert await anext(heard) == {"missed": 500}
        assert (await anext(heard))["v"] == 1
        await heard.aclose()  # type: ignore[attr-defined]
        serving.cancel()


async def test_D9_a_folder_that_refuses_a_socket_does_not_end_the_agent(tmp_path: Path) -> None:
    (tmp_path / control.SOCKET).mkdir()

    async def answer(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return

    assert await control._listen(tmp_path, answer) is None
    assert not (tmp_path / FILE).exists()
