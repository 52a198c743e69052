"""A publisher on a real broker: MQTT 5, QoS 1, and never a property.

A publish with properties that reaches a 3.1.1 subscriber ends the 3.1.1 listener of one of the brokers that the
demo may run on, so nothing with properties goes south.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from firmware_specs.errors import LinkError
from firmware_specs.layouts import NamedCodec
from simulators.device import encoder
from simulators.peers import owntracks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_specs.readings import Sample
    from firmware_specs.schema import Profile
    from simulators.device import Device

_QUEUED_MAX: Final = 10_000
_POLL_S: Final = 0.05
log = structlog.get_logger()


def endpoint(url: str) -> tuple[str, int]:
    """Host and port of `mqtt://host:port`. Raises ValueError naming the url."""
    parts = urlsplit(url)
    if parts.scheme != "mqtt" or not parts.hostname:
        raise ValueError(f"{url!r}: mqtt://host:port expected")
    return parts.hostname, parts.port or 1883


def payload_encoder(profile: Profile) -> Callable[[str, Sequence[Sample], int], bytes]:
    """How devices of this profile write a payload."""
    if isinstance(profile.codec, NamedCodec) and profile.codec.name == "owntracks":
        return lambda _name, samples, at_ms: owntracks.location(profile, samples, at_ms)
    return encoder(profile)


class MqttPeer:
    """One connection that publishes for many devices; a device's address is its topic."""

    def __init__(self, url: str, client_id: str) -> None:
        self.host, self.port = endpoint(url)
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.max_queued_messages_set(_QUEUED_MAX)
        self._client.reconnect_delay_set(min_delay=1, max_delay=5)
        self._encoders: dict[str, Callable[[str, Sequence[Sample], int], bytes]] = {}

    async def start(self) -> None:
        """Connect in the background, again and again."""
        self._client.connect_async(self.host, self.port, keepalive=30, clean_start=True)
        self._client.loop_start()

    async def send(self, device: Device, samples: Sequence[Sample], at_ms: int) -> None:
        """Publish one message; it waits in memory while the broker is away."""
        name = device.profile.profile
        if name not in self._encoders:
            self._encoders[name] = payload_encoder(device.profile)
        self.publish(device.address, self._encoders[name](device.name, samples, at_ms))

    def publish(self, topic: str, payload: bytes) -> paho.MQTTMessageInfo:
        """Publish bytes at QoS 1."""
        info = self._client.publish(topic, payload, qos=1)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            log.warning("message dropped: the broker is away", broker=f"{self.host}:{self.port}", topic=topic)
        return info

    async def wait_connected(self, timeout_s: float) -> None:
        """Return when the broker has accepted the connection. Raises LinkError when it has not in time."""
        deadline = time.monotonic() + timeout_s
        while not self._client.is_connected():
            if time.monotonic() > deadline:
                raise LinkError(f"mqtt://{self.host}:{self.port}", f"no connection within {timeout_s:g} s")
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Disconnect and end the network thread."""
        self._client.disconnect()
        self._client.loop_stop()
