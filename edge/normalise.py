"""What a device said, made fit to keep: unit, time and clock quality, range, repeats, deadband.

Owns these rules; pure, the moment of receipt is handed in.

- A bad value is kept and marked, never dropped: outside its range, not finite, or called bad by its codec.
- A device's time is kept as it is when it can be one (1980 to 2100); the value is `uncertain` when it is far from
  the gateway's clock and that is disciplined. No time, or none that can be, gives the time of receipt.
- Two values of a metric never share a time, for the store would keep one: the later is moved on by a millisecond.
- A repeat (same metric, device time and value as one of the last 16) is dropped and counted.
- Within a deadband a number is kept once a heartbeat; alarm rules see every value before that.
"""

from __future__ import annotations

from collections import deque
from sys import float_info
from typing import TYPE_CHECKING, Final

from firmware_specs.carried import TRACK_METRICS
from firmware_specs.readings import Clock, Lane, Quality, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge.clock import Moment
    from firmware_specs.readings import Sample, Value
    from firmware_specs.schema import MetricSpec, Profile

EARLIEST_MS: Final = 315_964_800_000
"""1980-01-06, when GPS time begins; a clock before it was never set."""
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01."""
AHEAD_MS: Final = 10 * 60_000
BEHIND_MS: Final = 7 * 86_400_000
_STEP_MS: Final = 2_000
"""A gateway clock that goes back by less is not followed, so that order holds; one that goes back more was set."""
_REMEMBERED: Final = 16
REPEAT: Final = -1
_NOT_FINITE: Final = frozenset({"nan", "inf", "-inf"})


class Track:
    """What is known of one metric of one device."""

    __slots__ = (
        "deadband", "device", "heartbeat_ms", "is_number", "kept_at", "kept_value", "maximum", "metric", "minimum",
        "newest", "plain", "seen", "stored", "track", "unit", "urgent",
    )  # fmt: skip

    def __init__(self, device: str, metric: str, spec: MetricSpec) -> None:
        self.device = device
        self.metric = metric
        self.unit = spec.unit.value
        self.minimum = -float_info.max if spec.minimum is None else spec.minimum
        self.maximum = float_info.max if spec.maximum is None else spec.maximum
        self.is_number = spec.type == "number"
        self.deadband = spec.deadband
        self.plain = spec.deadband is None
        self.heartbeat_ms = round(spec.heartbeat_s * 1000)
        self.track = spec.type == "position" or metric in TRACK_METRICS
        """Whether it says where its wearer is, when somebody wears it."""
        self.urgent = spec.lane is Lane.ALARMS
        self.newest = 0
        """The newest device time seen."""
        self.stored = 0
        """The newest time given to a reading."""
        self.seen: deque[tuple[int, Value]] = deque(maxlen=_REMEMBERED)
        self.kept_value: Value | None = None
        self.kept_at = 0

    def is_bad(self, value: Value) -> bool:
        """Whether a number is outside its range or none."""
        if type(value) is float or type(value) is int:
            return not self.minimum <= value <= self.maximum
        return value in _NOT_FINITE

    def gateway_time(self, wall: int) -> int:
        """A time of receipt that no other value of this metric has."""
        at = self.stored + 1 if wall <= self.stored < wall + _STEP_MS else wall
        self.stored = at
        return at

    def device_time(self, at: int, value: Value) -> int:
        """The device's time, moved on when another value has it; REPEAT when this one has."""
        if at <= self.newest:
            if (at, value) in self.seen:
                return REPEAT
            others = sum(known == at for known, _ in self.seen)
            self.seen.append((at, value))
            if at < self.newest:
                return at + others
            at = self.stored + 1 if at <= self.stored < at + _STEP_MS else at
        else:
            self.seen.append((at, value))
            self.newest = at
            if at <= self.stored < at + _STEP_MS:
                at = self.stored + 1
        self.stored = at
        return at

    def keeps(self, reading: Reading) -> bool:
        """Whether the deadband lets this one through; called once a reading."""
        value, kept = reading.value, self.kept_value
        if (
            self.deadband is None
            or type(value) is not float
            or type(kept) is not float
            or reading.quality is Quality.BAD
            or abs(value - kept) >= self.deadband
            or not 0 <= reading.monotonic_ms - self.kept_at < self.heartbeat_ms
        ):
            self.kept_value = value
            self.kept_at = reading.monotonic_ms
            return True
        return False


class DeviceTracks:
    """The tracks of one device."""

    def __init__(self, device: str, profile: Profile) -> None:
        self.device = device
        self.profile = profile
        self.tracks = {metric: Track(device, metric, spec) for metric, spec in profile.metrics.items()}
        self.repeats = 0
        """Values that were dropped as repeats."""

    def keep_within(self, longest_ms: int | None) -> None:
        """Let no two kept readings of a metric lie further apart; None, or more than the profile says, for its own."""
        for metric, track in self.tracks.items():
            own_ms = round(self.profile.metrics[metric].heartbeat_s * 1000)
            track.heartbeat_ms = own_ms if longest_ms is None else min(own_ms, longest_ms)

    def remember(self, metric: str, seen: Iterable[tuple[int, Value]]) -> None:
        """Take up what a metric had seen before a restart."""
        track = self.tracks.get(metric)
        if track:
            track.seen.extend(seen)
            track.newest = track.stored = max((at for at, _ in track.seen), default=0)


def normalise(device: DeviceTracks, samples: Sequence[Sample], moment: Moment) -> list[tuple[Reading, Track]]:
    """The readings of one frame, repeats dropped, with the track that says whether to keep each."""
    wall, monotonic, clock = moment
    tracks = device.tracks
    readings: list[tuple[Reading, Track]] = []
    for sample in samples:
        track = tracks.get(sample.metric)
        if track is None:
            continue
        value, quality, at = sample.value, sample.quality, sample.observed_at
        if track.is_number and track.is_bad(value):
            quality = Quality.BAD
        whose = Clock.DEVICE
        if at is None or not EARLIEST_MS <= at < LATEST_MS:
            if at is not None and quality is Quality.GOOD:
                quality = Quality.UNCERTAIN
            at, whose = track.gateway_time(wall), clock
        else:
            if clock is Clock.SYNCED and quality is Quality.GOOD and not -AHEAD_MS <= wall - at <= BEHIND_MS:
                quality = Quality.UNCERTAIN
            at = track.device_time(at, value)
            if at == REPEAT:
                device.repeats += 1
                continue
        readings.append(
            (Reading(track.device, track.metric, value, track.unit, at, wall, monotonic, quality, whose), track)
        )
    return readings
