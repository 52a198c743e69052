"""A serial line with one device whose frames its profile describes: JSON, SenML or a fixed binary layout.

Owns the generic framings: a line of text, `$…*hh`, STX…ETX, and for a binary layout its own length, found again after
garbage by its header and check sum. Must not know what a frame means.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from edge.codecs.lines import MAX_SAMPLE_BYTES, Frame, Heard, Refused, Scanner, sentence_fields, sentence_scanner
from firmware_specs.errors import FrameError, ProfileError
from firmware_specs.layouts import BinaryCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge.codecs.lines import Garbage
    from firmware_specs.readings import Sample
    from firmware_specs.schema import Profile

_STX_ETX: Final = re.compile(rb"\x02([^\x02\x03\r\n]*)\x03")


class FramedLine:
    """One device, one frame after another."""

    def __init__(
        self,
        devices: Mapping[str, Profile],
        framing: str,
        max_frame_bytes: int,
        decoder: Callable[[Profile], Callable[[bytes, int], list[Sample]]],
    ) -> None:
        (self._address, profile), *more = devices.items()
        if more:
            raise ProfileError(profile.profile, "codec", "a line of frames without unit ids has room for one device")
        self._decode = decoder(profile)
        self._max = max_frame_bytes
        self._rest = b""
        self._overlong = False
        codec = profile.codec
        self._fixed = codec if isinstance(codec, BinaryCodec) and framing == "auto" else None
        self._skipped = b""
        self._scanner = {"nmea": sentence_scanner(), "stx-etx": Scanner({b"\x02": _STX_ETX})}.get(framing)

    def feed(self, chunk: bytes, now_ms: int) -> list[Heard | Refused]:
        """Take the next bytes."""
        if self._fixed is not None:
            return self._frames_of_length(self._fixed, chunk, now_ms)
        if self._scanner is None:
            return self._lines(chunk, now_ms)
        return [self._frame(piece, now_ms) for piece in self._scanner.feed(chunk)]

    def settle(self, now_ms: int) -> list[Heard | Refused]:  # noqa: ARG002 - frames are never held back
        """Nothing is held back."""
        return []

    def _lines(self, chunk: bytes, now_ms: int) -> list[Heard | Refused]:
        out: list[Heard | Refused] = []
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for raw in lines:
            line = raw.strip(b"\r\t \x00")
            if self._overlong:
                self._overlong = False
            elif len(raw) > self._max:
                out.append(self._too_long(raw))
            elif line:
                out.append(self._one(line, line, now_ms))
        if len(self._rest) > self._max:
            if not self._overlong:
                out.append(self._too_long(self._rest))
            self._overlong, self._rest = True, b""
        return out

    def _frames_of_length(self, codec: BinaryCodec, chunk: bytes, now_ms: int) -> list[Heard | Refused]:
        out: list[Heard | Refused] = []
        header = bytes.fromhex(codec.header)
        data, position = self._rest + chunk, 0
        while len(data) - position >= codec.length:
            frame = data[position : position + codec.length]
            heard = self._one(frame, frame, now_ms) if frame.startswith(header) else None
            good = isinstance(heard, Heard)
            if self._skipped and (good or len(self._skipped) >= MAX_SAMPLE_BYTES):
                error = FrameError("line", 0, f"{len(self._skipped)} bytes that are no frame")
                out.append(Refused(self._address, self._skipped, error))
                self._skipped = b""
            if heard is not None and good:
                out.append(heard)
                position += codec.length
            else:
                self._skipped += data[position : position + 1]
                position += 1
        self._rest = data[position:]
        return out

    def _too_long(self, raw: bytes) -> Refused:
        return Refused(
            self._address,
            raw[: min(self._max, MAX_SAMPLE_BYTES)],
            FrameError("line", self._max, f"no end within {self._max} bytes"),
        )

    def _frame(self, piece: Frame | Garbage, now_ms: int) -> Heard | Refused:
        if not isinstance(piece, Frame):
            return Refused(self._address, piece.raw, FrameError("line", 0, piece.reason))
        if piece.raw.startswith(b"$"):
            try:
                sentence_fields(piece)
            except FrameError as e:
                return Refused(self._address, piece.raw, e)
        return self._one(piece.body, piece.raw, now_ms)

    def _one(self, frame: bytes, raw: bytes, now_ms: int) -> Heard | Refused:
        try:
            return Heard(self._address, self._decode(frame, now_ms))
        except FrameError as e:
            return Refused(self._address, raw, e)
