"""Open the outbox whatever state the disk is in.

Owns the quarantine: a damaged file is renamed with the time and never looked at again, a new one begins with a new
epoch, and how much was lost is known from a small note beside it that is renewed every few seconds. The latest damaged
file is kept for whoever wants to know why. A corrupt file never stops the gateway.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec

from edge.outbox_file import CorruptError, OutboxFile
from firmware_specs.readings import GapReason, GapReport, Lane

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "outbox.db"
_NOTE: Final = "outbox.note"


class Note(msgspec.Struct):
    """What waited when the note was written. lanes: items, and received time of the oldest."""

    epoch: str
    lanes: dict[str, tuple[int, int]]


def write_note(folder: Path, file: OutboxFile, before: bytes = b"") -> bytes:
    """Renew the note, unless it would say the same as before; a disk that refuses leaves the old one. What it says."""
    note = Note(file.epoch, {lane.value: (t.waiting, t.oldest_ms) for lane, t in file.totals.items()})
    data = msgspec.json.encode(note)
    if data == before:
        return data
    draft = folder / (_NOTE + ".new")
    try:
        draft.write_bytes(data)
        draft.replace(folder / _NOTE)
    except OSError:
        return before
    return data


def open_outbox(
    folder: Path, *, vfs: str | None = None, max_bytes: int = 1 << 40
) -> tuple[OutboxFile, list[GapReport]]:
    """The outbox of a state folder, and what was lost when a damaged one had to be set aside. Raises StoreError."""
    path = folder / FILE
    try:
        return OutboxFile(path, vfs=vfs, max_bytes=max_bytes), []
    except CorruptError:
        gaps = quarantine(folder)
        return OutboxFile(path, vfs=vfs, max_bytes=max_bytes), gaps


def quarantine(folder: Path) -> list[GapReport]:
    """Set the file aside under the time; a report for each lane of which something waited."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    gaps: list[GapReport] = []
    with contextlib.suppress(OSError, msgspec.DecodeError):
        note = msgspec.json.decode((folder / _NOTE).read_bytes(), type=Note)
        now_ms = time.time_ns() // 1_000_000
        gaps = [
            GapReport(lane, note.epoch, note.lanes[lane][0], GapReason.QUARANTINED, note.lanes[lane][1], now_ms)
            for lane in Lane
            if note.lanes.get(lane, (0, 0))[0]
        ]
        if not gaps:
            gaps = [GapReport(Lane.TELEMETRY, note.epoch, 0, GapReason.QUARANTINED)]
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            (folder / (FILE + suffix)).rename(folder / f"outbox-{stamp}.corrupt{suffix}")
    drop_damaged(folder, keep=1)
    return gaps or [GapReport(Lane.TELEMETRY, "unknown", 0, GapReason.QUARANTINED)]


def drop_damaged(folder: Path, keep: int) -> None:
    """Delete the damaged files but the latest `keep`: each may be as large as the budget."""
    found = sorted(folder.glob("outbox-*.corrupt*"), reverse=True)
    stamps = list(dict.fromkeys(path.name.partition(".")[0] for path in found))[:keep]
    for path in found:
        if path.name.partition(".")[0] not in stamps:
            with contextlib.suppress(OSError):
                path.unlink()
