"""Orders and commands on their way to gateways, and what gateways tell of them, on real databases and a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cloud.config import BrokerConfig
from cloud.errors import Conflict
from cloud.ingest import hooks, outgoing
from cloud.ingest.consumer import IngestService
from cloud.ingest.store import outgoing as table
from firmware_specs.errors import PackError
from firmware_specs.wire import Reported, Status, encode_message
from tests import support
from tests.ingest.ingest_packs import NOW, Cloud, pack, reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy import Connection


def waiting(cloud: Cloud) -> list[tuple[str, str, bytes]]:
    with cloud.database.read() as tx:
        return [message[:3] for message in outgoing.waiting(tx)]


def send_all(cloud: Cloud) -> None:
    with cloud.database.begin() as tx:
        for message in outgoing.waiting(tx):
            outgoing.sent(tx, message, NOW)


def test_the_latest_of_a_topic_waits_until_it_is_sent(cloud: Cloud) -> None:
    with cloud.database.begin() as tx:
        outgoing.put(tx, "gw-1", "desired/config", b"one", NOW)
        outgoing.put(tx, "gw-2", "desired/config", b"other", NOW + 1)
        (first, _) = outgoing.waiting(tx)
        outgoing.put(tx, "gw-1", "desired/config", b"two", NOW + 2)
        outgoing.sent(tx, first, NOW)  # it was the earlier one that was sent
    assert waiting(cloud) == [("gw-2", "desired/config", b"other"), ("gw-1", "desired/config", b"two")]
    send_all(cloud)
    assert waiting(cloud) == []
    with cloud.database.begin() as tx:
        outgoing.resend(tx)
    assert len(waiting(cloud)) == 2


def test_what_is_over_is_cleared_at_the_broker_and_forgotten(cloud: Cloud) -> None:
    with cloud.database.begin() as tx:
        outgoing.put(tx, "gw-1", "command/c1", b"now", NOW, expires_ms=NOW + 1000)
        outgoing.put(tx, "gw-1", "desired/update", b"stay", NOW)
    send_all(cloud)
    with cloud.database.begin() as tx:
        assert not outgoing.any_over(tx, NOW + 999)
        assert outgoing.any_over(tx, NOW + 1000)
        outgoing.expire(tx, NOW + 1000)
        assert not outgoing.any_over(tx, NOW + 1000)
        outgoing.clear(tx, "gw-1", "command/never", NOW)
    assert waiting(cloud) == [("gw-1", "command/c1", b"")]
    send_all(cloud)
    assert [row["rest"] for row in cloud.rows(table)] == ["desired/update"]


def test_two_processes_that_send_the_same_topic_leave_the_latest_at_the_broker(cloud: Cloud) -> None:
    """One is slow: what it read is older than what the other has sent meanwhile, and comes to the broker after it."""
    with cloud.database.begin() as tx:
        outgoing.put(tx, "gw-1", "desired/config", b"one", NOW)
        outgoing.put(tx, "gw-1", "command/c1", b"now", NOW)
        slow = outgoing.waiting(tx)
        outgoing.put(tx, "gw-1", "desired/config", b"two", NOW + 1)
        outgoing.clear(tx, "gw-1", "command/c1", NOW + 1)
    send_all(cloud)
    assert waiting(cloud) == []
    with cloud.database.begin() as tx:
        for message in slow:
            outgoing.sent(tx, message, NOW + 2)
    assert sorted(waiting(cloud)) == [("gw-1", "command/c1", b""), ("gw-1", "desired/config", b"two")]
    send_all(cloud)
    assert [row["rest"] for row in cloud.rows(table)] == ["desired/config"]


def test_what_gateways_tell_goes_to_who_takes_it(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []

    def take(_tx: Connection, gateway: str, rest: str, payload: bytes, _now_ms: int) -> None:
        if payload == b"bad":
            raise PackError("not a result")
        told.append((gateway, rest, payload))

    monkeypatch.setitem(hooks.DOCUMENTS, "reported/test", take)
    monkeypatch.setitem(hooks.DOCUMENTS, "answers", take)
    monkeypatch.setattr(hooks, "STATUS", [lambda _tx, gateway, status, _now: told.append((gateway, status.boot))])
    monkeypatch.setattr(hooks, "REPORTED", [lambda _tx, gateway, report, _now: told.append((gateway, report.version))])
    metrics = cloud.fresh_metrics()
    cloud.committer._metrics = metrics
    empty = pack([])._replace(properties=())
    sent = {
        "reported/test": b"x", "answers/7": b"y", "answers/8": b"bad", "answers/9": b"", "nobody": b"z",
        "status": encode_message(Status(True, "1", "boot-1", "h", NOW)),
        "reported": encode_message(Reported(4, "h", ())),
    }  # fmt: skip
    cloud.commit(*(empty._replace(kind=kind, payload=payload) for kind, payload in sent.items()))
    will = encode_message(Status(False, "1", "boot-1", "h", NOW))
    cloud.commit(empty._replace(kind="status", payload=will))
    assert told == [("gw-1", 4), ("gw-1", "boot-1"), ("gw-1", "", b"x"), ("gw-1", "7", b"y")]
    assert cloud.counter("patrol_ingest_refused_total", reason="document") == 2


@pytest.mark.parametrize("error", [Conflict("it is over"), ValueError("not a number")])
def test_what_its_taker_refuses_holds_up_nothing_else(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def take(_tx: Connection, _gateway: str, _rest: str, _payload: bytes, _now_ms: int) -> None:
        raise error

    monkeypatch.setitem(hooks.DOCUMENTS, "result", take)
    cloud.committer._metrics = cloud.fresh_metrics()
    results = [pack([])._replace(properties=(), kind=f"result/{n}", payload=b"x") for n in range(2)]
    assert [ack.through for ack in cloud.commit(results[0], pack([reading()]), results[1])] == [1]
    # Counted by what they are: whatever a gateway puts behind it makes no counter of its own.
    assert cloud.counter("patrol_ingest_refused_total", reason="result") == 2


@contextlib.asynccontextmanager
async def _serving(cloud: Cloud, url: str) -> AsyncIterator[None]:
    metrics = cloud.fresh_metrics()
    service = IngestService(BrokerConfig(url=url), cloud.database, cloud.telemetry, metrics, clock=lambda: NOW)
    task = asyncio.create_task(service.run(), name="ingest")
    try:
        await support.wait_until(lambda: not service.readiness(), 20, "ingest ready")
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Gateway:
    """Hears what is retained for it."""

    def __init__(self, port: int) -> None:
        self.heard: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_message = self._message
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("patrolgrid/v1/gw-1/#", 1)
        self.client.loop_start()

    def _message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self.heard[message.topic.removeprefix("patrolgrid/v1/gw-1/")] = bytes(message.payload)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.peer
def test_what_the_broker_refuses_is_not_sent(lite: Cloud, mosquitto: support.StartMosquitto, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite patrolgrid/v1/+/canary\ntopic read patrolgrid/#\n")
    with lite.database.begin() as tx:
        outgoing.put(tx, "gw-1", "desired/config", b"document", NOW)

    async def scenario() -> None:
        async with _serving(lite, mosquitto(f"acl_file {rules}").url):
            refused = {"reason": "denied-by-broker"}
            await support.wait_until(lambda: lite.counter("patrol_ingest_refused_total", **refused), 10, "a refusal")
            assert len(waiting(lite)) == 1

    asyncio.run(scenario())


@pytest.mark.peer
def test_a_broker_that_forgot_gets_every_order_again(lite: Cloud, mosquitto: support.StartMosquitto) -> None:
    with lite.database.begin() as tx:
        outgoing.put(tx, "gw-1", "desired/config", b"document", NOW)

    async def scenario() -> None:
        for _ in range(2):  # another broker each time: nothing of the first is known to it
            broker = mosquitto()
            async with _serving(lite, broker.url):
                gateway = _Gateway(broker.port)
                await support.wait_until(lambda: gateway.heard.get("desired/config"), 10, "the order")  # noqa: B023
                assert gateway.heard["desired/config"] == b"document"
                gateway.close()
                await support.wait_until(lambda: waiting(lite) == [], 10, "the broker's word")

    asyncio.run(scenario())
