"""What a carried device's readings give away of its wearer, and when they may exist. Pure; same code on edge and cloud.

Owns the words of promises P1 and P2:

- A reading is of a track when its metric is a position or what goes with one: speed and course.
- It counts at its own time. Where that is in doubt (the gateway's clock was unsynced, or the quality is uncertain) it
  counts at its time of receipt.
- It may exist when that time lies within a window, its beginning included and its end not.
- An SOS is a boolean metric `sos` or `emergency` that is true, or an alarm of the kinds `sos`, `emergency`, `duress`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_specs.readings import AlarmEvent, AlarmPhase, Clock, Position, Quality, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from firmware_specs.readings import Value

Window = tuple[int, int]
"""From and until, milliseconds UTC; until is not part of it."""

TRACK_METRICS: Final = frozenset({"position", "speed", "course"})
SOS_METRICS: Final = frozenset({"sos", "emergency"})
SOS_KINDS: Final = frozenset({"sos", "emergency", "duress"})


def is_track(metric: str, value: Value) -> bool:
    """Whether a value says where somebody is or moves to; a position under another name is one, as text too."""
    return (
        metric in TRACK_METRICS or isinstance(value, Position) or (isinstance(value, str) and value.startswith("geo:"))
    )


def counts_at(reading: Reading) -> int:
    """The time by which a reading is on a shift or not."""
    doubtful = reading.clock is Clock.UNSYNCED or reading.quality is Quality.UNCERTAIN
    return reading.received_at if doubtful else reading.observed_at


def within(windows: Iterable[Window], at_ms: int) -> bool:
    """Whether a time lies in one of the windows."""
    return any(begins <= at_ms < ends for begins, ends in windows)


def merged(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The same times as few windows, ascending; those without length left out."""
    found: list[Window] = []
    for begins, ends in sorted(windows):
        if found and begins <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ends))
        elif begins < ends:
            found.append((begins, ends))
    return tuple(found)


def lifted(before: Window | None, at_ms: int, lasts_ms: int) -> Window:
    """The override of a device after an SOS: it prolongs one that it falls into; of two apart the later holds."""
    ends = at_ms + lasts_ms
    if before is None or at_ms > before[1]:
        return at_ms, ends
    return before if ends < before[0] else (min(before[0], at_ms), max(before[1], ends))


def sos_at(item: Reading | AlarmEvent) -> int | None:
    """When an SOS was called by what a device said or was judged by, None when it is none."""
    if isinstance(item, Reading):
        return counts_at(item) if item.value is True and item.metric in SOS_METRICS else None
    if item.kind not in SOS_KINDS or item.phase is not AlarmPhase.RAISED or item.drill:
        return None
    return item.received_at if item.clock is Clock.UNSYNCED else item.observed_at
