"""A serial line on which no device is configured: who speaks there, for whoever sets it up.

Owns the guess at an address: the unit that a radio's frame names, `*` for whole lines of text without one. Decodes
nothing; every frame is refused, since no device has it.
"""

from __future__ import annotations

from typing import Final

from edge.codecs.fleetsync import RadioLine
from edge.codecs.lines import MAX_FRAME_BYTES, Heard, Refused
from firmware_specs.errors import FrameError

_RADIO: Final = (b"$PK", b"\x02")


class Strangers:
    """See the module."""

    def __init__(self) -> None:
        self._radio = RadioLine({})
        self._rest = b""

    def feed(self, chunk: bytes, now_ms: int) -> list[Heard | Refused]:
        """Take the next bytes."""
        out = [item for item in self._radio.feed(chunk, now_ms) if isinstance(item, Refused) and item.stranger]
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._rest = self._rest[-MAX_FRAME_BYTES:]
        for raw in lines:
            line = raw.strip(b"\r\t \x00")
            if line and line.isascii() and len(line) <= MAX_FRAME_BYTES and not line.startswith(_RADIO):
                out.append(Refused("", line, FrameError("line", 0, "no device is configured on this line"), "*"))
        return [*out]

    def settle(self, now_ms: int) -> list[Heard | Refused]:
        """What the radios held back."""
        return [item for item in self._radio.settle(now_ms) if isinstance(item, Refused) and item.stranger]
