"""Battery sensors that POST SenML CBOR to a gateway, confirmable, and try again until they are answered."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiocoap.error
import structlog
from aiocoap.message import Message
from aiocoap.numbers.codes import POST
from aiocoap.numbers.constants import Reliable
from aiocoap.numbers.contentformat import ContentFormat
from aiocoap.protocol import Context

from simulators.device import encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_specs.readings import Sample
    from simulators.device import Device

SENML_CBOR: Final = 112
_TRIES: Final = 5
_ANSWER_S: Final = 20.0
_WAITING_MAX: Final = 64
log = structlog.get_logger()


def base_uri(address: str) -> str:
    """`coap://host:port` from that or from `host:port`. Raises ValueError naming the address."""
    parts = urlsplit(address if "://" in address else f"coap://{address}")
    if parts.scheme != "coap" or not parts.hostname:
        raise ValueError(f"{address!r}: coap://host:port expected")
    return f"coap://{parts.netloc}"


class CoapPeer:
    """One CoAP client for many sensors; a device's address is its path. Packs of one sensor stay in order."""

    def __init__(self, address: str) -> None:
        self.base = base_uri(address)
        self._context: Context | None = None
        self._queues: dict[str, asyncio.Queue[bytes]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._encoders: dict[str, Callable[[str, Sequence[Sample], int], bytes]] = {}
        self._random = random.Random(0)

    async def start(self) -> None:
        """Open a socket."""
        self._context = await self.open()

    async def open(self) -> Context:
        """A socket that only asks."""
        context: Context = await Context.create_client_context()
        return context

    async def send(self, device: Device, samples: Sequence[Sample], at_ms: int) -> None:
        """Queue one pack; the oldest gives way when a sensor's memory is full."""
        queue = self._queues.setdefault(device.address, asyncio.Queue(_WAITING_MAX))
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(self._encoded(device, samples, at_ms))
        if device.address not in self._tasks:
            name = f"coap-{device.name}"
            self._tasks[device.address] = asyncio.create_task(self._post_all(device.address, queue), name=name)

    def _encoded(self, device: Device, samples: Sequence[Sample], at_ms: int) -> bytes:
        profile = device.profile
        if profile.profile not in self._encoders:
            self._encoders[profile.profile] = encoder(profile)
        return self._encoders[profile.profile](device.name, samples, at_ms)

    async def _post_all(self, path: str, queue: asyncio.Queue[bytes]) -> None:
        while True:
            payload = await queue.get()
            for attempt in range(_TRIES):
                if await self.post(path, payload):
                    break
                await asyncio.sleep(min(30, 2**attempt) * self._random.uniform(0.5, 1))
            else:
                log.warning("pack given up", sensor=path, tries=_TRIES)

    async def post(self, path: str, payload: bytes, content_format: int = SENML_CBOR) -> bool:
        """POST one pack; whether it was answered with success."""
        if self._context is None:
            return False
        request = Message(
            code=POST, transport_tuning=Reliable, uri=f"{self.base}/{path.lstrip('/')}", payload=payload,
            content_format=ContentFormat(content_format),
        )  # fmt: skip
        # Never cancelled: aiocoap stumbles over an answer to a request whose future was.
        answer = self._context.request(request).response
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({answer}, timeout=_ANSWER_S)
        if not answer.done():
            return False
        try:
            return bool(answer.result().code.is_successful())
        except (aiocoap.error.Error, OSError) as e:
            log.debug("no answer", sensor=path, error=str(e) or type(e).__name__)
            return False

    async def stop(self) -> None:
        """Give up what waits and close the socket."""
        for task in self._tasks.values():
            task.cancel()
        for task in self._tasks.values():
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._context is not None:
            await self._context.shutdown()
            self._context = None
