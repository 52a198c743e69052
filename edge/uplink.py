"""The way to the cloud: drains the outbox over MQTT 5, alarms first, and believes only the cloud's own commit.

Owns the connection's life (a new client each time, full-jitter backoff), one pack in flight a lane, the retained
status and report, the will, and the canary: an idle gateway sends an empty pack every 30 s, because a broker's
PUBACK proves nothing and a connection can look fine long after it died. Whatever stays unanswered ends the
connection. The south side never waits for any of this.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from edge.mqttlink import MqttLink, mqtt_link
from firmware_specs.errors import LinkError, PackError
from firmware_specs.readings import Lane
from firmware_specs.wire import CONTENT_TYPE, PackHeader, decode_ack, encode_pack, topic, up_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.channel import Channel
    from edge.config import UplinkConfig
    from edge.mqttclient import Message
    from edge.outbox_north import North
    from edge.outbox_parts import Lease
    from firmware_specs.wire import Reported, Status

_TICK_S: Final = 1.0
_STATUS_EVERY_S: Final = 30.0
_FIRST_LIMIT_S: Final = 0.5
_LOST_SHARE: Final = 6
"""Whoever loses a connection that served waits up to this part of the longest wait, 5 s of 30: a broker that restarts
loses thousands at once, and each that returns costs it a handshake."""
_PACE_S: Final = 0.005
"""Least time between two telemetry packs: what comes meanwhile travels together. Alarms are not paced."""
_CONTENT: Final = CONTENT_TYPE.encode()
_log: structlog.stdlib.BoundLogger = structlog.get_logger("uplink")


class _Flight:
    """The pack of a lane that was sent and not answered; `lease` is None for a canary."""

    __slots__ = ("deadline", "epoch", "lease", "sent_at", "through")

    def __init__(self, lease: Lease | None, epoch: str, through: int, now: float, timeout_s: float) -> None:
        self.lease = lease
        self.epoch = epoch
        self.through = through
        self.sent_at = now
        self.deadline = now + timeout_s


class Uplink:
    """See the module. `run` until cancelled."""

    def __init__(
        self,
        *,
        gateway: str,
        config: UplinkConfig,
        north: North,
        boot: str,
        status: Callable[[bool], Status],
        reported: Callable[[], Reported],
        desired: Callable[[bytes], bool],
        channel: Channel,
    ) -> None:
        """status: the status as it is now, online or as the will says it. reported: the configuration in force.

        desired: takes what the cloud wants of us; whether something else is in force by it. channel: everything else
        that is ordered, asked and answered.
        """
        self._loop = asyncio.get_running_loop()
        self._gateway = gateway
        self._config = config
        self._north = north
        self._boot = boot
        self._status = status
        self._reported = reported
        self._desired = desired
        self._channel = channel
        self._ack_topic = topic(gateway, "ack").encode()
        self._desired_topic = topic(gateway, "desired").encode()
        self._own = topic(gateway, "").encode()
        self._topics = {lane: up_topic(gateway, lane).encode() for lane in Lane}
        self._link: MqttLink | None = None
        self._flights: dict[Lane, _Flight] = {}
        self._quiet_since = 0.0
        self._paced_at = 0.0
        self._pace: asyncio.TimerHandle | None = None
        self.counters = {"packs_sent": 0, "packs_resent": 0, "acks": 0, "acks_refused": 0, "uplink_losses": 0}
        self.state = "connecting"
        """`up`, `connecting`, or why it is down, in one line."""
        self.ticked_at = 0.0
        """When the uplink's task was last seen alive, by the loop's clock."""
        self.ack_ms = 0.0
        """How long the last acknowledgement took."""
        self.acked_at = float("-inf")
        """When the cloud last acknowledged something, by the loop's clock."""

    async def run(self) -> None:
        """Connect, serve, and try again, until cancelled."""
        loop = asyncio.get_running_loop()
        limit_s = _FIRST_LIMIT_S
        while True:
            began = loop.time()
            was_up = False
            try:
                await self._session()
            except LinkError as e:
                was_up = self.state == "up"
                if e.reason != self.state:
                    _log.warning("uplink down", endpoint=e.endpoint, reason=e.reason)
                self.state = e.reason
                self.counters["uplink_losses"] += 1
            if loop.time() - began > self._config.backoff_max_s:
                limit_s = _FIRST_LIMIT_S
            if was_up:
                limit_s = max(limit_s, self._config.backoff_max_s / _LOST_SHARE)
            await self._sleep(random.uniform(0, limit_s))  # noqa: S311 - spreads gateways, guards nothing
            limit_s = min(limit_s * 2, self._config.backoff_max_s)

    async def _sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            self.ticked_at = loop.time()
            await asyncio.sleep(min(left, _TICK_S))

    async def _session(self) -> None:
        will = (topic(self._gateway, "status"), msgspec.json.encode(self._status(False)))
        self.ticked_at = asyncio.get_running_loop().time()
        async with mqtt_link(
            self._config, self._gateway, self._heard, clean=True, receive_maximum=64, will=will, quick=True
        ) as link:
            await link.subscribe([(topic(self._gateway, "ack"), 1)])
            self._link = link
            self._flights.clear()
            self._quiet_since = 0.0
            self.state = "up"
            _log.info("uplink up", endpoint=self._config.url)
            try:
                # What waits there for us comes at once, and is acknowledged by a link that is known.
                orders = ("desired", "desired/+", "command/+")
                await link.subscribe([(topic(self._gateway, order), 1) for order in orders])
                self._channel.attach(self._publish_below)
                self.publish_state()
                self._north.on_change = self.pump
                self.pump()
                async with asyncio.TaskGroup() as group:
                    group.create_task(link.keep_alive(), name="uplink-keepalive")
                    group.create_task(self._watch(), name="uplink-watch")
            except* LinkError as errors:
                raise errors.exceptions[0] from errors
            finally:
                self._north.on_change = lambda: None
                self._channel.detach()
                self._link = None
                if not link.lost.done():
                    link.publish(will[0], msgspec.json.encode(self._status(False)), retain=True)

    def _publish_below(self, rest: str, payload: bytes, retain: bool) -> None:
        if self._link:
            self._link.publish(topic(self._gateway, rest), payload, retain=retain)

    def ask(self) -> None:
        """Have the cloud say that it is there: a canary now, unless something of ours is on its way already."""
        if self._link and Lane.TELEMETRY not in self._flights:
            self._send_canary(self._loop.time())

    def connect_anew(self, why: str) -> None:
        """Leave the connection and make another, with the certificate as it is now; none is made where none was."""
        if self._link and not self._link.lost.done():
            self._link.pause()  # what still comes over it was not said over the next one
            self._link.lost.set_exception(LinkError(self._config.url, why))

    def publish_state(self) -> None:
        """Publish the retained status and report, when there is a link."""
        if self._link:
            self._link.publish(topic(self._gateway, "reported"), msgspec.json.encode(self._reported()), retain=True)
            self.publish_status()

    def publish_status(self) -> None:
        """Publish the retained status alone."""
        if self._link:
            self._link.publish(topic(self._gateway, "status"), msgspec.json.encode(self._status(True)), retain=True)

    async def _watch(self) -> None:
        """Once a second: what is overdue ends the connection, what is idle asks for a sign of life."""
        loop = asyncio.get_running_loop()
        status_at = loop.time() + _STATUS_EVERY_S
        while True:
            await asyncio.sleep(_TICK_S)
            self.ticked_at = now = loop.time()
            for lane, flight in self._flights.items():
                if now >= flight.deadline:
                    self.counters["packs_resent"] += 1
                    waited = f"{self._config.ack_timeout_s:g} s"
                    raise LinkError(self._config.url, f"no acknowledgement of the {lane.value} lane within {waited}")
            self.pump()
            if not self._flights and now - self._quiet_since >= self._config.canary_s:
                self._send_canary(now)
            if now >= status_at:
                status_at = now + _STATUS_EVERY_S
                self.publish_status()

    def pump(self) -> None:
        """Send what waits and may be sent."""
        if self._link is None:
            return
        for lane in Lane:
            flight = self._flights.get(lane)
            if flight is None or flight.lease is None:
                if not self._north.has(lane) or (lane is Lane.TELEMETRY and self._too_soon()):
                    continue
                lease = self._north.lease(lane)
                if lease:
                    self._send(lane, lease)

    def _too_soon(self) -> bool:
        """Whether telemetry has to wait for its pace; then it is taken up in time."""
        now = self._loop.time()
        wait_s = self._paced_at + _PACE_S - now
        if wait_s <= 0:
            self._paced_at = now
            return False
        if self._pace is None:
            self._pace = self._loop.call_later(wait_s, self._paced)
        return True

    def _paced(self) -> None:
        self._pace = None
        self.pump()

    def _send(self, lane: Lane, lease: Lease) -> None:
        header = PackHeader(lease.epoch, lane, lease.first, lease.span, lease.base, lease.boot)
        now = self._loop.time()
        self._flights[lane] = _Flight(lease, lease.epoch, lease.through, now, self._config.ack_timeout_s)
        self._publish(header, lease.bodies)

    def _send_canary(self, now: float) -> None:
        epoch, following = self._north.position(Lane.TELEMETRY)
        header = PackHeader(epoch, Lane.TELEMETRY, following, 0, following, self._boot)
        self._flights[Lane.TELEMETRY] = _Flight(None, epoch, following - 1, now, self._config.ack_timeout_s)
        self._publish(header, [])

    def _publish(self, header: PackHeader, bodies: list[bytes]) -> None:
        if self._link is None:
            return
        payload, user = encode_pack(header, bodies)
        self.counters["packs_sent"] += 1
        self._link.publish_pack(self._topics[header.lane], payload, _CONTENT, user)

    def _heard(self, messages: list[Message]) -> None:
        """The broker's messages: acknowledgements and what the cloud wants of us."""
        now = self._loop.time()
        if self._link:
            self._link.acknowledge([message.mid for message in messages if message.mid], later=True)
        for message in messages:
            if message.topic == self._desired_topic:
                tell = self.publish_state if self._desired(message.payload) else self.publish_status
                tell()
                continue
            if message.topic != self._ack_topic:
                self._channel.take(message.topic.removeprefix(self._own).decode("utf-8", "replace"), message.payload)
                continue
            try:
                ack = decode_ack(message.payload)
            except PackError:
                self.counters["acks_refused"] += 1
                continue
            if not self._north.acknowledge(ack):
                self.counters["acks_refused"] += 1
                continue
            self.counters["acks"] += 1
            self._quiet_since = self.acked_at = now
            flight = self._flights.get(ack.lane)
            if flight and flight.epoch == ack.epoch and ack.through >= flight.through:
                self.ack_ms = 1000 * (now - flight.sent_at)
                del self._flights[ack.lane]
        self.pump()
