"""CoAP: a server that sensors POST to, and a client that observes sensors which serve their own values.

Owns the endpoint. Its rules:
- 2.04 Changed follows the group commit that holds the readings; a commit that failed is 5.03. aiocoap sends the empty
  acknowledgement meanwhile and absorbs repeats of a message for 247 s.
- Errors are one line of text: 4.00 what is wrong with the payload, 4.04 no such device, 4.13 too large.
- A datagram that is not CoAP is refused and counted (`edge/connectors/coap_shelter.py`).
- A device whose address begins with `coap://` is observed (`edge/connectors/coap_observe.py`).

Must not know what a payload means.
Source: RFC 7252, RFC 7959; protocols.md section 4.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from edge.codecs import frame_decoder
from edge.connectors.base import unnoted
from edge.connectors.coap_observe import Observed, observe
from edge.connectors.coap_shelter import logger_for, shelter
from firmware_specs.errors import FrameError, LinkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiocoap.protocol import Context

    from edge.codecs import FrameDecoder
    from edge.config import CoapConfig
    from edge.connectors.base import DeviceBinding, Noted, Sink

COMMIT_TIMEOUT_S: Final = 60.0
"""A commit that takes longer is answered with 5.03; the sensor tries again."""
MAX_TEXT_BYTES: Final = 200
MAX_PENDING: Final = 1000
"""Requests that may wait for their commit; more are told to try again."""


class Answer(IntEnum):
    """The response codes used here (RFC 7252, 12.1.2): class x 32 + detail."""

    CHANGED = 68
    BAD_REQUEST = 128
    NOT_FOUND = 132
    SERVICE_UNAVAILABLE = 163


class CoapConnector:
    """A CoAP endpoint with the devices that post to it and those that it observes."""

    def __init__(self, config: CoapConfig, devices: Sequence[DeviceBinding], noted: Noted = unnoted) -> None:
        self.name = config.name
        self._config = config
        self._posting: dict[tuple[str, ...], tuple[str, FrameDecoder]] = {}
        self._observed: list[Observed] = []
        self._pending = 0
        self._server: Context | None = None
        self._client_context: Context | None = None
        self._sink: Sink | None = None
        self._ways: dict[str, Any] = {}
        """By device: the endpoint that it last posted from."""
        self._noted = noted
        for device in devices:
            decode = frame_decoder(device.profile)
            if device.address.startswith("coap://"):
                self._observed.append(Observed(device.id, device.address, decode, config.renew_slack_s))
            else:
                self._posting[tuple(part for part in device.address.split("/") if part)] = (device.id, decode)

    async def run(self, sink: Sink, started: Callable[[], None]) -> None:
        """Serve until cancelled. Raises LinkError when the port is taken or the address is not ours."""
        self._sink = sink
        async with contextlib.AsyncExitStack() as contexts:
            contexts.callback(self._ways.clear)
            server = self._server = await self._listen(sink)
            contexts.push_async_callback(server.shutdown)
            if self._observed:
                client = self._client_context = await self._client(sink)
                contexts.push_async_callback(client.shutdown)
                async with asyncio.TaskGroup() as observers:
                    for observed in self._observed:
                        observers.create_task(observe(client, observed, sink), name=f"observe {observed.uri}")
                    started()
            else:
                started()
                await asyncio.get_running_loop().create_future()

    async def _client(self, sink: Sink) -> Context:
        """A socket of its own: one that is bound to loopback cannot reach sensors elsewhere."""
        from aiocoap.protocol import Context  # noqa: PLC0415 - only when something is observed

        transports = ["udp6" if _has_ipv6() else "simple6"]
        refuse = self._refusing(sink)
        name = logger_for(f"{self.name} observing", refuse)
        client: Context = await Context.create_client_context(loggername=name, transports=transports)
        shelter(client, self.name, refuse)
        return client

    def _refusing(self, sink: Sink) -> Callable[[FrameError], None]:
        return lambda error: sink.refuse(self.name, b"", error)

    async def _listen(self, sink: Sink) -> Context:
        from aiocoap import error  # noqa: PLC0415 - only when CoAP is configured
        from aiocoap.protocol import Context  # noqa: PLC0415

        host, port = self._config.host_port
        await _probe(self._config.bind, host, port)
        transport = "udp6" if _has_ipv6() else "simplesocketserver"
        root = _root(
            lambda path, payload, sender: self._post(sink, path, payload, sender), self._config.max_payload_bytes
        )
        refuse = self._refusing(sink)
        name = logger_for(self._config.bind, refuse)
        try:
            context: Context = await Context.create_server_context(
                root, bind=(host, port), loggername=name, transports=[transport]
            )
        except (OSError, ValueError, error.Error) as e:  # ValueError: any-address without IPv6
            raise LinkError(self._config.bind, _reason(e)) from e
        shelter(context, self._config.bind, refuse)
        return context

    def way_to(self, device: str) -> tuple[Context, Any, str, tuple[str, ...]]:
        """How a device is asked: the context, the endpoint that it posts from or None, its base, and its path.

        Raises LinkError when it has not been heard since the endpoint was opened.
        """
        observed = next((o for o in self._observed if o.device == device), None)
        if observed and self._client_context:
            parts = urlsplit(observed.uri)
            return self._client_context, None, f"coap://{parts.netloc}", tuple(p for p in parts.path.split("/") if p)
        if self._server is None or device not in self._ways:
            raise LinkError(device, "has not posted yet, so nobody knows where it is")
        path = next(path for path, (name, _) in self._posting.items() if name == device)
        return self._server, self._ways[device], "", path

    def refuse(self, device: str, frame: bytes, error: FrameError) -> None:
        """Count what a device answered that cannot be understood."""
        if self._sink:
            self._sink.refuse(device, frame, error)

    async def _post(self, sink: Sink, path: tuple[str, ...], payload: bytes, sender: Any) -> tuple[Answer, str]:  # noqa: ANN401 - a library type stays here
        """Take one request's payload; answer when its readings are on disk."""
        device, decode = self._posting.get(path, ("", None))
        if decode is None:
            where = f"/{'/'.join(path)}"
            sink.refuse(self.name, payload, FrameError(where, 0, "no device posts here"))
            self._noted(self.name, self._config.kind, where.lstrip("/"), payload)
            return Answer.NOT_FOUND, f"no device posts to {where}"
        self._ways[device] = sender
        if self._pending >= MAX_PENDING:
            return Answer.SERVICE_UNAVAILABLE, "busy: try again"
        self._pending += 1
        try:
            return await self._keep(sink, device, decode, payload)
        finally:
            self._pending -= 1

    @staticmethod
    async def _keep(sink: Sink, device: str, decode: FrameDecoder, payload: bytes) -> tuple[Answer, str]:
        await sink.ready()
        try:
            samples = decode(payload, time.time_ns() // 1_000_000)
        except FrameError as e:
            sink.refuse(device, payload, e)
            return Answer.BAD_REQUEST, str(e)
        committed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def settle(good: bool) -> None:
            if not committed.done():
                committed.set_result(good)

        sink.accept(device, samples, settle)
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                kept = await committed
        except TimeoutError:
            kept = False
        return (Answer.CHANGED, "") if kept else (Answer.SERVICE_UNAVAILABLE, "not kept: try again")


def _has_ipv6() -> bool:
    """Whether the kernel knows IPv6; then one socket serves both versions."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


async def _probe(bind: str, host: str, port: int) -> None:
    """Make sure that nobody has the port: aiocoap would share it in silence."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as e:
        raise LinkError(bind, _reason(e)) from e


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return "the port is taken"
    if code == errno.EADDRNOTAVAIL:
        return "the address is not one of this machine"
    return " ".join(str(error).split()) or type(error).__name__


def _root(answer: Callable[[tuple[str, ...], bytes, Any], Awaitable[tuple[Answer, str]]], max_bytes: int) -> Any:  # noqa: ANN401 - a library type stays here
    """The resource tree: one resource for all paths, since each is nothing but a device's name."""
    from aiocoap import error, resource  # noqa: PLC0415
    from aiocoap.message import Message  # noqa: PLC0415
    from aiocoap.numbers.codes import Code  # noqa: PLC0415

    class Root(resource.Resource, resource.PathCapable):
        """Takes POST and PUT; aiocoap answers other methods with 4.05."""

        async def needs_blockwise_assembly(self, request: Message) -> bool:
            block = request.opt.block1
            so_far = len(request.payload) + (block.start if block else 0)
            if max(so_far, request.opt.size1 or 0) > max_bytes:
                raise error.RequestEntityTooLarge(f"more than {max_bytes} bytes")
            return True

        async def render_post(self, request: Message) -> Message:
            code, text = await answer(tuple(request.opt.uri_path), request.payload, request.remote)
            return Message(code=Code(code), payload=" ".join(text.split()).encode()[:MAX_TEXT_BYTES])

        render_put = render_post

    return Root()  # type: ignore[no-untyped-call]
