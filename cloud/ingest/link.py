"""The broker: one MQTT 5 client at a time, replaced whenever it fails or falls silent.

Owns paho-mqtt; nothing of it leaves this module. Packs come by a shared subscription, so any number of ingest processes
divide them; statuses and reports are retained, which shared subscriptions do not deliver, so every process takes all of
those. A client is alive while its own canary, published to itself, keeps coming back.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud.ingest.commit import GatewayAck, Incoming
from firmware_specs.errors import LinkError, PackError
from firmware_specs.wire import MAX_PACK_BYTES, TOPIC_ROOT, encode_message, split_topic, topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import ConnectFlags, DisconnectFlags
    from paho.mqtt.reasoncodes import ReasonCode

    from cloud.config import BrokerConfig

KEEPALIVE_S: Final = 20
_CONNECT_TIMEOUT_S: Final = 10.0
_PACKET_BYTES: Final = MAX_PACK_BYTES + 65536
_INFLIGHT_ACKS: Final = 1000


class LinkState(NamedTuple):
    """Where a link stands. fault: empty while nothing is wrong."""

    subscribed: bool
    fault: str


def client_of(config: BrokerConfig, name: str) -> Client:
    """A client that can reach the broker, under a name. Raises LinkError naming the certificate that cannot be used."""
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
    )
    client.connect_timeout = _CONNECT_TIMEOUT_S
    client.max_inflight_messages_set(_INFLIGHT_ACKS)
    if config.user:
        client.username_pw_set(config.user, config.password())
    if config.tls:
        try:
            client.tls_set(
                ca_certs=str(config.ca) if config.ca else None,
                certfile=str(config.cert) if config.cert else None,
                keyfile=str(config.key) if config.key else None,
            )
        except (OSError, ValueError) as e:
            raise LinkError(config.url, f"certificates: {e}") from e
    return client


class BrokerLink:
    """One connection, from `open` to `close`; never reused."""

    def __init__(self, config: BrokerConfig, take: Callable[[Incoming], None], refuse: Callable[[str], None]) -> None:
        self.endpoint = config.url
        self._host, self._port = config.host_port
        self._group = config.group
        self._take = take
        self._refuse = refuse
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        self._fault = ""
        self._name = f"cloud-ingest-{secrets.token_hex(6)}"
        self._canary = topic(self._name, "canary")
        self._echoes = 0
        self._denied: set[int] = set()
        """Message ids that the broker answered with a refusal; there are 65,535 of them."""
        self._client = self._make(config)

    def _make(self, config: BrokerConfig) -> Client:
        client = client_of(config, self._name)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribe_answered
        client.on_disconnect = self._disconnected
        client.on_message = self._message
        client.on_publish = self._published
        return client

    def open(self) -> None:
        """Connect and subscribe; blocks. Raises LinkError when the broker refuses or does not answer."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = _PACKET_BYTES
        try:
            self._client.connect(self._host, self._port, keepalive=KEEPALIVE_S, clean_start=True, properties=properties)
        except (OSError, ValueError) as e:
            raise LinkError(self.endpoint, str(e) or type(e).__name__) from e
        self._client.loop_start()
        answered = self._subscribed.wait(_CONNECT_TIMEOUT_S)
        if self._fault or not answered:
            fault = self._fault or f"no answer within {_CONNECT_TIMEOUT_S:.0f} s"
            self.close()
            raise LinkError(self.endpoint, fault)

    def _connected(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._fail(f"connection refused: {reason}")
            return
        # Without "retain as published" the flag tells what was waiting here from what is said now.
        client.subscribe(
            [
                (f"$share/{self._group}/{TOPIC_ROOT}/+/up/+", SubscribeOptions(qos=1)),
                (f"{TOPIC_ROOT}/+/status", SubscribeOptions(qos=1)),
                (f"{TOPIC_ROOT}/+/reported/#", SubscribeOptions(qos=1)),
                (f"{TOPIC_ROOT}/+/result/+", SubscribeOptions(qos=1)),
                (f"{TOPIC_ROOT}/+/discovered", SubscribeOptions(qos=1)),
                (self._canary, SubscribeOptions(qos=1)),
            ]
        )

    def _subscribe_answered(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._fail(f"subscription refused: {refused[0]}")
        self._subscribed.set()

    def _disconnected(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._fail(f"connection lost: {reason}")

    def _fail(self, fault: str) -> None:
        with self._lock:
            self._fault = self._fault or fault
        self._subscribed.set()

    def _message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.topic == self._canary:
            self._echoes += 1
            return
        try:
            gateway, kind = split_topic(message.topic)
        except PackError:
            self._refuse("topic")
            return
        properties: Any = message.properties
        given = tuple(getattr(properties, "UserProperty", ()) or ())
        self._take(Incoming(gateway, kind, given, bytes(message.payload), message.retain))

    def _published(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        """The broker's answer to what was published, before paho counts it as published."""
        if reason.is_failure:
            self._denied.add(mid)
            self._refuse("denied-by-broker")

    def state(self) -> LinkState:
        """Whether it serves, and what is wrong."""
        thread = self._client._thread  # noqa: SLF001 - paho has no other way to tell that its thread has died
        if not self._fault and self._subscribed.is_set() and (thread is None or not thread.is_alive()):
            self._fail("the network thread ended")
        return LinkState(self._subscribed.is_set() and not self._fault, self._fault)

    def ping(self) -> int:
        """Send a canary; how many have come back so far."""
        self._client.publish(self._canary, b"", qos=1)
        return self._echoes

    def fall_silent(self, seconds: float) -> None:
        """Declare the link dead: its canary did not come back."""
        self._fail(f"no canary for {seconds:.0f} s")

    def acknowledge(self, acks: list[GatewayAck]) -> None:
        """Publish acknowledgements; those that get lost are asked for again by a repeated pack."""
        for gateway, ack in acks:
            done = self._client.publish(topic(gateway, "ack"), encode_message(ack), qos=1)
            if done.rc not in {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_QUEUE_SIZE}:
                return

    def publish_retained(self, topic_name: str, payload: bytes, wait_s: float = 5.0) -> bool:
        """Publish a document that waits at the broker; whether the broker has it, and did not refuse it. Blocks."""
        try:
            told = self._client.publish(topic_name, payload, qos=1, retain=True)
            told.wait_for_publish(wait_s)
        except (RuntimeError, ValueError):  # how paho says that it cannot send now
            return False
        denied = told.mid in self._denied
        self._denied.discard(told.mid)
        return bool(told.is_published()) and not denied

    def close(self) -> None:
        """Disconnect and end the network thread."""
        self._client.disconnect()
        self._client.loop_stop()
