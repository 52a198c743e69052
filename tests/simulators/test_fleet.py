"""`patrol-sim fleet`: who fails and how, and what its gateways tell over a real broker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firmware_specs import wire, wire_fleet
from firmware_specs.wire_fleet import ConfigOrder, FirmwareJob, FirmwareOrder, UpdateOrder
from simulators.fleet_faults import ALL, Way, failing, ways_of
from tests import support

if TYPE_CHECKING:
    from tests.support import StartMosquitto, StartProcess

SIM = Path(sys.executable).parent / "patrol-sim"


@given(st.integers(0, 300), st.floats(0, 100), st.integers(0, 9))
def test_the_asked_share_fails_the_ways_take_turns_and_the_same_ones_do_each_time(
    count: int, percent: float, seed: int
) -> None:
    names = [f"gw-{number}" for number in range(count)]
    found = failing(names, percent, ALL, seed)
    assert len(found) == round(count * percent / 100)
    assert found == failing(names[::-1], percent, ALL, seed)
    turns = Counter(found.values())
    assert not found or max(turns.values()) - min(turns[way] for way in ALL) <= 1


def test_ways_are_read_by_name() -> None:
    assert ways_of("refused, silent") == (Way.REFUSED, Way.SILENT)
    with pytest.raises(ValueError, match="each way is one of refused, rolled-back, silent"):
        ways_of("refused,odd")


def test_a_way_that_is_none_is_one_line() -> None:
    done = subprocess.run(
        [SIM, "fleet", "--broker", "mqtt://127.0.0.1:1", "--ways", "odd"], capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "each way is one of" in done.stderr


class Cloud:
    """Puts orders at the broker and keeps the last of what each gateway told."""

    def __init__(self, port: int) -> None:
        self.told: dict[tuple[str, str], bytes] = {}
        subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_message = self._heard
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe(f"{wire.TOPIC_ROOT}/#", 1)
        assert subscribed.wait(10)

    def _heard(self, _client: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        self.told[wire.split_topic(message.topic)] = bytes(message.payload)

    def order(self, gateway: str, kind: str, payload: bytes) -> None:
        self.client.publish(wire.topic(gateway, "desired", kind), payload, 1, retain=True)

    def phase(self, gateway: str, version: int) -> str:
        payload = self.told.get((gateway, "reported/config"))
        state = wire_fleet.decode(payload, wire_fleet.ConfigState) if payload else None
        return state.phase.value if state and state.version == version else ""

    def firmware(self, gateway: str) -> str:
        payload = self.told.get((gateway, "reported/firmware"))
        state = wire_fleet.decode(payload, wire_fleet.FirmwareState) if payload else None
        return state.devices["d-1"].phase.value if state else ""

    def update(self, gateway: str) -> str:
        payload = self.told.get((gateway, "reported/update"))
        return wire_fleet.decode(payload, wire_fleet.UpdateState).reason if payload else ""

    def flashed(self, gateway: str, phase: str) -> bool:
        return self.firmware(gateway) == phase

    def tried(self, gateway: str, phase: str) -> bool:
        return self.phase(gateway, 2) == phase

    def online(self, gateway: str) -> bool:
        payload = self.told.get((gateway, "status"))
        return payload is not None and wire.decode_status(payload).online

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.peer
def test_configurations_and_firmware_end_as_the_gateways_way_says(
    mosquitto: StartMosquitto, start_process: StartProcess
) -> None:
    broker = mosquitto()
    cloud = Cloud(broker.port)
    args = ["--gateways", "4", "--failing", "75", "--delay", "0.05", "--prefix", "gw-"]
    fleet = start_process(SIM, "fleet", "--broker", broker.url, *args, name="fleet")
    support.wait_for(lambda: '"failing"' in fleet.text(), 20, "the fleet")
    ways = json.loads(fleet.text().splitlines()[0])["failing"]
    names = [f"gw-{number:04d}" for number in range(1, 5)]
    assert sorted(ways.values()) == sorted(way.value for way in ALL)
    support.wait_for(lambda: all(map(cloud.online, names)), 10, "everybody online")
    firmware = FirmwareOrder((FirmwareJob(1, "d-1", "t", "2"),), "", "")
    for name in names:
        cloud.order(name, "config", wire_fleet.encode(ConfigOrder(1, "a" * 16, "x = 1")))
        cloud.order(name, "firmware", wire_fleet.encode(firmware))
    support.wait_for(lambda: {cloud.phase(name, 1) for name in names} == {"in-force"}, 10, "the first one in force")
    ends = {"refused": "refused", "rolled-back": "failed", "silent": "sending", "": "committed"}
    for name in names:
        support.wait_for(partial(cloud.flashed, name, ends[ways.get(name, "")]), 10, f"the firmware of {name}")
    for name in names:
        cloud.order(name, "config", wire_fleet.encode(ConfigOrder(2, "b" * 16, "x = 2")))
    ends = {"refused": "refused", "rolled-back": "reverted", "silent": "trial", "": "in-force"}
    for name in names:
        support.wait_for(partial(cloud.tried, name, ends[ways.get(name, "")]), 10, f"the second one of {name}")
    silent = next(name for name, way in ways.items() if way == "silent")
    support.wait_for(lambda: not cloud.online(silent), 10, "the will of the silent one")
    well = next(name for name in names if name not in ways)
    taken_back = UpdateOrder(7, "t", "9", "", "", ends_at_ms=wire_fleet.TAKEN_BACK_MS)
    cloud.order(well, "update", wire_fleet.encode(taken_back))
    support.wait_for(lambda: cloud.update(well) == "the order was taken back", 10, "what was taken back")
    fleet.stop()
    told = json.loads(fleet.text().splitlines()[-1])
    assert set(told["installs"].values()) == {3}
    cloud.close()
