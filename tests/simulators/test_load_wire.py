"""`patrol-sim load` against a cloud of this test's own that acknowledges what it has seen."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firmware_specs import wire
from simulators.load import percentiles_ms
from tests import support

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import StartMosquitto, StartProcess

SIM = Path(sys.executable).parent / "patrol-sim"


class AckingCloud:
    """Decodes packs and acknowledges them; `silent` swallows the first so many."""

    def __init__(self, port: int, silent: int = 0) -> None:
        self.packs: list[wire.Pack] = []
        self.gateways: set[str] = set()
        self._silent = silent
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_message = self._on_message
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.connect("127.0.0.1", port)
        client.loop_start()
        client.subscribe(f"{wire.TOPIC_ROOT}/+/up/+", 1)
        assert self._subscribed.wait(10)
        self.client = client

    def _on_message(self, client: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        gateway, rest = wire.split_topic(message.topic)
        properties = getattr(message.properties, "UserProperty", [])
        pack = wire.decode_pack(rest.rpartition("/")[2], properties, bytes(message.payload))
        with self._lock:
            self.gateways.add(gateway)
            self.packs.append(pack)
            if self._silent:
                self._silent -= 1
                return
        ack = wire.Ack(pack.header.epoch, pack.header.lane, pack.header.through)
        client.publish(wire.topic(gateway, "ack"), wire.encode_message(ack), 1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def cloud(mosquitto: StartMosquitto) -> Iterator[tuple[AckingCloud, str]]:
    broker = mosquitto()
    acking = AckingCloud(broker.port)
    yield acking, broker.url
    acking.close()


@pytest.mark.peer
def test_every_offered_reading_is_sent_once_and_acknowledged(
    cloud: tuple[AckingCloud, str], start_process: StartProcess
) -> None:
    acking, url = cloud
    args = ["load", "--broker", url, "--gateways", "20", "--devices", "5", "--rate", "2000", "--seconds", "2"]
    done = start_process(SIM, *args, "--json", name="load")
    support.wait_for(lambda: not done.alive, 40, "the end of the load")
    assert done.popen.returncode == 0, done.text()
    result = json.loads(done.text().splitlines()[-1])
    assert result["offered"] == pytest.approx(4000, rel=0.1)
    assert (result["acked"], result["unacked"], result["resent"]) == (result["offered"], 0, 0)
    assert 0 < result["ack_ms"]["p50"] <= result["ack_ms"]["p99"] <= result["ack_ms"]["max"]
    assert len(acking.gateways) == 20
    sequences = [(p.header.epoch, seq) for p in acking.packs for seq, _ in p.items]
    assert len(sequences) == len(set(sequences)) == result["offered"]
    readings = [item for p in acking.packs for _, item in p.items]
    assert len({getattr(item, "device", "") for item in readings}) == 5


@pytest.mark.peer
def test_without_a_cloud_the_load_says_what_is_unacknowledged(
    mosquitto: StartMosquitto, start_process: StartProcess
) -> None:
    import asyncio

    from simulators import load

    del start_process
    plan = load.Load("127.0.0.1", mosquitto().port, 2, 3, 100, 0.5, finish_s=0.2)
    result = asyncio.run(load.run(plan))
    assert result.acked == 0
    assert result.unacked == result.offered > 0
    assert result.ack_ms == {}


def test_an_unreachable_broker_is_one_line_and_exit_code_1() -> None:
    port = support.free_port()
    done = subprocess.run(
        [SIM, "load", "--broker", f"mqtt://127.0.0.1:{port}"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"patrol-sim: mqtt://127.0.0.1:{port}: ")
    assert len(done.stderr.splitlines()) == 1


def test_percentiles_are_of_the_ordered_values() -> None:
    assert percentiles_ms([]) == {}
    values = [n / 1000 for n in range(1, 101)]
    assert percentiles_ms(values[::-1]) == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
