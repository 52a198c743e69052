"""What counts in a walk test, what becomes loud again, and what an acceptance sheet says. Pure.

Owns three decisions on which lives may hang:
- A device's alarms are held only while somebody has it in hand. Its hold ends `HOLD_MS` after its first test alarm, or
  with the walk, whichever is first. An alarm that still stands then is told as a new one is, and so is every later one.
- What comes faster than people walk (`STORM` first alarms within `STORM_MS`) is no test: the whole walk ends at once.
- Alarms of devices that are not in the walk are never held, nor is what was raised before it began: an alarm that
  stands when a walk is started stays loud, and one that comes late from before ends its device's hold.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from firmware_specs.fieldwork import BATTERY_METRICS, Proof, counts, proof_of, shows, statement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = [
    "BATTERY_METRICS",
    "CLOCKS_MS",
    "HOLD_MS",
    "JUDGED",
    "MAX_DEVICES",
    "MAX_MINUTES",
    "MIN_MINUTES",
    "SIGNAL_METRICS",
    "STORM",
    "STORM_MS",
    "Before",
    "Mark",
    "Proof",
    "Shown",
    "Step",
    "StepState",
    "Tally",
    "Value",
    "canonical",
    "counts",
    "first_of",
    "hold_ends",
    "is_early",
    "is_storm",
    "latency_ms",
    "proof_of",
    "proven",
    "statement",
    "tally",
    "worst_of",
]  # fmt: skip

HOLD_MS: Final = 180_000
"""From the first test alarm of a device to the end of its hold: a smoke chamber needs two minutes to air out."""
CLOCKS_MS: Final = 60_000
"""How far the clock of a device may be behind before its alarm counts as one from before the walk."""
STORM: Final = 5
STORM_MS: Final = 5_000
MIN_MINUTES: Final = 5
MAX_MINUTES: Final = 240
MAX_DEVICES: Final = 500
SIGNAL_METRICS: Final = ("rssi", "signal", "link_quality", "snr")


class Mark(StrEnum):
    """How a device stands in a walk test."""

    WAITING = "waiting"
    PASSED = "passed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    """Nobody could get to it."""


JUDGED: Final = frozenset({Mark.PASSED, Mark.FAILED, Mark.UNREACHABLE})


class Value(NamedTuple):
    """The latest value of a metric, as far as a test needs it. synced: whether the gateway's clock could be trusted."""

    value: object
    observed_at: int
    received_at: int
    good: bool = True
    synced: bool = True


class Before(NamedTuple):
    """A device when its walk began: its states, and when the gateway had received its values."""

    states: Mapping[str, object] = {}
    received: Mapping[str, int] = {}


class Shown(NamedTuple):
    """What proved a device: a metric, and its times."""

    metric: str
    observed_at: int
    received_at: int


def proven(proof: Proof, before: Before, latest: Mapping[str, Value], since_ms: int) -> Shown | None:
    """What of the latest values proves a device, without any alarm; None when nothing does.

    since_ms: when the gateway heard it counts, since a device's clock may lie; when the gateway's own may lie too, that
    it heard something else than before.
    """
    for name, each in sorted(latest.items()):
        fresh = each.received_at >= since_ms if each.synced else each.received_at != before.received.get(name)
        if fresh and each.good and shows(proof, name, each.value, before.states.get(name)):
            return Shown(name, each.observed_at, each.received_at)
    return None


def is_storm(first_alarms: Iterable[int]) -> bool:
    """Whether first alarms of a walk came faster than anybody walks. first_alarms: when each was raised."""
    times = sorted(first_alarms)
    return any(late - early <= STORM_MS for early, late in zip(times, times[STORM - 1 :], strict=False))


def is_early(raised_at: int, started_at: int) -> bool:
    """Whether an alarm is from before a walk, by more than clocks differ: no test, whatever comes of it."""
    return raised_at < started_at - CLOCKS_MS


def hold_ends(first_alarm_ms: int | None, walk_ends_ms: int) -> int:
    """When the hold of a device's alarms ends."""
    return walk_ends_ms if first_alarm_ms is None else min(walk_ends_ms, first_alarm_ms + HOLD_MS)


def latency_ms(observed_at: int, received_at: int, heard_at: int) -> int:
    """From the device to the cloud: by the device's clock when that is plausible, else from the gateway on."""
    begin = observed_at if 0 <= received_at - observed_at <= 3_600_000 else received_at
    return max(0, heard_at - begin)


def first_of(latest: Mapping[str, Value], names: Iterable[str]) -> float | None:
    """The first of some metrics that is there, as a number."""
    for name in names:
        if name in latest and isinstance(latest[name].value, float | int):
            return float(latest[name].value)  # type: ignore[arg-type] # a number, as was just asked
    return None


class Tally(NamedTuple):
    """A walk in numbers."""

    total: int
    passed: int
    failed: int
    unreachable: int
    waiting: int

    @property
    def complete(self) -> bool:
        """Whether every device passed, and there is one."""
        return 0 < self.total == self.passed


def tally(marks: Collection[Mark]) -> Tally:
    """Count the marks of a walk."""
    found = {mark: sum(each is mark for each in marks) for mark in Mark}
    return Tally(
        len(marks), found[Mark.PASSED], found[Mark.FAILED], found[Mark.UNREACHABLE], found[Mark.WAITING]
    )  # fmt: skip


# ---- how far an installation is


class Step(StrEnum):
    """A stage on the way from the box to a gateway in service, in order."""

    CLAIMED = "claimed"
    ENROLLED = "enrolled"
    ONLINE = "online"
    CHECKED = "checked"
    CONFIGURED = "configured"
    HEARD = "heard"
    WALKED = "walked"
    ACCEPTED = "accepted"


class StepState(StrEnum):
    """How a stage stands."""

    DONE = "done"
    UNDERWAY = "underway"
    WARN = "warn"
    FAILED = "failed"
    OPEN = "open"


def worst_of(states: Collection[str]) -> StepState:
    """How findings of `patrol-edge check` (`ok`, `warn`, `fail`) stand together."""
    if "fail" in states:
        return StepState.FAILED
    if "warn" in states:
        return StepState.WARN
    return StepState.DONE if states else StepState.OPEN


# ---- the acceptance sheet


def canonical(data: Mapping[str, Any]) -> bytes:
    """A sheet as bytes that are the same for ever: JSON, sorted keys, no spaces, UTF-8."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
