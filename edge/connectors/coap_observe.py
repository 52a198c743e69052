"""Observing sensors that serve their own values over CoAP (RFC 7641).

Owns one observation a device. Its rules:
- aiocoap never renews an observation: a sensor that restarted would be silent for ever. So a notification that is
  overdue by Max-Age and some slack is followed by a new GET, which registers anew.
- A sensor that cannot be observed is asked again at the same pace.
- A sensor that does not answer is refused in words, and asked again with backoff; the others never wait for it.
- aiocoap acknowledges a notification before we have kept it; the GET after a restart gives the latest value again.

Must not know what a payload means.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from firmware_specs.errors import FrameError

if TYPE_CHECKING:
    from aiocoap.protocol import Context

    from edge.codecs import FrameDecoder
    from edge.connectors.base import Sink

ANSWER_TIMEOUT_S: Final = 30.0
BACKOFF_MAX_S: Final = 60.0
MAX_WAITING: Final = 1000
"""Notifications of a sensor that wait to be taken; more are refused."""
DEFAULT_MAX_AGE_S: Final = 60
"""RFC 7252, 5.10.5."""


class Observed(NamedTuple):
    """A device that serves its values. slack_s: how long after Max-Age a notification counts as overdue."""

    device: str
    uri: str
    decode: FrameDecoder
    slack_s: float


async def observe(context: Context, observed: Observed, sink: Sink) -> None:
    """Follow one sensor until cancelled."""
    from aiocoap import error  # noqa: PLC0415 - only when CoAP is configured

    failures = 0
    while True:
        try:
            await _follow(context, observed, sink)
            failures = 0
        except (error.Error, OSError, TimeoutError, UnicodeError) as e:  # UnicodeError: no host name
            failures += 1
            reason = "no answer" if isinstance(e, TimeoutError) else " ".join(str(e).split()) or type(e).__name__
            sink.refuse(observed.device, b"", FrameError(observed.uri, 0, f"cannot be observed: {reason}"))
            await asyncio.sleep(random.uniform(0, min(BACKOFF_MAX_S, 2.0**failures)))  # noqa: S311 - jitter


async def _follow(context: Context, observed: Observed, sink: Sink) -> None:
    """Register, and hand on what comes until a notification is overdue."""
    from aiocoap.message import Message  # noqa: PLC0415
    from aiocoap.numbers.codes import GET  # noqa: PLC0415

    arrived: asyncio.Queue[Any] = asyncio.Queue()

    def notified(message: Any) -> None:  # noqa: ANN401 - aiocoap's
        if arrived.qsize() < MAX_WAITING:
            arrived.put_nowait(message)
        else:
            error = FrameError(observed.uri, 0, f"more than {MAX_WAITING} notifications wait")
            sink.refuse(observed.device, message.payload, error)

    request: Any = context.request(Message(code=GET, uri=observed.uri, observe=0), handle_blockwise=False)
    # Not by `async for`: that keeps the latest of a burst only, and an alarm may be the one before.
    request.observation.callbacks.append(notified)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            message = await request.response
        while True:
            await _take(context, observed, sink, message)
            max_age_s = DEFAULT_MAX_AGE_S if message.opt.max_age is None else message.opt.max_age
            try:
                async with asyncio.timeout(max_age_s + observed.slack_s):
                    message = await arrived.get()
            except TimeoutError:
                return
    finally:
        request.response.cancel()
        if not request.observation.cancelled:
            request.observation.cancel()


async def _take(context: Context, observed: Observed, sink: Sink, message: Any) -> None:  # noqa: ANN401 - aiocoap's
    from aiocoap.message import Message  # noqa: PLC0415
    from aiocoap.numbers.codes import GET  # noqa: PLC0415

    if message.code.is_successful() and message.opt.block2 is not None and message.opt.block2.more:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            message = await context.request(Message(code=GET, uri=observed.uri)).response
    await sink.ready()
    if not message.code.is_successful():
        text = message.payload[:80].decode(errors="replace")
        sink.refuse(observed.device, message.payload, FrameError(observed.uri, 0, f"answered {message.code} {text}"))
        return
    try:
        samples = observed.decode(message.payload, time.time_ns() // 1_000_000)
    except FrameError as e:
        sink.refuse(observed.device, message.payload, e)
    else:
        sink.accept(observed.device, samples)
