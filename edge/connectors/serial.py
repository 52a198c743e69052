"""Serial lines: radios, GNSS receivers and whatever else speaks in frames on a wire.

Owns the port: opening it exclusively by its stable path, reading it without ever blocking, noticing that it was
unplugged, and naming the device behind each frame. What the bytes mean is the line codec's business.
A silent line is not an error unless `silence_s` says so.
"""

from __future__ import annotations

import asyncio
import errno
import os
import termios
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.codecs import line_codec
from edge.codecs.lines import Heard
from edge.codecs.strangers import Strangers
from edge.connectors.base import unnoted
from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import serial as pyserial

    from edge.codecs.lines import LineCodec, Refused
    from edge.config import SerialConfig
    from edge.connectors.base import DeviceBinding, Noted, Sink

    Use = Callable[[int], Coroutine[Any, Any, None]]
    """What is done with a port that was lent."""

READ_BYTES: Final = 4096
"""At a time; the loop gets its turn between two reads."""
SETTLE_S: Final = 0.25
"""How long a line must be quiet before the codec judges what it held back."""
PATH_CHECK_S: Final = 5.0
"""How often a quiet port is asked whether its path still leads to it."""
_REASONS: Final = {
    errno.ENOENT: "no such port",
    errno.EACCES: "permission denied; the agent's user needs the port's group, often dialout",
    errno.EPERM: "permission denied",
    errno.EBUSY: "in use by another program",
    errno.EAGAIN: "in use by another program",
    errno.ENOTTY: "not a serial port",
    errno.ENXIO: "no device behind the port",
    errno.ENODEV: "no device behind the port",
}


class SerialConnector:
    """One serial line with its devices."""

    def __init__(self, config: SerialConfig, devices: Sequence[DeviceBinding], noted: Noted = unnoted) -> None:
        self.name = config.name
        self._config = config
        self._profiles = {device.address: device.profile for device in devices}
        self._ids = {device.address: device.id for device in devices}
        self._noted = noted
        self._codec()  # refuses devices that cannot share a line
        self._loans: deque[tuple[Use, asyncio.Future[None]]] = deque()
        self._turn: asyncio.Future[None] | None = None
        self._open = False

    def _codec(self) -> LineCodec:
        if not self._profiles:
            return Strangers()
        return line_codec(self._profiles, self._config.framing, self._config.max_frame_bytes)

    async def run(self, sink: Sink, started: Callable[[], None]) -> None:
        """Read the line until cancelled. Raises LinkError when the port cannot be opened or went away."""
        port = _open(self._config)
        self._open = True
        try:
            started()
            await self._read(port.fileno(), sink)
        finally:
            self._open = False
            while self._loans:
                _tell(self._loans.popleft()[1], LinkError(self._config.port, "the port was closed"))
            port.close()

    async def lend(self, use: Use) -> None:
        """Let `use` have the port for itself: no frame is read until it is done. Raises LinkError, and what it does.

        What was heard before is judged first. Cancelling ends a loan.
        """
        if not self._open:
            raise LinkError(self._config.port, "the port is not open")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loans.append((use, done))
        if self._turn and not self._turn.done():
            self._turn.set_result(None)
        await done

    async def _serve_loans(self, fd: int) -> None:
        """Hand the port over, one loan after the other; a loan that nobody waits for any more is ended."""
        while self._loans:
            use, done = self._loans.popleft()
            if done.done():
                continue
            work = asyncio.ensure_future(use(fd))
            try:
                await asyncio.wait({work, done}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not work.done():
                    work.cancel()
                    await asyncio.wait({work})
                error = None if work.cancelled() else work.exception()
                _tell(done, LinkError(self._config.port, "the port was closed") if work.cancelled() else error)

    async def _read(self, fd: int, sink: Sink) -> None:
        codec = self._codec()
        heard_at = checked_at = time.monotonic()
        settled = True
        patience_s = min(PATH_CHECK_S, self._config.silence_s or PATH_CHECK_S)
        while True:
            if self._loans:
                self._hand_on(codec.settle(_now_ms()), sink)
                await self._serve_loans(fd)
                codec, settled, heard_at = self._codec(), True, time.monotonic()
            if await self._readable(fd, patience_s if settled else SETTLE_S):
                data = self._chunk(fd)
                heard_at = time.monotonic()
                settled = False
                self._hand_on(codec.feed(data, _now_ms()), sink)
                await sink.ready()
            elif not settled:
                settled = True
                self._hand_on(codec.settle(_now_ms()), sink)
            silent_s = time.monotonic() - heard_at
            if self._config.silence_s is not None and silent_s > self._config.silence_s:
                raise LinkError(self._config.port, f"nothing came for {silent_s:.0f} s")
            if time.monotonic() - checked_at >= PATH_CHECK_S:
                checked_at = time.monotonic()
                self._check_path(fd)

    async def _readable(self, fd: int, timeout_s: float) -> bool:
        """Whether the descriptor can be read, waiting at most `timeout_s`, or less when somebody wants the port."""
        loop = asyncio.get_running_loop()
        turn = self._turn = loop.create_future()
        ready = False

        def is_ready() -> None:
            nonlocal ready
            ready = True
            if not turn.done():
                turn.set_result(None)

        loop.add_reader(fd, is_ready)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(fd)
        return ready

    def _chunk(self, fd: int) -> bytes:
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as e:
            raise LinkError(self._config.port, f"the port went away: {e.strerror}") from e
        if not data:
            raise LinkError(self._config.port, "the port went away: end of file")
        return data

    def _check_path(self, fd: int) -> None:
        """A stable path that leads elsewhere means that the adapter was plugged in again."""
        try:
            same = Path(self._config.port).stat().st_rdev == os.fstat(fd).st_rdev
        except OSError as e:
            raise LinkError(self._config.port, f"the port went away: {e.strerror}") from e
        if not same:
            raise LinkError(self._config.port, "the path leads to another port now")

    def _hand_on(self, heard: Sequence[Heard | Refused], sink: Sink) -> None:
        for item in heard:
            device = self._ids.get(item.address, self.name)
            if isinstance(item, Heard):
                sink.accept(device, item.samples)
            else:
                sink.refuse(device, item.frame, item.error)
                if item.stranger:
                    self._noted(self.name, self._config.kind, item.stranger, item.frame)


def _open(config: SerialConfig) -> pyserial.Serial:
    import serial as pyserial  # noqa: PLC0415 - only when a line is configured

    parity = {"none": pyserial.PARITY_NONE, "even": pyserial.PARITY_EVEN, "odd": pyserial.PARITY_ODD}[config.parity]
    try:
        return pyserial.Serial(
            config.port,
            config.baud,
            bytesize=config.data_bits,
            parity=parity,
            stopbits=config.stop_bits,
            timeout=0,
            exclusive=True,
        )
    except (OSError, ValueError, termios.error) as e:  # pyserial's own error is an OSError
        raise LinkError(config.port, _reason(e)) from e


def _reason(error: BaseException) -> str:
    """One line; the cause's own number counts, which pyserial may have left in the error that it wrapped."""
    cause: BaseException | None = error
    while cause is not None:
        code = getattr(cause, "errno", None) or (cause.args[0] if cause.args else None)
        if isinstance(code, int) and code in _REASONS:
            return _REASONS[code]
        cause = cause.__context__
    return " ".join(str(error).split()) or type(error).__name__


def _tell(done: asyncio.Future[None], error: BaseException | None) -> None:
    """End a future that somebody may have given up."""
    if done.done():
        return
    if error:
        done.set_exception(error)
    else:
        done.set_result(None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
