"""Firmware over MQTT: a real mosquitto, the agent in this process, devices with good manners and bad ones."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from firmware_specs.wire_fleet import UpdatePhase
from simulators.peers.firmware import Box, Manners, MqttFirmware
from simulators.peers.mqtt import MqttPeer
from tests.firmware.firmware_support import Agent, Repository, image, job, running, trust, write_config
from tests.releases.release_support import Served
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support import StartMosquitto

pytestmark = [pytest.mark.peer]
SIZE = 20_500


@contextlib.asynccontextmanager
async def site(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto, boxes: dict[str, Box]
) -> AsyncIterator[Agent]:
    """An agent with an MQTT device a box."""
    port = mosquitto().port
    connector = f'[[connectors]]\nname = "m"\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{port}"\nbackoff_max_s = 0.5\n'
    path = write_config(tmp_path, connector, {name: ("test-fw-mqtt", "m", f"s/{name}") for name in boxes})
    trust(tmp_path, repository)
    peer = MqttFirmware(f"mqtt://127.0.0.1:{port}", "devices", {f"s/{name}": box for name, box in boxes.items()})
    await peer.start()
    await peer.ready.wait()
    try:
        async with running(path) as agent:
            agent.port = port
            yield agent
    finally:
        await peer.stop()


def _sent(agent: Agent, device: str) -> int:
    """Bytes that a device has, 0 while they are only fetched."""
    state = agent.states()[device]
    return state.done if state.phase is UpdatePhase.SENDING else 0


async def test_an_image_arrives_and_the_device_runs_it(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto
) -> None:
    data = image(SIZE)
    repository.add("fw/test-2.bin", data, "test-mqtt", "2.0.0")
    boxes = {f"d{n}": Box("1.0.0", "test-mqtt") for n in range(6)}
    async with site(tmp_path, repository, mosquitto, boxes) as agent:
        agent.gateway.firmware.take(repository.order(*(job(name, "fw/test-2.bin") for name in boxes)))
        for name in boxes:
            state = await agent.outcome(name)
            assert (state.phase, state.reason, state.running) == (UpdatePhase.COMMITTED, "", "2.0.0")
            assert (state.done, state.size) == (SIZE, SIZE)
    assert all(box.version == "2.0.0" and box.chunks == 21 for box in boxes.values())
    assert sum("/targets/" in path for path in repository.asked) == 1, "fetched once for all devices"


async def test_a_device_that_dies_in_the_middle_goes_on_where_it_was(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto
) -> None:
    repository.add("fw/test-2.bin", image(SIZE), "test-mqtt", "2.0.0")
    boxes = {
        "kept": Box("1.0.0", manners=Manners(die_at=9000)),
        "lost": Box("1.0.0", manners=Manners(die_at=9000, forget=True)),
    }
    async with site(tmp_path, repository, mosquitto, boxes) as agent:
        agent.gateway.firmware.take(repository.order(*(job(name, "fw/test-2.bin") for name in boxes)))
        for name in boxes:
            assert (await agent.outcome(name)).phase is UpdatePhase.COMMITTED
    assert boxes["kept"].begins[-1] == 9000
    assert boxes["lost"].begins[-1] == 0


async def test_bad_manners_end_with_their_reason_and_are_not_tried_again_unless_ordered_anew(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto
) -> None:
    repository.add("fw/test-2.bin", image(3000), "test-mqtt", "2.0.0")
    boxes = {
        "refuses": Box("1.0.0", manners=Manners(refuse="battery low")),
        "silent": Box("1.0.0", manners=Manners(silent=True)),
        "lies": Box("1.0.0", manners=Manners(lie="1.9.9")),
    }
    reasons = {
        "refuses": (UpdatePhase.REFUSED, "the device refuses it: battery low"),
        "silent": (UpdatePhase.FAILED, "the device is silent since its restart, 1.5 s ago"),
        "lies": (UpdatePhase.FAILED, "the device came back with version 1.9.9"),
    }
    async with site(tmp_path, repository, mosquitto, boxes) as agent:
        order = repository.order(*(job(name, "fw/test-2.bin") for name in boxes))
        agent.gateway.firmware.take(order)
        for name in boxes:
            state = await agent.outcome(name)
            assert (state.phase, state.reason) == reasons[name]
        assert agent.gateway.counters()["firmware_failed"] == 3
        agent.gateway.firmware.take(order)
        assert {state.phase for state in agent.states().values()} == {UpdatePhase.REFUSED, UpdatePhase.FAILED}
        boxes["refuses"].manners = Manners()
        agent.gateway.firmware.take(repository.order(job("refuses", "fw/test-2.bin", ordered_ms=2)))
        await wait_until(lambda: agent.states()["refuses"].phase is UpdatePhase.COMMITTED, 10, "the new order")


async def test_an_alarm_of_the_same_connector_passes_while_firmware_is_sent(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto
) -> None:
    repository.add("fw/test-2.bin", image(600_000), "test-mqtt", "2.0.0")
    boxes = {name: Box("1.0.0") for name in ("a", "b")}
    async with site(tmp_path, repository, mosquitto, boxes) as agent:
        other = MqttPeer(f"mqtt://127.0.0.1:{agent.port}", "other")
        await other.start()
        await other.wait_connected(5)
        agent.gateway.firmware.take(repository.order(job("a", "fw/test-2.bin")))
        await wait_until(lambda: _sent(agent, "a") > 50_000, 10, "the sending")
        heard = asyncio.Event()
        agent.gateway.intake.listener = lambda _readings, events: heard.set() if events else None
        other.publish("s/b", b'{"n":1,"fire":true}')
        async with asyncio.timeout(1):
            await heard.wait()
        assert agent.states()["a"].phase is UpdatePhase.SENDING
        await other.stop()


async def test_an_order_that_is_taken_back_stops_and_a_window_is_kept(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto
) -> None:
    repository.add("fw/test-2.bin", image(600_000), "test-mqtt", "2.0.0")
    boxes = {name: Box("1.0.0") for name in ("a", "late", "early")}
    async with site(tmp_path, repository, mosquitto, boxes) as agent:
        firmware = agent.gateway.firmware
        now = agent.gateway.clock.now_ms()
        firmware.take(
            repository.order(
                job("a", "fw/test-2.bin"),
                job("late", "fw/test-2.bin", ends_at_ms=now - 1),
                job("early", "fw/test-2.bin", not_before_ms=now + 3_600_000),
            )
        )
        assert (await agent.outcome("late")).reason == "its start window ended before it could begin"
        await wait_until(lambda: agent.states()["a"].done > 0, 10, "the sending")
        assert agent.states()["early"].phase is UpdatePhase.WAITING
        firmware.take(repository.order())
        assert agent.states()["a"].phase is UpdatePhase.IDLE
        assert list((tmp_path / "state/firmware/images").iterdir()) == [], "nobody wants the image any more"
        await wait_until(lambda: not firmware._work, 5, "the end of the tasks")


def test_a_download_that_hangs_does_not_hold_up_the_end_of_the_agent(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto
) -> None:
    repository.add("fw/test-2.bin", image(SIZE), "test-mqtt", "2.0.0")
    slow = Served(repository.folder)
    held, asked = threading.Event(), threading.Event()

    def stalled(path: str) -> bytes | None:
        if path.startswith("/targets/"):
            asked.set()
            held.wait(30)
        return None

    async def play() -> None:
        slow.answer = stalled
        repository.url = slow.url
        async with site(tmp_path, repository, mosquitto, {"a": Box("1.0.0")}) as agent:
            agent.gateway.firmware.take(repository.order(job("a", "fw/test-2.bin")))
            await wait_until(asked.is_set, 10, "the download")

    began = time.monotonic()
    try:
        asyncio.run(play())
        assert time.monotonic() - began < 15
    finally:
        held.set()
        fetching = [each for each in threading.enumerate() if each.name == "firmware-fetch"]
        for each in fetching:
            each.join(10)
        slow.close()
    assert len(fetching) == 1
