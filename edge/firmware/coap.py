"""Firmware by a block-wise PUT over CoAP (RFC 7959), block by block.

Owns the blocks: aiocoap's own block-wise transfer can neither go on from the middle nor tell how far it is. A device
that answers GET with where it stands is gone on with there; any other gets the image from the start. A device that
wants smaller blocks gets them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from firmware_specs import device_firmware as wire
from firmware_specs.errors import FrameError, LinkError, UpdateRejected

if TYPE_CHECKING:
    from edge.connectors.coap import CoapConnector
    from edge.firmware.base import FirmwareDevice, Image, Listener, Pace, Progress

_CONTINUE: Final = 95
"""2.31 (RFC 7959, 2.9)."""
_INCOMPLETE: Final = 136
"""4.08: it lost what came before."""
_UNKNOWN: Final = 132
"""4.04."""
_SERVER_ERROR: Final = 160
"""5.00: these and those above may pass."""
_CLIENT_ERROR: Final = 128


class CoapSender:
    """See the module."""

    def __init__(self, connector: CoapConnector, listener: Listener, pace: Pace) -> None:
        self._connector = connector
        self._listener = listener
        self._pace = pace

    async def ask(self, device: FirmwareDevice) -> None:
        """See `Sender`."""
        await self._standing(device)

    async def send(self, device: FirmwareDevice, image: Image, tell: Progress) -> None:
        """See `Sender`."""
        standing = await self._standing(device)
        size = device.firmware.chunk_bytes
        offset = 0
        if standing and standing.id == image.id and standing.next <= image.size:
            offset = standing.next - standing.next % size
            if offset == image.size:
                offset -= size  # the last block again: its answer is the word that all is there
        offset = max(offset, 0)
        tell(offset)
        while offset < image.size:
            data = image.read(offset, size)
            await self._pace.take(len(data))
            answer = await self._put(device, image, offset, size, data)
            code = int(answer.code)
            offset += len(data)
            if code == _CONTINUE and offset < image.size:
                wanted = answer.opt.block1
                if wanted is not None and wanted.size < size:
                    size = wanted.size
            elif code >= _CLIENT_ERROR:
                raise _refusal(device, code, answer.payload)
            elif offset < image.size:
                raise UpdateRejected("the device was content before it had all")
            tell(offset)

    async def _standing(self, device: FirmwareDevice) -> wire.Standing | None:
        """What the device says of itself; None when it cannot be asked."""
        from aiocoap.message import Message  # noqa: PLC0415 - only when CoAP is configured
        from aiocoap.numbers.codes import GET  # noqa: PLC0415

        answer = await self._request(device, Message(code=GET))
        if not answer.code.is_successful():
            if int(answer.code) >= _SERVER_ERROR:
                raise LinkError(device.address, f"answered {answer.code}")
            return None
        try:
            standing = wire.decode(answer.payload, wire.Standing, device.address)
        except FrameError as e:
            self._connector.refuse(device.id, answer.payload, e)
            return None
        self._listener.runs(device.id, standing.version)
        if standing.failed:
            self._listener.left(device.id, standing.failed)
        return standing

    async def _put(self, device: FirmwareDevice, image: Image, offset: int, size: int, data: bytes) -> Any:  # noqa: ANN401 - aiocoap's message
        from aiocoap.message import Message  # noqa: PLC0415
        from aiocoap.numbers.codes import PUT  # noqa: PLC0415
        from aiocoap.numbers.contentformat import ContentFormat  # noqa: PLC0415

        more = offset + len(data) < image.size
        block = (offset // size, more, size.bit_length() - 5)
        request = Message(code=PUT, payload=data, content_format=ContentFormat.OCTETSTREAM, block1=block)
        request.opt.uri_query = (f"id={image.id}", f"version={image.version}", f"size={image.size}")
        if not offset:
            request.opt.size1 = image.size
        return await self._request(device, request)

    async def _request(self, device: FirmwareDevice, request: Any) -> Any:  # noqa: ANN401
        """An answer, whatever it says. Raises LinkError when there is none."""
        from aiocoap import error  # noqa: PLC0415

        context, endpoint, base, path = self._connector.way_to(device.id)
        if endpoint is None:
            query = request.opt.uri_query
            request.set_request_uri(base, set_uri_host=False)
            request.opt.uri_query = query
        else:
            request.remote = endpoint
        request.opt.uri_path = (*path, *device.firmware.path.split("/"))
        pending = context.request(request, handle_blockwise=False).response
        # Never cancelled: aiocoap stumbles over an answer to a request whose future was.
        pending.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({pending}, timeout=device.firmware.ack_timeout_s)
        if not pending.done():
            raise LinkError(device.address, f"the device said nothing for {device.firmware.ack_timeout_s:g} s")
        try:
            return pending.result()
        except (error.Error, OSError, UnicodeError) as e:
            raise LinkError(device.address, " ".join(str(e).split()) or type(e).__name__) from e


def _refusal(device: FirmwareDevice, code: int, payload: bytes) -> LinkError | UpdateRejected:
    """What an error of the device means: some pass, others are its last word on the image."""
    text = " ".join(payload[:200].decode("utf-8", "replace").split())
    said = f"{code >> 5}.{code & 31:02d}{' ' if text else ''}{text}"
    if code >= _SERVER_ERROR or code == _INCOMPLETE:
        return LinkError(device.address, f"the device answered {said}")
    if code == _UNKNOWN:
        return UpdateRejected(f"the device has no firmware resource {device.firmware.path!r}")
    return UpdateRejected(f"the device refuses it: {said}")
