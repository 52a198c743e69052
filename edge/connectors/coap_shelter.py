"""What aiocoap makes of datagrams that are not CoAP, in our words: a refused frame, never a line of the log each.

Owns where its complaints go. Whoever can reach the port can send any bytes; aiocoap logs each datagram that it cannot
read, and some options end in a traceback of the event loop.
"""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Any, Final

from firmware_specs.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Callable

_ODDITIES: Final = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError, struct.error,
)  # fmt: skip
"""What aiocoap lets through when a datagram is not what the protocol says."""


class _Complaints(logging.Handler):
    """Takes what a logger is told."""

    def __init__(self, refuse: Callable[[FrameError], None], endpoint: str) -> None:
        super().__init__(logging.WARNING)
        self._refuse = refuse
        self._endpoint = endpoint

    def emit(self, record: logging.LogRecord) -> None:
        """Count it."""
        self._refuse(FrameError(self._endpoint, 0, " ".join(record.getMessage().split())))


def logger_for(endpoint: str, refuse: Callable[[FrameError], None]) -> str:
    """The name of a logger for a context, whose complaints are refused frames."""
    logger = logging.getLogger(f"coap {endpoint}")
    logger.handlers = [_Complaints(refuse, endpoint)]
    logger.propagate = False
    return logger.name


def shelter(context: Any, endpoint: str, refuse: Callable[[FrameError], None]) -> None:  # noqa: ANN401 - aiocoap's
    """Have a context refuse the datagrams that its parser stumbles over."""
    for tokens in context.request_interfaces:
        interface = tokens.token_interface.message_interface
        # Named by its two transports over UDP; one of them has each.
        for name in ("datagram_msg_received", "_received_datagram"):
            take = getattr(interface, name, None)
            if take is not None:
                setattr(interface, name, _guarded(take, endpoint, refuse))


def _guarded(take: Callable[..., None], endpoint: str, refuse: Callable[[FrameError], None]) -> Callable[..., None]:
    def guarded(*arguments: object) -> None:
        try:
            take(*arguments)
        except _ODDITIES as e:
            refuse(FrameError(endpoint, 0, f"not CoAP: {' '.join(str(e).split()) or type(e).__name__}"))

    return guarded
