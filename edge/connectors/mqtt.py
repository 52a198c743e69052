"""Sensors that publish to a broker: subscribe, decode, acknowledge what is on disk.

Owns topics to devices, the persistent session, and PUBACKs: they follow the group commit, joined, so whatever the
broker was told is safe, is. What it sends again after a crash of ours carries DUP, and a mark that was committed
with the readings tells whether they are kept already. Knows nothing of the outbox; paho stops in `edge.mqttclient`.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, cast

from paho.mqtt.client import topic_matches_sub

from edge.codecs import BY_THE_BROKER, frame_decoder
from edge.connectors.base import Sink, unnoted
from edge.connectors.mqtt_discover import listen
from edge.mqttlink import MqttLink, mqtt_link
from firmware_specs.errors import FrameError, LinkError

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from edge.config import MqttConfig
    from edge.connectors.base import DeviceBinding, Noted
    from edge.mqttclient import Message
    from firmware_specs.readings import Sample

    Decode = Callable[[bytes, int], list[Sample]]
    Tap = Callable[[bytes, bool], None]
    """Takes a payload, and whether it was retained."""

_TOPICS_A_SUBSCRIBE: Final = 500
_TOPICS_REMEMBERED: Final = 10_000
_STALL_S: Final = 5.0


class GroupSink(Sink, Protocol):
    """The gateway's sink: it remembers messages by their marks over restarts, and works in groups."""

    @property
    def is_full(self) -> bool: ...  # noqa: D102 - `ready` tells when it is over

    def hold(self) -> None: ...  # noqa: D102 - more follows at once

    def release(self) -> None: ...  # noqa: D102 - what was accepted may be committed now

    def after_commit(self, callback: Callable[[], None]) -> None: ...  # noqa: D102 - once, after this group's word

    def accept(  # noqa: D102 - as in Sink; the mark is committed with the readings
        self,
        device: str,
        samples: Sequence[Sample],
        committed: Callable[[bool], None] | None = None,
        mark: int = 0,
    ) -> None: ...


class MqttConnector:
    """One broker and the devices that publish to it."""

    def __init__(
        self, config: MqttConfig, devices: Sequence[DeviceBinding], client_id: str, marks: deque[int],
        noted: Noted = unnoted,
    ) -> None:  # fmt: skip
        """marks: of messages that are on disk, bounded; shared by all of a gateway, older runs included."""
        self.name = config.name
        self._config = config
        self._noted = noted
        self._client_id = config.client_id or client_id
        self._marks = marks
        self._kept: frozenset[int] = frozenset()
        self._seed = zlib.crc32(self._client_id.encode())
        self._routes: dict[bytes, tuple[str, Decode] | None] = {}
        self._patterns: list[tuple[str, str, Decode]] = []
        decoders: dict[str, Decode] = {}
        for device in devices:
            decode = decoders.get(device.profile.profile)
            if decode is None:
                decode = decoders[device.profile.profile] = frame_decoder(device.profile)
            if "+" in device.address or "#" in device.address:
                self._patterns.append((device.address, device.id, decode))
            else:
                self._routes[device.address.encode()] = (device.id, decode)
        self._topics = sorted({device.address for device in devices})
        self._taps: dict[bytes, Tap] = {}
        self._link: MqttLink | None = None
        self._sink: GroupSink | None = None
        self._full = asyncio.Event()
        self._pending: dict[int, MqttLink] = {}
        """Marks of messages that were handed on and are not yet committed, and the link that wants to know."""
        self._early: list[Message] = []
        """What a resumed session sent along with the broker's answer to CONNECT."""
        self._acks: list[int] = []
        self._refused = False
        self.redelivered = 0
        """Messages that came again although they were kept."""

    async def run(self, sink: Sink, started: Callable[[], None]) -> None:
        """See `Connector`."""
        config = self._config
        group_sink = self._sink = cast("GroupSink", sink)
        self._full.clear()
        self._early.clear()
        self._refused = False
        self._kept = frozenset(self._marks)
        async with mqtt_link(
            config,
            self._client_id,
            partial(self._heard, group_sink),
            v5=config.version == "5",
            session_expiry_s=config.session_expiry_s,
            receive_maximum=config.receive_maximum,
        ) as link:
            self._link = link
            early, self._early = self._early, []
            try:
                self._heard(group_sink, early)
                topics = [*self._topics, *(topic.decode() for topic in self._taps)]
                for start in range(0, len(topics), _TOPICS_A_SUBSCRIBE):
                    await link.subscribe([(t, config.qos) for t in topics[start : start + _TOPICS_A_SUBSCRIBE]])
                started()
                async with asyncio.TaskGroup() as group:
                    group.create_task(link.keep_alive(), name=f"{self.name}-keepalive")
                    group.create_task(self._hold_back(sink, link), name=f"{self.name}-flow")
                    if config.discover:
                        listening = listen(config, self._client_id, self._is_known, self._noted)
                        group.create_task(listening, name=f"{self.name}-discover")
            except* LinkError as errors:
                raise errors.exceptions[0] from errors
            finally:
                self._link = None
                self._acks.clear()
                self._early.clear()

    # what is not readings

    def tap(self, topic: str, heard: Tap) -> None:
        """Have what comes on a topic taken, which is no reading: from the next connection on, or `subscribe` now."""
        self._taps[topic.encode()] = heard
        self._routes.pop(topic.encode(), None)

    async def subscribe(self, topic: str) -> None:
        """Hear a topic that is tapped already now. Raises LinkError."""
        await self._up().subscribe([(topic, 1)])

    async def untap(self, topic: str) -> None:
        """Be done with a topic that was tapped."""
        self._taps.pop(topic.encode(), None)
        if self._link is not None:
            self._link.unsubscribe(topic)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 to a device. Raises LinkError when there is no connection."""
        self._up().publish(topic, payload)

    def refuse(self, device: str, frame: bytes, error: FrameError) -> None:
        """Count what a device said that is no reading and cannot be understood."""
        if self._sink:
            self._sink.refuse(device, frame, error)

    def _up(self) -> MqttLink:
        if self._link is None:
            raise LinkError(self._config.url, "no connection")
        return self._link

    def _is_known(self, topic: bytes) -> bool:
        """Whether a device publishes to a topic. Looks beside the memory of topics, which strangers would fill."""
        text = topic.decode("utf-8", "replace")
        return self._routes.get(topic) is not None or any(topic_matches_sub(p, text) for p, *_ in self._patterns)

    async def _hold_back(self, sink: Sink, link: MqttLink) -> None:
        """Stop reading while nothing more can be taken; reconnect when something was refused."""
        while True:
            await self._full.wait()
            self._full.clear()
            if self._refused:
                await asyncio.sleep(_STALL_S)
                raise LinkError(self._config.url, "readings could be kept neither on disk nor in memory")
            link.pause()
            await sink.ready()
            link.resume()

    def _heard(self, sink: GroupSink, messages: list[Message]) -> None:
        link = self._link
        if link is None:
            self._early += messages
            return
        sink.hold()
        try:
            self._take(sink, link, messages)
        finally:
            sink.release()
        self._send_acks()
        if sink.is_full:
            self._full.set()

    def _take(self, sink: GroupSink, link: MqttLink, messages: list[Message]) -> None:
        now_ms = time.time_ns() // 1_000_000
        routes = self._routes
        for topic, payload, mid, dup, retain in messages:
            mark = 0
            if mid:
                mark = (zlib.crc32(payload, zlib.crc32(topic, self._seed)) << 16) | mid
                if dup and self._is_kept(mark, link, mid):
                    continue
            route = routes[topic] if topic in routes else self._find(topic)
            if route is None:
                if topic in self._taps:
                    self._taps[topic](payload, retain)
                    self._done_with(mid)
                    continue
                sink.refuse(self.name, payload, FrameError(self.name, 0, f"no device publishes to {topic!r}"))
                self._done_with(mid)
                continue
            device, decode = route
            try:
                samples = decode(payload, now_ms)
            except FrameError as e:
                sink.refuse(device, payload, e)
                self._done_with(mid)
                continue
            if samples is BY_THE_BROKER:
                self._done_with(mid)
                continue
            if mid:
                self._pending[mark] = link
                sink.accept(device, samples, partial(self._committed, mark), mark)
            else:
                sink.accept(device, samples)

    def _is_kept(self, mark: int, link: MqttLink, mid: int) -> bool:
        """Whether a message that came again is on disk, which is said at once, or on its way there."""
        if mark in self._pending:
            self._pending[mark] = link
        elif mark in self._kept:
            self._done_with(mid)
        else:
            return False
        self.redelivered += 1
        return True

    def _find(self, topic: bytes) -> tuple[str, Decode] | None:
        """The device of a topic by the patterns; the answer is remembered."""
        text = topic.decode("utf-8", "replace")
        patterns = () if topic in self._taps else self._patterns
        found = next(((d, decode) for pattern, d, decode in patterns if topic_matches_sub(pattern, text)), None)
        if len(self._routes) < _TOPICS_REMEMBERED:
            self._routes[topic] = found
        return found

    def _committed(self, mark: int, kept: bool) -> None:
        link = self._pending.pop(mark, None)
        if not kept:
            self._refused = True
            self._full.set()
            return
        self._marks.append(mark)
        if link is not None and link is self._link:
            if not self._acks and self._sink:
                self._sink.after_commit(self._send_acks)
            self._acks.append(mark & 0xFFFF)

    def _done_with(self, mid: int) -> None:
        if mid:
            self._acks.append(mid)

    def _send_acks(self) -> None:
        acks, self._acks = self._acks, []
        if acks and self._link:
            self._link.acknowledge(acks)
