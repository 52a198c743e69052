"""Fewer and smaller chunks: merged and compressed when they stay, thinned when the disk budget is reached.

Owns what a thinned lane keeps: of each metric of each device the first reading in every so many minutes of its own
time, and the newest where the lane ends. Sequence numbers stay covered, so the cloud sees how many are missing. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge.outbox_file import Chunk, CorruptError
from firmware_specs import zstd
from firmware_specs.errors import PackError
from firmware_specs.readings import Lane, Reading
from firmware_specs.wire import decode_pack, encode_item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_specs.readings import Item

_MAX_BODY: Final = 1 << 28
LEVELS_MS: Final = (60_000, 600_000, 3_600_000, 86_400_000)
"""One reading a minute first; when all is thinned and the budget still spent, ever fewer."""
_MERGED_ITEMS: Final = 5000


def plain_body(chunk: Chunk) -> bytes:
    """The records of a chunk, joined by commas. Raises CorruptError."""
    if not chunk.body.startswith(zstd.MAGIC):
        return chunk.body
    try:
        return zstd.decompress(chunk.body, _MAX_BODY)
    except ValueError as e:
        raise CorruptError("outbox", f"file is corrupt: {e}") from e


def merge(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The same readings in chunks of up to 5,000, compressed. Consecutive chunks in, consecutive chunks out."""
    merged: list[Chunk] = []
    group: list[Chunk] = []
    for chunk in chunks:
        full = sum(c.items for c in group) + chunk.items > _MERGED_ITEMS
        holes = chunk.items != chunk.span or (bool(group) and group[-1].items != group[-1].span)
        if group and (full or holes or chunk.boot != group[0].boot):
            merged.append(_joined(group))
            group = []
        group.append(chunk)
    if group:
        merged.append(_joined(group))
    return merged


def _joined(group: Sequence[Chunk]) -> Chunk:
    first = group[0]
    if len(group) == 1 and first.body.startswith(zstd.MAGIC):
        return first
    body = zstd.compress(b",".join([plain_body(chunk) for chunk in group]), level=3)
    marks = b"".join([chunk.marks for chunk in group])
    span = sum(chunk.span for chunk in group)
    return Chunk(first.first, span, sum(chunk.items for chunk in group), first.boot, first.at_ms, body, marks)


def _items(chunk: Chunk) -> tuple[tuple[int, Item], ...] | None:
    """What a chunk holds, or None when its records cannot be read: the cloud has the last word on those."""
    properties = [
        ("epoch", "0"), ("first", str(chunk.first)), ("count", str(chunk.span)), ("base", "1"), ("boot", chunk.boot),
    ]  # fmt: skip
    try:
        return decode_pack(Lane.TELEMETRY, properties, b"[" + plain_body(chunk) + b"]").items
    except PackError:
        return None


def _latest(items: Sequence[tuple[int, Item]]) -> frozenset[int]:
    """The sequence numbers of the last reading of each device and metric."""
    last = {(item.device, item.metric): sequence for sequence, item in items if isinstance(item, Reading)}
    return frozenset(last.values())


def thin(
    chunks: Sequence[Chunk], every_ms: int, kept: dict[tuple[str, str], int], *, newest: bool = False
) -> tuple[list[Chunk], int, int]:
    """One chunk a boot that covers the same numbers with fewer readings; and the times the dropped ones lay between.

    kept: the last period kept by device and metric, carried from call to call. newest: nothing follows these chunks,
    so the last reading of each device and metric is how things stand now, and stays.
    """
    thinned: list[Chunk] = []
    from_ms = to_ms = 0
    group: list[Chunk] = []
    held: list[tuple[int, Item]] = []
    for chunk in (*chunks, None):
        items = None if chunk is None else _items(chunk)
        if group and (chunk is None or items is None or chunk.boot != group[0].boot):
            first, last = group[0], group[-1]
            span = last.first + last.span - first.first
            left: list[tuple[int, Item]] = []
            stays = _latest(held) if newest and chunk is None else frozenset()
            for sequence, item in held:
                if isinstance(item, Reading):
                    key, period = (item.device, item.metric), item.observed_at // every_ms
                    if kept.get(key) == period and sequence not in stays:
                        from_ms = min(from_ms or item.observed_at, item.observed_at)
                        to_ms = max(to_ms, item.observed_at)
                        continue
                    kept[key] = period
                left.append((sequence, item))
            whole = len(left) == span
            records = [encode_item(item, None if whole else sequence - first.first) for sequence, item in left]
            body = zstd.compress(b",".join(records), level=3)
            marks = b"".join([c.marks for c in group])
            thinned.append(Chunk(first.first, span, len(left), first.boot, first.at_ms, body, marks))
            group, held = [], []
        if chunk is not None and items is None:
            thinned.append(chunk)
        elif chunk is not None and items is not None:
            group.append(chunk)
            held += items
    return thinned, from_ms, to_ms
