"""The ingest service on a real broker: acknowledgements, several workers, lost links, stores that refuse."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud.config import BrokerConfig
from cloud.devices.store import gateways
from cloud.ingest.consumer import QUEUE_BYTES, IngestService
from cloud.ingest.store import Tally
from firmware_specs.readings import Lane
from firmware_specs.wire import Ack, Status, decode_ack, encode_message
from tests import support
from tests.ingest.ingest_packs import NOW, Cloud, alarm, pack, reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloud.ingest.commit import Incoming
    from firmware_specs.readings import Item

pytestmark = pytest.mark.peer


class Peer:
    """A gateway's side of the broker: publishes packs, keeps the acknowledgements."""

    def __init__(self, port: int) -> None:
        self.acks: list[tuple[str, Ack]] = []
        self._got = threading.Condition()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_message = self._message
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("patrolgrid/v1/+/ack", 1)
        self.client.loop_start()

    def _message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._got:
            self.acks.append((message.topic.split("/")[2], decode_ack(bytes(message.payload))))
            self._got.notify_all()

    def send(self, message: Incoming, *, retain: bool = False) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if message.properties:
            properties.UserProperty = list(message.properties)
        topic = f"patrolgrid/v1/{message.gateway}/{message.kind}"
        self.client.publish(topic, message.payload, qos=1, retain=retain, properties=properties).wait_for_publish(10)

    async def acked(self, gateway: str, ack: Ack) -> None:
        """Wait for an acknowledgement."""
        await support.wait_until(lambda: (gateway, ack) in list(self.acks), 20, f"{gateway} {ack}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextlib.asynccontextmanager
async def serving(cloud: Cloud, url: str) -> AsyncIterator[IngestService]:
    """A running service on the cloud's stores, connected."""
    metrics = cloud.fresh_metrics()
    service = IngestService(BrokerConfig(url=url), cloud.database, cloud.telemetry, metrics, clock=lambda: NOW)
    task = asyncio.create_task(service.run(), name="ingest")
    try:
        await support.wait_until(lambda: not service.readiness(), 10, "ingest ready")
        yield service
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_pack_is_acknowledged_after_its_commit(lite: Cloud, mosquitto: support.StartMosquitto) -> None:
    async def scenario() -> None:
        async with serving(lite, mosquitto().url) as service:
            peer = Peer(int(service._broker.url.rpartition(":")[2]))
            peer.send(pack([reading(1.0), alarm("o-1")]))
            await peer.acked("gw-1", Ack("e1", Lane.TELEMETRY, 2))
            assert lite.values() == [1.0]
            peer.send(pack([], 3))
            peer.send(pack([reading(True, metric="sos")], lane=Lane.ALARMS, gateway="gw-2"))
            await peer.acked("gw-2", Ack("e1", Lane.ALARMS, 1))
            peer.close()

    asyncio.run(scenario())
    assert lite.counter("patrol_ingest_packs_total", lane="telemetry") == 2


def test_retained_status_is_taken_at_the_start_and_proves_no_life(
    lite: Cloud, mosquitto: support.StartMosquitto
) -> None:
    broker = mosquitto()
    peer = Peer(broker.port)
    status = encode_message(Status(True, "1.0.0", "b", "h", NOW))
    peer.send(pack([])._replace(kind="status", payload=status, properties=()), retain=True)

    async def scenario() -> None:
        async with serving(lite, broker.url):
            await support.wait_until(lambda: lite.rows(gateways)[0]["agent_version"] == "1.0.0", 10, "the status")
            assert not lite.rows(gateways)[0]["online"]
            peer.send(pack([])._replace(kind="status", payload=status, properties=()), retain=True)
            await support.wait_until(lambda: lite.rows(gateways)[0]["online"], 10, "the gateway online")

    asyncio.run(scenario())
    peer.close()


def test_workers_divide_the_packs_and_agree(cloud: Cloud, mosquitto: support.StartMosquitto) -> None:
    broker = mosquitto()

    async def scenario() -> None:
        async with serving(cloud, broker.url), serving(cloud, broker.url), serving(cloud, broker.url):
            peer = Peer(broker.port)
            for number in range(40):
                for gateway in ("gw-1", "gw-2", "gw-3"):
                    items: list[Item] = [reading(float(number), NOW + number)]
                    items.append(alarm(f"{gateway}-o-{number}", device=f"d-{number}"))
                    peer.send(pack(items, 2 * number + 1, gateway=gateway))
                    peer.send(pack(items, 2 * number + 1, gateway=gateway))
            for gateway in ("gw-1", "gw-2", "gw-3"):
                await peer.acked(gateway, Ack("e1", Lane.TELEMETRY, 80))
            peer.close()

    asyncio.run(scenario())
    assert [cloud.ledger(gateway) for gateway in ("gw-1", "gw-2", "gw-3")] == [Tally(received=80)] * 3
    assert cloud.values() == [float(i) for i in range(40)]
    assert len(cloud.state()["alarms"]) == 120  # type: ignore[arg-type] # a list


def test_d3_a_broker_that_dies_is_found_again(lite: Cloud, mosquitto: support.StartMosquitto) -> None:
    broker = mosquitto()

    async def scenario() -> None:
        async with serving(lite, broker.url) as service:
            broker.kill()
            await support.wait_until(service.readiness, 10, "the loss")
            assert service.readiness().startswith(broker.url) or "connection lost" in service.readiness()
            await asyncio.to_thread(broker.start)
            await support.wait_until(lambda: not service.readiness(), 30, "ingest ready again")
            peer = Peer(broker.port)
            peer.send(pack([reading(1.0)]))
            await peer.acked("gw-1", Ack("e1", Lane.TELEMETRY, 1))
            peer.close()

    asyncio.run(scenario())
    assert lite.counter("patrol_ingest_reconnects_total") >= 2


def test_nothing_is_acknowledged_while_a_store_refuses(lite: Cloud, mosquitto: support.StartMosquitto) -> None:
    broker = mosquitto()

    async def scenario() -> None:
        async with serving(lite, broker.url) as service:
            peer = Peer(broker.port)
            lite.telemetry._writer.set_busy_timeout(1)  # type: ignore[attr-defined]
            holder = lite.telemetry.connection()  # type: ignore[attr-defined]
            holder.execute("BEGIN IMMEDIATE")
            peer.send(pack([reading(1.0)]))
            await support.wait_until(lambda: "database is locked" in service.readiness(), 10, "the refusal")
            assert peer.acks == []
            assert lite.counter("patrol_ingest_retries_total") >= 1
            holder.execute("ROLLBACK")
            await peer.acked("gw-1", Ack("e1", Lane.TELEMETRY, 1))
            assert not service.readiness()
            peer.close()

    asyncio.run(scenario())


def test_a_full_queue_drops_and_counts(lite: Cloud) -> None:
    service = IngestService(BrokerConfig(), lite.database, lite.telemetry, lite.fresh_metrics())
    large = pack([reading()])._replace(payload=b"x" * (QUEUE_BYTES // 4))
    for _ in range(6):
        service.take(large)
    assert lite.counter("patrol_ingest_refused_total", reason="busy") == 3
    assert lite.counter("patrol_ingest_waiting_messages") == 3


def test_a_broker_out_of_reach_is_named(lite: Cloud) -> None:
    url = f"mqtt://127.0.0.1:{support.free_port()}"
    service = IngestService(BrokerConfig(url=url), lite.database, lite.telemetry, lite.fresh_metrics())
    assert service.readiness() == "not connected yet"

    async def scenario() -> None:
        task = asyncio.create_task(service.run())
        await support.wait_until(lambda: service.readiness() != "not connected yet", 10, "the refusal")
        assert service.readiness() == f"{url}: [Errno 111] Connection refused"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_a_wrong_password_is_named(
    lite: Cloud, mosquitto: support.StartMosquitto, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("secret") / "password"
    secret.write_text("wrong\n")
    empty = secret.with_name("users")
    empty.touch(mode=0o600)
    broker = mosquitto("allow_anonymous false", f"password_file {empty}")
    config = BrokerConfig(url=broker.url, user="cloud", password_file=secret)
    service = IngestService(config, lite.database, lite.telemetry, lite.fresh_metrics())

    async def scenario() -> None:
        task = asyncio.create_task(service.run())
        await support.wait_until(lambda: "refused" in service.readiness(), 15, "the refusal")
        assert service.readiness() == f"{broker.url}: connection refused: Not authorized"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
