"""A gateway as the cloud hears it: real packs on a real broker, so that pages show what went the whole way."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, TypedDict, Unpack

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from firmware_specs.readings import AlarmEvent, AlarmPhase, Evidence, Item, Lane, Quality, Reading, Severity, Value
from firmware_specs.wire import (
    PackHeader,
    Reported,
    ReportedDevice,
    Status,
    decode_ack,
    encode_item,
    encode_message,
    encode_pack,
    topic,
    up_topic,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ACK_S = 20.0
AGAIN_S = 3.0
"""A pack that nobody acknowledged is sent again: the cloud may have been away."""


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


class More(TypedDict, total=False):
    """What a reading may say besides its value."""

    unit: str
    at: int
    quality: Quality


class GatewayTalk:
    """Publishes as one gateway and waits until the cloud has committed."""

    def __init__(self, port: int, gateway: str = "gw-0001") -> None:
        self.gateway = gateway
        self.epoch = uuid.uuid4().hex[:12]
        self.sent = {Lane.ALARMS: 0, Lane.TELEMETRY: 0}
        self.through = {Lane.ALARMS: 0, Lane.TELEMETRY: 0}
        self._changed = threading.Condition()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"test-{self.epoch}", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.on_message = self._acknowledged
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(topic(gateway, "ack"), 1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(ACK_S), "no subscription to the acknowledgements"

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _acknowledged(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        ack = decode_ack(bytes(message.payload))
        if ack.epoch == self.epoch:
            with self._changed:
                self.through[ack.lane] = max(self.through[ack.lane], ack.through)
                self._changed.notify_all()

    def send(self, lane: Lane, items: Sequence[Item]) -> None:
        """One pack; returns when the cloud says that it is committed."""
        first = self.sent[lane] + 1
        self.sent[lane] += len(items)
        header = PackHeader(self.epoch, lane, first, len(items), first, "boot-1")
        payload, pairs = encode_pack(header, [encode_item(item) for item in items])
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = pairs
        deadline = time.monotonic() + ACK_S
        while self.through[lane] < header.through:
            assert time.monotonic() < deadline, f"pack {first}..{header.through} of {lane}: not committed in {ACK_S} s"
            self._client.publish(up_topic(self.gateway, lane), payload, 1, properties=properties)
            with self._changed:
                self._changed.wait_for(lambda: self.through[lane] >= header.through, AGAIN_S)

    def status(self, *, online: bool = True, **more: object) -> None:
        """The retained status."""
        status = Status(online, "0.1.0", "boot-1", "cfg-4f2a91c07b", now_ms(), **more)  # type: ignore[arg-type]
        self._client.publish(topic(self.gateway, "status"), encode_message(status), 1, retain=True).wait_for_publish(5)

    def report(self, *devices: ReportedDevice) -> None:
        """The retained list of devices."""
        payload = encode_message(Reported(1, "cfg-4f2a91c07b", devices))
        self._client.publish(topic(self.gateway, "reported"), payload, 1, retain=True).wait_for_publish(5)

    def value(self, device: str, metric: str, value: Value, **more: Unpack[More]) -> None:
        """One reading, committed."""
        self.send(Lane.TELEMETRY, [reading(device, metric, value, **more)])

    def alarm(
        self, device: str, kind: str = "fire", severity: Severity = Severity.CRITICAL, *, occurrence: str = "",
        rule: str = "generic-smoke-senml/alarm", phase: AlarmPhase = AlarmPhase.RAISED, at: int | None = None,
        evidence: tuple[Evidence, ...] = (),
    ) -> str:  # fmt: skip
        """Raise or clear; gives the occurrence."""
        occurrence = occurrence or uuid.uuid4().hex
        when = now_ms() if at is None else at
        event = AlarmEvent(occurrence, device, kind, severity, phase, rule, "1.0", when, when, evidence=evidence)
        self.send(Lane.ALARMS, [event])
        return occurrence


def reading(device: str, metric: str, value: Value, **more: Unpack[More]) -> Reading:
    """A reading of now, or of another time."""
    at = more.get("at", now_ms())
    return Reading(device, metric, value, more.get("unit", ""), at, at, quality=more.get("quality", Quality.GOOD))
