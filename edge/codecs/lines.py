"""Framing of serial lines: bytes in any chunks become frames, and what is not a frame is counted.

Owns where a frame begins and ends. The result depends on the bytes only, not on how they were cut into chunks.
Must not know what a frame means.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from firmware_specs.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from firmware_specs.readings import Sample

MAX_FRAME_BYTES: Final = 512
"""Longer than any sentence of the receivers known (NMEA 0183 itself says 82); bounds what garbage can hold back."""
MAX_SAMPLE_BYTES: Final = 256
_SENTENCE: Final = re.compile(rb"\$([^$*\r\n\x02\x03]{1,500})\*([0-9A-Fa-f]{2})")
_SOFT: Final = b" \t\x00"


class Heard(NamedTuple):
    """Samples of one frame; an empty list still says that the unit is there. address: as configured."""

    address: str
    samples: Sequence[Sample]


class Refused(NamedTuple):
    """A frame that could not be decoded. address: who spoke, as configured; empty when that is not known.

    stranger: the unit that spoke, when it is whole and nobody has configured it.
    """

    address: str
    frame: bytes
    error: FrameError
    stranger: str = ""


class LineCodec(Protocol):
    """What speaks on a serial line: bytes in any chunks give what was heard and what had to be refused."""

    def feed(self, chunk: bytes, now_ms: int) -> list[Heard | Refused]:
        """Take the next bytes; `now_ms` is the gateway's clock."""

    def settle(self, now_ms: int) -> list[Heard | Refused]:
        """What was held back to be judged together, once the line has been quiet; called a few times a second."""


class Frame(NamedTuple):
    """One complete frame. start: its first byte. body: what lies between the framing. raw: all of it."""

    start: int
    body: bytes
    raw: bytes


class Garbage(NamedTuple):
    """Bytes between frames, or a frame that is broken."""

    raw: bytes
    reason: str


class Scanner:
    """Cuts a stream into frames that begin with one of a few bytes, such as `$` or STX.

    frames: first byte to the pattern of a whole frame, whose first group is the body. A frame may not contain the
    first byte of another, CR or LF; so a cut frame never takes its successor with it.
    """

    def __init__(self, frames: Mapping[bytes, re.Pattern[bytes]]) -> None:
        self._frames = {start[0]: pattern for start, pattern in frames.items()}
        self._boundary = re.compile(b"[\r\n" + b"".join(re.escape(start) for start in frames) + b"]")
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Frame | Garbage]:
        """The frames that are now complete, in order, with the garbage between them."""
        data = self._rest + chunk
        position, size = 0, len(data)
        while position < size:
            first = data[position]
            if first in b"\r\n":
                position += 1
                continue
            pattern = self._frames.get(first)
            match = pattern.match(data, position) if pattern is not None else None
            if match is not None:
                yield Frame(first, match[1], match[0])
                position = match.end()
                continue
            boundary = self._boundary.search(data, position + 1, position + MAX_FRAME_BYTES)
            end = boundary.start() if boundary else position + MAX_FRAME_BYTES
            if end > size:
                break
            piece = data[position:end]
            if piece.strip(_SOFT):
                yield Garbage(piece[:MAX_SAMPLE_BYTES], "broken frame" if pattern else "not a frame")
            position = end
        self._rest = data[position:]


def sentence_scanner(**others: re.Pattern[bytes]) -> Scanner:
    """A scanner of `$…*hh` sentences and, if given, of frames that begin with STX (`stx=pattern`)."""
    frames = {b"$": _SENTENCE}
    if "stx" in others:
        frames[b"\x02"] = others["stx"]
    return Scanner(frames)


def sentence_fields(frame: Frame) -> list[str]:
    """The comma-separated fields of a `$…*hh` sentence.

    Raises FrameError when the check sum (XOR of what lies between `$` and `*`) differs or a character is not ASCII.
    """
    total = 0
    for byte in frame.body:
        total ^= byte
    stated = int(frame.raw[-2:], 16)
    if total != stated:
        raise FrameError("sentence", len(frame.raw) - 2, f"check sum is {total:02X}, the sentence says {stated:02X}")
    try:
        return frame.body.decode("ascii").split(",")
    except UnicodeDecodeError as e:
        raise FrameError("sentence", e.start + 1, "not ASCII") from e


def degrees(value: str, hemisphere: str, width: int, source: str) -> float:
    """Degrees from `ddmm.mmmm` (width 2, N or S) or `dddmm.mmmm` (width 3, E or W). Raises FrameError."""
    whole = value.partition(".")[0]
    signs = {"N": 1.0, "S": -1.0} if width == 2 else {"E": 1.0, "W": -1.0}
    if not (value.isascii() and value.replace(".", "", 1).isdigit()) or not width < len(whole) <= width + 2:
        raise FrameError(source, 0, f"{value!r} is not {'d' * width}mm.mmmm")
    if hemisphere not in signs:
        raise FrameError(source, 0, f"hemisphere {hemisphere!r} is not one of {', '.join(signs)}")
    minutes = float(value[len(whole) - 2 :])
    result = int(whole[:-2]) + minutes / 60
    if minutes >= 60 or result > (90 if width == 2 else 180):
        raise FrameError(source, 0, f"{value!r} is beyond the globe")
    return signs[hemisphere] * result
