"""The shared vocabulary: what a device said, when, how well it is known, and what alarm it means.

Owns the value types that every part exchanges. Times are integer milliseconds UTC since 1970.
Positions are WGS-84 degrees. Knows nothing of encodings, disks or networks.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from firmware_specs.errors import PatrolError

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
METRIC_PATTERN: Final = r"^[a-z][a-z0-9_]{0,31}$"
_NAME = re.compile(NAME_PATTERN)

DeviceId = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
"""Unique in its gateway. The characters are those that SenML (RFC 8428, 4.5.1) allows in a name, less `/`."""
GatewayId = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
MetricName = Annotated[str, msgspec.Meta(pattern=METRIC_PATTERN)]


class Quality(StrEnum):
    """How far a value may be trusted. A bad value is kept and marked, never dropped."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    """Usable with care: a radio's stale last fix, a value at the edge of its sensor's range."""
    BAD = "bad"
    """Outside its range, not finite, or reported as faulty by the device."""


class Clock(StrEnum):
    """Whose clock `observed_at` is."""

    DEVICE = "device"
    SYNCED = "synced"
    """The gateway's, while it was disciplined by a time source."""
    UNSYNCED = "unsynced"
    """The gateway's, without a time source: `monotonic_ms` and the boot id allow a later correction."""


class Severity(StrEnum):
    """How urgent an alarm is, most urgent first."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    WARNING = "warning"


class Lane(StrEnum):
    """The two lanes from gateway to cloud; each has its own sequence."""

    ALARMS = "alarms"
    """Alarm and presence events: committed at once, sent first, never thinned."""
    TELEMETRY = "telemetry"


class AlarmPhase(StrEnum):
    """What an alarm event tells of its occurrence."""

    RAISED = "raised"
    CLEARED = "cleared"


class GapReason(StrEnum):
    """Why sequence numbers of a lane will never arrive."""

    THINNED = "thinned"
    """The disk budget was reached: oldest telemetry kept at one reading a minute."""
    QUARANTINED = "quarantined"
    """The outbox file was corrupt and set aside; the count is the best lower bound known."""


class Unit(StrEnum):
    """Units by their SenML names (RFC 8428, 12.1; RFC 8798 for secondary units)."""

    NONE = ""
    CELSIUS = "Cel"
    RELATIVE_HUMIDITY = "%RH"
    BATTERY = "%EL"
    OBSCURATION = "%obs/m"
    """Smoke obscuration per metre; not registered, used by the smoke profiles."""
    METRE = "m"
    METRE_PER_SECOND = "m/s"
    DEGREE = "deg"
    VOLT = "V"
    AMPERE = "A"
    PASCAL = "Pa"
    PERCENT = "%"
    DECIBEL_MILLIWATT = "dBm"
    SECOND = "s"
    BYTE = "B"
    COUNT = "count"


class Position(msgspec.Struct, frozen=True, gc=False):
    """A point on WGS-84: degrees north, degrees east, and the accuracy radius in metres when known."""

    lat: float
    lon: float
    accuracy_m: float | None = None


Value = float | bool | str | Position
"""What a metric can be. Whole numbers are floats; a non-finite number is kept as "nan", "inf" or "-inf"."""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One decoded value before the gateway knows it: what a codec returns.

    observed_at: the device's clock, or None when the frame carries no time.
    unit: empty when the frame states none; the profile's unit then applies.
    """

    metric: str
    value: Value
    observed_at: int | None = None
    quality: Quality = Quality.GOOD
    unit: str = ""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One value of one metric of one device, ready to be kept.

    received_at: the gateway's wall clock when the frame came in.
    monotonic_ms: the gateway's monotonic clock at that moment, comparable within one boot only.
    """

    device: str
    metric: str
    value: Value
    unit: str
    observed_at: int
    received_at: int
    monotonic_ms: int = 0
    quality: Quality = Quality.GOOD
    clock: Clock = Clock.SYNCED


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """A reading that made a rule fire or clear."""

    metric: str
    value: Value
    observed_at: int


class AlarmEvent(msgspec.Struct, frozen=True):
    """An alarm that was raised or cleared at the gateway.

    occurrence: unique for this raise; the clear repeats it. A condition that comes back is a new occurrence.
    kind: `fire`, `door-forced`, `sos`, `device-silent`, … as the profile names it.
    rule: the profile and rule that judged, `generic-smoke-senml/smoke-high`.
    rule_version: the profile's version when it judged.
    observed_at: event time of the phase; received_at and monotonic_ms as in Reading.
    evidence: the readings that decided, oldest first, at most 8.
    """

    occurrence: str
    device: str
    kind: str
    severity: Severity
    phase: AlarmPhase
    rule: str
    rule_version: str
    observed_at: int
    received_at: int
    monotonic_ms: int = 0
    clock: Clock = Clock.SYNCED
    evidence: tuple[Evidence, ...] = ()
    drill: bool = False


class GapReport(msgspec.Struct, frozen=True):
    """Sequence numbers of a lane that will not arrive, and why.

    epoch: the outbox file that held them. count: how many readings; exact for thinning.
    from_ms, to_ms: the observed times between which they lay, 0 when unknown.
    """

    lane: Lane
    epoch: str
    count: int
    reason: GapReason
    from_ms: int = 0
    to_ms: int = 0


Item = Reading | AlarmEvent | GapReport
"""What a lane carries; each takes one sequence number."""


class NameRefused(PatrolError):  # noqa: N818 - reads as what happened
    """A name has characters that the wire cannot carry."""

    def __init__(self, what: str, name: str) -> None:
        self.what = what
        self.name = name
        super().__init__(f"{what} {name!r}: 1 to 64 letters, digits and . _ : -, beginning with a letter or digit")


def checked_name(what: str, name: str) -> str:
    """The name itself. Raises NameRefused, naming `what`, when it does not fit NAME_PATTERN."""
    if not _NAME.fullmatch(name):
        raise NameRefused(what, name)
    return name


__all__ = [
    "METRIC_PATTERN", "NAME_PATTERN", "AlarmEvent", "AlarmPhase", "Clock", "DeviceId", "Evidence", "GapReason",
    "GapReport", "GatewayId", "Item", "Lane", "MetricName", "NameRefused", "Position", "Quality", "Reading",
    "Sample", "Severity", "Unit", "Value", "checked_name",
]  # fmt: skip
