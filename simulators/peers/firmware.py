"""A device's own end of a firmware update, as `firmware_specs/device_firmware.py` has it, well-mannered or not.

Owns what a device does with an image: it keeps what it has, says from where it wants to go on, checks the hash,
restarts and tells its version. `Manners` are how one misbehaves: refuses, dies in the middle, forgets, stays silent,
lies. Two endpoints of it: below a topic of a broker, and as a resource of a CoAP server.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as paho
from aiocoap import resource
from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from aiocoap.protocol import Context
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firmware_specs import device_firmware as wire
from firmware_specs.device_firmware import Ack, AckState
from firmware_specs.errors import FrameError
from simulators.peers.coap import CoapPeer
from simulators.peers.mqtt import MqttPeer, endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulators.device import Device

REBOOT_S: Final = 0.2
FIRST_VERSION: Final = "1.0.0"
SHOWN_REBOOT_S: Final = 5.0
_LONGEST_S: Final = 3600.0


@dataclass
class Manners:
    """How a device behaves. refuse: why it will have none. die_at: at this offset it answers no more, once.

    dead_s: for how long then. forget: what it had is gone after that. silent: it never comes back from its restart.
    lie: what it says that it runs after a restart.
    """

    refuse: str = ""
    die_at: int | None = None
    dead_s: float = 0.5
    forget: bool = False
    silent: bool = False
    lie: str = ""
    reboot_s: float = REBOOT_S


class Box:
    """What a device knows of its firmware. Times come from the loop that is passed in."""

    def __init__(self, version: str, model: str = "", manners: Manners | None = None) -> None:
        self.version = version
        self.model = model
        self.manners = manners or Manners()
        self.begin: wire.Begin | None = None
        self.data = bytearray()
        self.begins: list[int] = []
        """The offset that was asked for at each begin."""
        self.chunks = 0
        self.failed = ""
        self._dead_until = 0.0

    def is_dead(self, now_s: float) -> bool:
        """Whether it answers nothing now."""
        return now_s < self._dead_until

    def dead_for(self, now_s: float) -> float:
        """How long it answers nothing from now on."""
        return max(0.0, self._dead_until - now_s)

    def starts(self, begin: wire.Begin) -> Ack:
        """An image is offered."""
        if self.manners.refuse:
            return Ack(begin.id, 0, AckState.REFUSED, self.manners.refuse)
        if self.version == begin.version:
            return Ack(begin.id, begin.size, AckState.INSTALLED)
        if self.begin is None or self.begin.id != begin.id:
            self.data.clear()
        self.begin = begin
        self.begins.append(len(self.data))
        return Ack(begin.id, len(self.data))

    def takes(self, offset: int, data: bytes, now_s: float) -> Ack | None:
        """A chunk came; what does not follow on what it has is dropped."""
        if self.begin is None:
            return None
        self.chunks += 1
        manners = self.manners
        if manners.die_at is not None and len(self.data) >= manners.die_at:
            manners.die_at = None
            self._dead_until = now_s + manners.dead_s
            if manners.forget:
                self.begin = None
                self.data.clear()
            return None
        if offset == len(self.data):
            self.data += data
        return Ack(self.begin.id, len(self.data))

    def ends(self, sha256: str) -> Ack | None:
        """That was all; whether it takes it over."""
        if self.begin is None:
            return None
        if hashlib.sha256(self.data).hexdigest() != sha256:
            self.data.clear()
            return Ack(self.begin.id, 0, AckState.REFUSED, "the hash does not hold")
        return Ack(self.begin.id, len(self.data), AckState.VERIFIED)

    async def restart(self, now_s: float) -> bool:
        """Take the image over; whether it comes back."""
        begin, self.begin = self.begin, None
        if begin is None:
            return False
        self._dead_until = now_s + (1e9 if self.manners.silent else self.manners.reboot_s)
        if self.manners.silent:
            return False
        await asyncio.sleep(self.manners.reboot_s)
        self.version = self.manners.lie or begin.version
        self.data.clear()
        return True


class MqttFirmware:
    """The firmware topics of some devices on a broker, for those who simulate them."""

    def __init__(self, url: str, client_id: str, boxes: Mapping[str, Box], path: str = "fw") -> None:
        """boxes: by the device's topic."""
        self._host, self._port = endpoint(url)
        self._boxes = {f"{address}/{path}": box for address, box in boxes.items()}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.on_connect = self._connected
        self._client.on_message = self._heard
        self._tasks: set[asyncio.Task[None]] = set()
        self.ready = asyncio.Event()

    async def start(self) -> None:
        """Connect in the background, again and again."""
        self._loop = asyncio.get_running_loop()
        self._client.reconnect_delay_set(min_delay=1, max_delay=5)
        self._client.connect_async(self._host, self._port, keepalive=30)
        self._client.loop_start()

    def _connected(self, client: paho.Client, *_: object) -> None:
        for base, box in self._boxes.items():
            for name in (wire.BEGIN, f"{wire.CHUNK}/+", wire.END, wire.ASK):
                client.subscribe(f"{base}/{name}", 1)
            self._tell(base, box)
        self._loop.call_soon_threadsafe(self.ready.set)

    def _heard(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self._loop.call_soon_threadsafe(self._take, message.topic, bytes(message.payload))

    def _take(self, topic: str, payload: bytes) -> None:
        base = next((base for base in self._boxes if topic.startswith(f"{base}/")), "")
        box = self._boxes.get(base)
        if box is None or box.is_dead(self._loop.time()):
            return
        try:
            ack = self._answer(base, box, topic[len(base) + 1 :], payload)
        except (FrameError, ValueError):
            return
        if ack is None:
            return
        self._client.publish(f"{base}/{wire.ACK}", wire.encode(ack), qos=1)
        if ack.state is AckState.VERIFIED:
            task = self._loop.create_task(self._restart(base, box), name=f"restart-{base}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _answer(self, base: str, box: Box, what: str, payload: bytes) -> Ack | None:
        if what == wire.BEGIN:
            return box.starts(wire.decode(payload, wire.Begin, base))
        if what == wire.END:
            return box.ends(wire.decode(payload, wire.End, base).sha256)
        if what == wire.ASK:
            self._tell(base, box)
            return None
        return box.takes(int(what.rpartition("/")[2]), payload, self._loop.time())

    async def _restart(self, base: str, box: Box) -> None:
        if await box.restart(self._loop.time()):
            self._tell(base, box)

    def _tell(self, base: str, box: Box) -> None:
        status = wire.Status(box.version, box.model, box.failed)
        self._client.publish(f"{base}/{wire.STATUS}", wire.encode(status), qos=1)

    async def stop(self) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        self._client.disconnect()
        self._client.loop_stop()


def _boxes(devices: Sequence[Device]) -> dict[str, Box]:
    """By address, what the devices that take firmware know of it: each well-mannered and on its first version."""
    return {
        device.address: Box(FIRST_VERSION, device.profile.firmware.model, Manners(reboot_s=SHOWN_REBOOT_S))
        for device in devices
        if device.profile.firmware
    }


class UpdatableMqttPeer(MqttPeer):
    """A publisher for devices that also take firmware."""

    def __init__(self, url: str, client_id: str, devices: Sequence[Device]) -> None:
        super().__init__(url, client_id)
        self._firmware = MqttFirmware(url, f"{client_id}-firmware", _boxes(devices))

    async def start(self) -> None:
        """Connect in the background, again and again."""
        await super().start()
        await self._firmware.start()

    async def stop(self) -> None:
        """Disconnect both."""
        await self._firmware.stop()
        await super().stop()


class CoapFirmware(resource.Resource):
    """The firmware resource of one device. Blocks are taken one by one, so that it can be gone on with."""

    def __init__(self, box: Box, smallest: int | None = None) -> None:
        """smallest: the exponent of the largest block that it takes, when it wants smaller ones than are sent."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.box = box
        self._szx = smallest
        self._tasks: set[asyncio.Task[bool]] = set()
        self.on_restart: Callable[[], None] = lambda: None

    async def needs_blockwise_assembly(self, _request: Message) -> bool:
        """Never: see the class."""
        return False

    async def render_get(self, _request: Message) -> Message:
        """Where it stands."""
        await self._be_dead()
        box = self.box
        held = box.begin.id if box.begin else ""
        return Message(payload=wire.encode(wire.Standing(box.version, held, len(box.data), box.failed)))

    async def render_put(self, request: Message) -> Message:
        """One block."""
        await self._be_dead()
        query = dict(part.partition("=")[::2] for part in request.opt.uri_query)
        block: Any = request.opt.block1
        offset, size = block.start, int(query["size"])
        if self.box.begin is None or self.box.begin.id != query["id"]:
            # The query names the first half of the hash; the device checks what the image itself carries.
            begin = wire.Begin(query["id"], query["version"], self.box.model, size, query["id"].ljust(64, "0"), 64)
            if self.box.starts(begin).state is AckState.REFUSED:
                return Message(code=Code.FORBIDDEN, payload=self.box.manners.refuse.encode())
        ack = self.box.takes(offset, request.payload, asyncio.get_running_loop().time())
        if ack is None:
            await self._be_dead()
            return Message(code=Code.SERVICE_UNAVAILABLE)
        if ack.next < offset + len(request.payload):
            return Message(code=Code.REQUEST_ENTITY_INCOMPLETE)
        echo = (block.block_number, block.more, min(block.size_exponent, self._szx or 6))
        if block.more:
            return Message(code=Code.CONTINUE, block1=echo)
        if hashlib.sha256(self.box.data).hexdigest()[:16] != query["id"]:
            self.box.data.clear()
            return Message(code=Code.NOT_ACCEPTABLE, payload=b"the hash does not hold")
        self._tasks.add(asyncio.create_task(self.box.restart(asyncio.get_running_loop().time()), name="restart"))
        return Message(code=Code.CHANGED, block1=echo)

    async def _be_dead(self) -> None:
        """A dead device answers nothing; whoever asked has long given up when it does."""
        await asyncio.sleep(min(self.box.dead_for(asyncio.get_running_loop().time()), _LONGEST_S))


async def coap_device(
    port: int, resources: Mapping[tuple[str, ...], resource.Resource], *, host: str = "::1"
) -> Context:
    """A CoAP server of a device. It can also POST, from the same port."""
    site = resource.Site()
    for path, each in resources.items():
        site.add_resource(tuple(path), each)
    context: Context = await Context.create_server_context(site, bind=(host, port))
    return context


class UpdatableCoapPeer(CoapPeer):
    """A sender for devices that also take firmware, below the path that they post to, at the port they post from."""

    def __init__(self, address: str, devices: Sequence[Device]) -> None:
        super().__init__(address)
        paths = {device.address: device.profile.firmware.path for device in devices if device.profile.firmware}
        self._resources = {
            (*address.strip("/").split("/"), *paths[address].split("/")): CoapFirmware(box)
            for address, box in _boxes(devices).items()
        }

    async def open(self) -> Context:
        """A socket that also answers; on a machine without IPv6 one that only asks."""
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as free:
                free.bind(("::", 0))
                port = free.getsockname()[1]
            return await coap_device(port, self._resources, host="::")
        except OSError:
            return await super().open()
