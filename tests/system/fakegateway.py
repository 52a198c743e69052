"""A gateway made by hand: packs in any order and as often as one likes, straight to the cloud's broker.

Owns the publishing and the acknowledgements heard. It speaks the wire through `firmware_specs.wire` and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from firmware_specs import wire
from tests.bench.load import Message, Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_specs.readings import Item, Lane


class WirePack(NamedTuple):
    """An encoded pack, ready to be published by any gateway."""

    lane: Lane
    payload: bytes
    properties: tuple[tuple[str, str], ...]


def packs_of(items: Sequence[Item], lane: Lane, size: int, *, epoch: str = "epoch1", base: int = 1) -> list[WirePack]:
    """The items in packs of `size`, numbered from 1."""
    packs = []
    for start in range(0, len(items), size):
        part = items[start : start + size]
        header = wire.PackHeader(epoch, lane, start + 1, len(part), min(base, start + 1), "boot1")
        payload, properties = wire.encode_pack(header, [wire.encode_item(item) for item in part])
        packs.append(WirePack(lane, payload, tuple(properties)))
    return packs


def canary(lane: Lane, following: int, *, epoch: str = "epoch1") -> WirePack:
    """An empty pack that says: everything below `following` was sent and will not be again."""
    header = wire.PackHeader(epoch, lane, following, 0, following, "boot1")
    payload, properties = wire.encode_pack(header, [])
    return WirePack(lane, payload, tuple(properties))


class FakeGateway:
    """Publishes packs as one gateway and keeps the acknowledgements that came back."""

    def __init__(self, port: int, gateway: str) -> None:
        self.gateway = gateway
        self.acks: list[wire.Ack] = []
        self._sink = Sink(port, wire.topic(gateway, "ack"), self._heard, client_id=f"acks-{gateway}")
        self._client = Client(CallbackAPIVersion.VERSION2, gateway, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.max_inflight_messages_set(100)
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._sink.__enter__()
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._sink.__exit__()

    def _heard(self, message: Message) -> None:
        self.acks.append(wire.decode_ack(message.payload))

    def through(self, lane: Lane, epoch: str = "epoch1") -> int:
        """The highest sequence that the cloud acknowledged."""
        return max((ack.through for ack in self.acks if ack.lane == lane and ack.epoch == epoch), default=0)

    def publish(self, pack: WirePack) -> MQTTMessageInfo:
        """Publish one pack, QoS 1."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = wire.CONTENT_TYPE
        properties.UserProperty = list(pack.properties)
        return self._client.publish(wire.up_topic(self.gateway, pack.lane), pack.payload, 1, properties=properties)
