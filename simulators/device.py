"""Any profile as a device: what it would say now, given how its surroundings behave and what the script does to it.

Owns when a device reports (its interval, and at once when a state changes) and what. Times are passed in; the same
seed and the same script give the same day. Bytes are made elsewhere: by `firmware_specs.codec` or by a peer.
"""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING, Final

from firmware_specs import codec
from firmware_specs.readings import Position, Sample, Value
from simulators import physics
from simulators.script import DAY_S, Curve, Hold, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from firmware_specs.schema import Profile
    from simulators.physics import Moment

FAST_PERIOD_S: Final = 1.0
"""Between reports while something happens to a device; real detectors hurry too."""
SHOWN_PERIOD_S: Final = 5.0
"""A sped-up day makes a device report more often, but not more often than this."""
_FAST_ROUND_M_S: Final = 1.4


def minutes_since(at_s: float, day_s: float) -> float | None:
    """Minutes since the last time that it was `at_s` of the day; None before the first."""
    return None if day_s < at_s else (day_s - at_s) % DAY_S / 60


def _occurrences(at_s: float, from_day_s: float, to_day_s: float) -> int:
    """How often it became `at_s` of the day after `from_day_s`, up to `to_day_s`."""
    return int((to_day_s - at_s) // DAY_S) - int((from_day_s - at_s) // DAY_S)


class RoundPath:
    """The way of a patrol round: from place to place at an even pace."""

    def __init__(self, places: Sequence[Position], minutes: float) -> None:
        self.places = tuple(places)
        self.minutes = minutes
        lengths = [max(physics.metres(a, b), 1.0) for a, b in itertools.pairwise(self.places)]
        total = sum(lengths)
        self.arrivals = [minutes * sum(lengths[:n]) / total for n in range(len(self.places))]
        """Minutes after the start at which each place is reached."""

    def at(self, minutes: float) -> Position:
        """Where the walker is."""
        for index in range(1, len(self.places)):
            begin, end = self.arrivals[index - 1], self.arrivals[index]
            if minutes <= end:
                return physics.between(self.places[index - 1], self.places[index], (minutes - begin) / (end - begin))
        return self.places[-1]


class Outing(RoundPath):
    """The way to a place, the stay there, and the way back."""

    def __init__(self, home: Position, there: Position, way_min: float, minutes: float) -> None:
        super().__init__((home, there, there, home), minutes)
        self.arrivals = [0.0, way_min, minutes - way_min, minutes]


class Device:
    """One simulated device of a profile."""

    def __init__(
        self, name: str, profile: Profile, address: str, *, seed: int = 0, loop: Sequence[Position] = (),
        speed: float = 1.0, stagger: bool = True,
    ) -> None:  # fmt: skip
        """name: its id. loop: where it stands, or the places it walks between. speed: of the day.

        stagger: begin at a moment of its own within the first seconds, so that many devices do not speak at once.
        """
        self.name = name
        self.profile = profile
        self.address = address
        self.seed = zlib.crc32(f"{seed}/{name}".encode())
        self.period_s = min(profile.interval_s, max(profile.interval_s / speed, SHOWN_PERIOD_S))
        places = tuple(loop) or (Position(34.26, 108.95, 5.0),)
        self._walk = physics.Walk(places, offset_m=self.seed % 400)
        self._models = {
            metric: physics.model(metric, spec, self._walk, self.seed) for metric, spec in profile.metrics.items()
        }
        self._curves: list[tuple[float, Curve]] = []
        self._holds: list[tuple[float, Hold]] = []
        self._silences: list[tuple[float, Silent]] = []
        self._rounds: list[tuple[float, RoundPath]] = []
        self._presses: dict[str, tuple[Value, float]] = {}
        """By metric: what it says while its button is pressed, and for how many seconds yet to be counted."""
        self._until_s: dict[str, float] = {}
        self._last_states: dict[str, Value] = {}
        self._last_day_s: float | None = None
        self._next_s = (self.seed % 1000) / 1000 * min(self.period_s, SHOWN_PERIOD_S) if stagger else 0.0

    def apply(self, at_s: float, effect: Curve | Hold | Silent) -> None:
        """Let the script do something to it every day from `at_s` on. Raises ValueError for an unknown metric."""
        if isinstance(effect, Silent):
            self._silences.append((at_s, effect))
            return
        if effect.metric not in self.profile.metrics:
            raise ValueError(f"device {self.name!r} ({self.profile.profile}) has no metric {effect.metric!r}")
        if isinstance(effect, Curve):
            self._curves.append((at_s, effect))
        else:
            self._holds.append((at_s, effect))

    def press(self, metric: str, value: Value, for_s: float) -> None:
        """Have a metric say something for some real seconds from its next look on; a text is said once."""
        self._presses[metric] = (value, for_s)
        self._until_s.pop(metric, None)

    def send_round(self, at_s: float, path: RoundPath) -> None:
        """Walk a round every day from `at_s` on."""
        self._rounds.append((at_s, path))

    def go_with(self, other: Device) -> None:
        """Be wherever another device is from now on: one person carries both."""
        self._walk, self._rounds = other._walk, other._rounds
        for metric, spec in self.profile.metrics.items():
            self._models[metric] = physics.model(metric, spec, self._walk, self.seed)

    @property
    def home(self) -> Position:
        """Where it stands between its rounds."""
        return self._rounds[0][1].places[0] if self._rounds else self._walk.loop[0]

    def due(self, moment: Moment) -> list[Sample]:
        """What it says now: nothing, a regular report, or one that a changed state or an event calls for."""
        if self._is_silent(moment.day_s):
            self._last_day_s = moment.day_s
            return []
        texts = self._texts(moment)
        states = {m: self.value(m, moment) for m, spec in self.profile.metrics.items() if spec.type == "bool"}
        changed = states != self._last_states and bool(self._last_states)
        self._last_states, self._last_day_s = states, moment.day_s
        if not (changed or texts or moment.real_s >= self._next_s):
            return []
        self._next_s = moment.real_s + (FAST_PERIOD_S if self._is_busy(moment.day_s) else self.period_s)
        return [*self.report(moment), *texts]

    def report(self, moment: Moment) -> list[Sample]:
        """Every metric but texts, which are events and have no lasting value."""
        return [
            self._sample(metric, self.value(metric, moment))
            for metric, spec in self.profile.metrics.items()
            if spec.type != "text"
        ]

    def value(self, metric: str, moment: Moment) -> Value:
        """What a metric is now."""
        spec = self.profile.metrics[metric]
        value: Value = self._models[metric](moment)
        if isinstance(value, Position):
            return self._placed(moment.day_s, value)
        if metric in self._presses:
            said, for_s = self._presses[metric]
            if moment.real_s < self._until_s.setdefault(metric, moment.real_s + for_s):
                return said
            del self._presses[metric], self._until_s[metric]
        for at_s, hold in self._holds:
            minutes = minutes_since(at_s, moment.day_s)
            if hold.metric == metric and minutes is not None and hold.from_min <= minutes < hold.until_min:
                value = hold.value
        if isinstance(value, float) and not isinstance(value, bool):
            for at_s, bump in self._curves:
                minutes = minutes_since(at_s, moment.day_s)
                if bump.metric == metric and minutes is not None:
                    value += physics.curve(bump.points, minutes)
            value = round(value, spec.precision + 1)
        return value

    def _placed(self, day_s: float, ordinary: Position) -> Position:
        for at_s, path in self._rounds:
            minutes = minutes_since(at_s, day_s)
            if minutes is not None and minutes <= path.minutes:
                return path.at(minutes)
        # Between rounds a patrol member stands at the post, or they would jump when the next one begins.
        return self._rounds[0][1].places[0] if self._rounds else ordinary

    def _texts(self, moment: Moment) -> list[Sample]:
        """The events since the last look: scripted ones, and a credential whenever a door was opened with one."""
        last = moment.day_s if self._last_day_s is None else self._last_day_s
        found = [
            self._sample(hold.metric, hold.value)
            for at_s, hold in self._holds
            if isinstance(hold.value, str) and _occurrences(at_s + hold.from_min * 60, last, moment.day_s)
        ]
        for metric, (said, _) in list(self._presses.items()):
            if isinstance(said, str):
                found.append(self._sample(metric, said))
                del self._presses[metric]
        if "credential" not in self.profile.metrics:
            return found
        opened = physics.door_open(self.seed, moment.day_s)
        if opened and opened != physics.door_open(self.seed, last):
            found.append(self._sample("credential", f"p-{zlib.crc32(f'{self.seed}/{opened}'.encode()):08x}"))
        return found

    def _sample(self, metric: str, value: Value) -> Sample:
        return Sample(metric, value, unit=self.profile.metrics[metric].unit.value)

    def _is_silent(self, day_s: float) -> bool:
        return _lasting(((at_s, s.from_min, s.until_min) for at_s, s in self._silences), day_s)

    def _is_busy(self, day_s: float) -> bool:
        curves = ((at_s, 0.0, c.until_min) for at_s, c in self._curves)
        rounds = ((at_s, 0.0, r.minutes) for at_s, r in self._rounds)
        return _lasting(curves, day_s) or _lasting(rounds, day_s)


def _lasting(spans: Iterable[tuple[float, float, float]], day_s: float) -> bool:
    for at_s, begin, end in spans:
        minutes = minutes_since(at_s, day_s)
        if minutes is not None and begin <= minutes < end:
            return True
    return False


def encoder(profile: Profile) -> Callable[[str, Sequence[Sample], int], bytes]:
    """How a device of this profile, by its name, writes samples at a time, for the codecs that are data.

    Raises ProfileError for codecs that are not; peers have their own encoders for those.
    """
    return lambda name, samples, at_ms: codec.encode(profile, samples, at_ms, f"{name}/")
