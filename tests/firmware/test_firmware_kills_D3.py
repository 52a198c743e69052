"""`kill -9` of the agent and of the broker in the middle of an update: it goes on where the device stands (D3)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from paho.mqtt import publish, subscribe

from firmware_specs.wire_fleet import FirmwareState, UpdatePhase, UpdateState, decode
from simulators.peers.firmware import Box, Manners, MqttFirmware
from tests.firmware.firmware_support import Repository, image, job, trust, write_config
from tests.support import wait_until

if TYPE_CHECKING:
    from tests.support import StartMosquitto, StartProcess

EDGE = str(Path(sys.executable).with_name("patrol-edge"))
TOPIC = "patrolgrid/v1/gw-1"
pytestmark = [pytest.mark.peer, pytest.mark.system]


def reported(port: int, device: str) -> UpdateState:
    message = subscribe.simple(f"{TOPIC}/reported/firmware", port=port)  # type: ignore[no-untyped-call]
    return decode(bytes(message.payload), FirmwareState).devices[device]


async def test_D3_killed_while_sending_and_while_the_device_restarts_it_completes(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto, start_process: StartProcess
) -> None:
    size = 400_000
    repository.add("fw/test-2.bin", image(size), "test-mqtt", "2.0.0")
    south, north = mosquitto(), mosquitto()
    connector = (
        f'[[connectors]]\nname = "m"\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{south.port}"\nbackoff_max_s = 0.5\n'
    )
    path = write_config(tmp_path, connector, {"d": ("test-fw-mqtt", "m", "s/d")}, north.port)
    trust(tmp_path, repository)
    box = Box("1.0.0", manners=Manners(reboot_s=1.0))
    peer = MqttFirmware(f"mqtt://127.0.0.1:{south.port}", "device", {"s/d": box})
    await peer.start()
    await peer.ready.wait()
    publish.single(
        f"{TOPIC}/desired/firmware", repository.order(job("d", "fw/test-2.bin")), 1, retain=True, port=north.port
    )
    agent = start_process(EDGE, "run", "--config", str(path))
    await wait_until(lambda: len(box.data) > 40_000, 10, "the sending")
    agent.kill()
    had = len(box.data)

    repository.close()  # the verified bytes on disk are enough
    agent = start_process(EDGE, "run", "--config", str(path))
    await wait_until(lambda: len(box.begins) == 2, 10, "the second begin")
    assert had <= box.begins[1] < size, "it went on where the device stood"
    await wait_until(lambda: len(box.data) > box.begins[1] + 40_000, 10, "the sending")
    stood = len(box.data)
    south.kill()
    south.start()
    # By a new begin, or by the chunk that was under way: never from the start.
    await wait_until(lambda: len(box.data) > stood + 40_000, 15, "the link again")
    assert all(begin >= had for begin in box.begins[1:])
    await wait_until(lambda: box.begin is None, 15, "the restart of the device")
    agent.kill()

    agent = start_process(EDGE, "run", "--config", str(path))
    await wait_until(lambda: reported(north.port, "d").phase is UpdatePhase.COMMITTED, 10, "the outcome")
    state = reported(north.port, "d")
    assert (state.running, state.done, state.size, state.ordered_ms) == ("2.0.0", size, size, 1)
    assert box.version == "2.0.0"
    assert agent.stop() == 0
    await peer.stop()
