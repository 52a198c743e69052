"""Pages, cursors and times: the parts that every view shares.

Owns the wire form of a list (`items`, `next_cursor`) and of a time (RFC 3339 with offset). A cursor is opaque to
callers: the sort key of the last row, encoded.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence  # noqa: TC003 - pydantic reads it
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from cloud.errors import Invalid
from cloud.text import clean

MAX_LIMIT: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_MS: Final = -62_135_596_800_000
_MAX_MS: Final = 253_402_300_799_999


class View(BaseModel):
    """A frozen answer of the API."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


T = TypeVar("T")


class Page(View, Generic[T]):
    """A part of a list. next_cursor: where the next part begins, None at the end."""

    items: Sequence[T]
    next_cursor: str | None = None


def at(ms: int) -> datetime:
    """Milliseconds UTC as a time; a clock beyond the years 1 to 9999 is shown as their edge."""
    return _EPOCH + timedelta(milliseconds=min(max(ms, _MIN_MS), _MAX_MS))


def at_or_none(ms: int | None) -> datetime | None:
    """The same, passing None through."""
    return None if ms is None else at(ms)


def span_of(from_ms: int, to_ms: int) -> str:
    """From one time to another, as records say it."""
    return f"{at(from_ms).isoformat()} - {at(to_ms).isoformat()}"


def to_ms(time: datetime) -> int:
    """A time with offset as milliseconds UTC. Raises Invalid when it has no offset."""
    if time.tzinfo is None:
        raise Invalid(f"time {time.isoformat()} has no offset")
    return (time - _EPOCH) // timedelta(milliseconds=1)


def encode_cursor(*key: str | int) -> str:
    """An opaque cursor that holds a sort key."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type[str | int]) -> tuple[str | int, ...]:
    """The sort key of a cursor. Raises Invalid when it is none of ours."""
    try:
        data = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = json.loads(data)
    except (binascii.Error, ValueError, RecursionError) as e:
        raise Invalid("cursor: not one that this API gave out") from e
    good = isinstance(key, list) and len(key) == len(kinds)
    if not good or any(type(part) is not kind for part, kind in zip(key, kinds, strict=True)):
        raise Invalid("cursor: not one that this API gave out")
    # What no key of ours holds, and a database refuses to be asked: beyond 64 bits, NUL, a lone surrogate.
    if any(abs(part) >= 2**63 if isinstance(part, int) else clean(part, len(part)) != part for part in key):
        raise Invalid("cursor: not one that this API gave out")
    return tuple(key)
