"""Logs to stderr: readable on a terminal, one JSON object a line elsewhere; the latest stay in memory.

Owns the ring of the latest events, which remote help and a diagnostics bundle read. It holds what was logged as it was:
whoever lets it out of this process takes out what must not leave (`edge.redact`).
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT: Final = 1000
MAX_LINE: Final = 600
"""Characters of a line."""
_FIRST: Final = ("timestamp", "level", "event")


class Ring:
    """The latest events as lines of text, numbered from 1 since the start."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lines: deque[str] = deque(maxlen=kept)
        self._told: list[Callable[[str], None]] = []
        self.count = 0

    def __call__(self, _logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """A processor: keep the event and pass it on as it is."""
        head = " ".join(str(event[key]) for key in _FIRST if key in event)
        rest = "".join(f" {key}={value}" for key, value in event.items() if key not in _FIRST)
        line = (head + rest).replace("\n", " ").replace("\r", " ")
        if len(line) > MAX_LINE:  # without the word that is cut: of a secret nobody would know its beginning
            line = line[:MAX_LINE].rpartition(" ")[0]
        self._lines.append(line)
        self.count += 1
        for tell in self._told:
            tell(line)
        return event

    def last(self, count: int) -> list[str]:
        """The latest lines, the oldest first."""
        return list(self._lines)[-count:] if count > 0 else []

    def listen(self, tell: Callable[[str], None]) -> Callable[[], None]:
        """Have each new line told, in whatever thread logs it, until what this gives is called."""
        self._told = [*self._told, tell]

        def stop() -> None:
            self._told = [each for each in self._told if each is not tell]

        return stop


RING: Final = Ring()
"""Of this process."""


def set_up() -> None:
    """Configure structlog for the process."""
    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(pad_event_to=0) if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            RING,
            structlog.processors.EventRenamer("message") if not sys.stderr.isatty() else _same,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _same(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event
