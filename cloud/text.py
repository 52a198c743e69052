"""What came from outside, made fit for a column: bounded text without NUL, times within 64 bits."""

from __future__ import annotations

from typing import Final

_FAR_MS: Final = 2**62


def clean(text: str, most: int) -> str:
    """Text of at most `most` characters without NUL and lone surrogates, which PostgreSQL refuses."""
    if text.isascii() and len(text) <= most and "\x00" not in text:
        return text
    return text[:most].replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def clean_ms(ms: int) -> int:
    """A time that fits a 64-bit column, however far a clock has gone."""
    return ms if -_FAR_MS <= ms <= _FAR_MS else min(max(ms, -_FAR_MS), _FAR_MS)
