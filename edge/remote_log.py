"""`log-tail`: the latest lines of the agent's log, then live ones for a while, veiled.

Owns the limits: lines and seconds that may be asked for, parts a second, lines and characters of a part. What is too
much is left out and counted, so that a log that floods neither fills the link nor goes unnoticed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from edge.redact import veil
from edge.remote import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.log import Ring
    from edge.remote import Run, Tell
    from firmware_specs.wire_fleet import Command

LINES: Final = 100
MAX_LINES: Final = 500
FOLLOW_S: Final = 60
MAX_FOLLOW_S: Final = 600
EVERY_S: Final = 1.0
LIVE_LINES: Final = 50
"""Of a part; what came more within its second is counted."""
MAX_LIVE: Final = 512 * 1024
"""Characters of all live lines together."""


def number(command: Command, name: str, default: int, most: int) -> int:
    """An argument that is a whole number from 0 on. Raises CommandFailed."""
    text = command.arguments.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= most):
        raise CommandFailed(f"{name}: {text[:32]!r} is not a whole number from 0 to {most}")
    return int(text)


def log_tail(ring: Ring, secrets: Callable[[], frozenset[str]]) -> Run:
    """The kind. secrets: what is known to be secret now."""

    async def run(command: Command, tell: Tell) -> None:
        lines = number(command, "lines", LINES, MAX_LINES)
        follow_s = number(command, "follow_s", FOLLOW_S, MAX_FOLLOW_S)
        loop = asyncio.get_running_loop()
        until = loop.time() + follow_s
        known = secrets()
        live = _Live()
        stop = ring.listen(live.take)
        try:
            if kept := ring.last(lines):
                tell("\n".join(veil(line, known) for line in kept) + "\n")
            size = 0
            while (left := until - loop.time()) > 0:
                await asyncio.sleep(min(left, EVERY_S))
                text = "".join(veil(line, known) + "\n" for line in live.drain())
                size += len(text)
                if size > MAX_LIVE:
                    tell.reason = "stopped: the log says too much"
                    return
                if text:
                    tell(text)
        finally:
            stop()

    return run


class _Live:
    """What was logged since it was last drained."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._left_out = 0

    def take(self, line: str) -> None:
        if len(self._lines) < LIVE_LINES:
            self._lines.append(line)
        else:
            self._left_out += 1

    def drain(self) -> list[str]:
        lines, left_out = self._lines, self._left_out
        self._lines, self._left_out = [], 0
        return [*lines, f"… {left_out} lines left out"] if left_out else lines
