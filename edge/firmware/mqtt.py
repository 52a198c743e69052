"""Firmware in chunks over MQTT, below the device's own topic.

Owns the gateway's end of `firmware_specs/device_firmware.py`: a window of few chunks, going on where the device says
that it stands, and going back to it once when it repeats itself. What the broker acknowledges proves nothing; only the
device's word counts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from firmware_specs import device_firmware as wire
from firmware_specs.device_firmware import Ack, AckState
from firmware_specs.errors import FrameError, LinkError, UpdateRejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.connectors.mqtt import MqttConnector
    from edge.firmware.base import FirmwareDevice, Image, Listener, Pace, Progress

_ACKS_KEPT: Final = 64


class MqttSender:
    """See the module."""

    def __init__(
        self, connector: MqttConnector, devices: Sequence[FirmwareDevice], listener: Listener, pace: Pace
    ) -> None:
        """Hears the devices' status from now on; made before the connector runs."""
        self._connector = connector
        self._listener = listener
        self._pace = pace
        for device in devices:
            if not _is_filter(device.address):
                self._hear_status(device.id, f"{device.address}/{device.firmware.path}/{wire.STATUS}")

    def _hear_status(self, device: str, topic: str) -> None:
        def heard(payload: bytes, retained: bool) -> None:
            try:
                status = wire.decode(payload, wire.Status, topic)
            except FrameError as e:
                self._connector.refuse(device, payload, e)
                return
            self._listener.runs(device, status.version, live=not retained)
            if status.failed and not retained:
                self._listener.left(device, status.failed)

        self._connector.tap(topic, heard)

    async def ask(self, device: FirmwareDevice) -> None:
        """See `Sender`."""
        self._connector.publish(f"{_base(device)}/{wire.ASK}", b"")

    async def send(self, device: FirmwareDevice, image: Image, tell: Progress) -> None:
        """See `Sender`."""
        talk = _Talk(self._connector, device, image, self._pace)
        self._connector.tap(talk.ack_topic, talk.heard)
        try:
            await self._connector.subscribe(talk.ack_topic)
            await talk.run(tell)
        finally:
            await self._connector.untap(talk.ack_topic)


class _Talk:
    """One image on its way into one device."""

    def __init__(self, connector: MqttConnector, device: FirmwareDevice, image: Image, pace: Pace) -> None:
        self._connector = connector
        self._device = device
        self._image = image
        self._pace = pace
        self._base = _base(device)
        self.ack_topic = f"{self._base}/{wire.ACK}"
        self._acks: asyncio.Queue[Ack] = asyncio.Queue(_ACKS_KEPT)

    def heard(self, payload: bytes, retained: bool) -> None:
        """Take what the device acknowledges of this image; a retained word is of another day."""
        try:
            ack = wire.decode(payload, Ack, self.ack_topic)
        except FrameError as e:
            self._connector.refuse(self._device.id, payload, e)
            return
        if ack.id == self._image.id and ack.next <= self._image.size and not retained:
            if self._acks.full():
                self._acks.get_nowait()
            self._acks.put_nowait(ack)

    async def run(self, tell: Progress) -> None:
        """Until the device has verified the image, or runs it already."""
        image, chunk = self._image, self._device.firmware.chunk_bytes
        begin = wire.Begin(image.id, image.version, self._device.firmware.model, image.size, image.sha256, chunk)
        self._connector.publish(f"{self._base}/{wire.BEGIN}", wire.encode(begin))
        ack = await self._answer()
        if ack.state is AckState.RECEIVING:
            tell(ack.next)
            ack = await self._stream(ack, tell)
        if ack.state is AckState.RECEIVING:
            self._connector.publish(f"{self._base}/{wire.END}", wire.encode(wire.End(image.id, image.sha256)))
            while ack.state is AckState.RECEIVING:
                ack = await self._answer()
                if ack.next < image.size:
                    raise LinkError(self._base, "the device lost a part of the image")

    async def _stream(self, ack: Ack, tell: Progress) -> Ack:
        """Send from where the device stands to the end, never more than a window ahead of its word; its last word."""
        size, chunk = self._image.size, self._device.firmware.chunk_bytes
        ahead = self._device.firmware.window * chunk
        acked = sent = ack.next
        gone_back = -1
        while acked < size:
            while sent < size and sent - acked < ahead:
                data = self._image.read(sent, chunk)
                await self._pace.take(len(data))
                self._connector.publish(f"{self._base}/{wire.CHUNK}/{sent}", data)
                sent += len(data)
            ack = await self._answer()
            if ack.state is not AckState.RECEIVING:
                break
            if ack.next > acked:
                acked = ack.next
                sent = max(sent, acked)
                tell(acked)
            elif ack.next < acked or (self._acks.empty() and gone_back != ack.next):
                gone_back = acked = sent = ack.next  # it missed one, or forgot
        return ack

    async def _answer(self) -> Ack:
        """The device's next word. Raises LinkError when there is none in time, UpdateRejected when it refuses."""
        patience_s = self._device.firmware.ack_timeout_s
        try:
            async with asyncio.timeout(patience_s):
                ack = await self._acks.get()
        except TimeoutError as e:
            raise LinkError(self._base, f"the device said nothing for {patience_s:g} s") from e
        if ack.state is AckState.REFUSED:
            raise UpdateRejected(f"the device refuses it: {ack.reason or 'without a reason'}")
        return ack


def _base(device: FirmwareDevice) -> str:
    if _is_filter(device.address):
        raise UpdateRejected(f"{device.address!r} is many topics, firmware needs one")
    return f"{device.address}/{device.firmware.path}"


def _is_filter(address: str) -> bool:
    return "+" in address or "#" in address
