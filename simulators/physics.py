"""How the things that sensors measure behave when nothing happens: pure functions of the time and a seed.

Owns the models; which one a metric gets follows from its type, unit and limits in the profile. The same seed gives
the same day. Knows nothing of scripts, encodings or sockets.
"""

from __future__ import annotations

import itertools
import math
import random
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.readings import Position, Unit, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_specs.schema import MetricSpec

METRES_PER_DEGREE: Final = 111_320.0
_DAY_S: Final = 86400.0
_WARMEST_S: Final = 15 * 3600.0
_WALK_M_S: Final = 1.3
_DOOR_OPEN_S: Final = 90.0


class Moment(NamedTuple):
    """A moment of a simulation. day_s: seconds since the midnight of its first day, sped up.

    real_s: seconds of real time since it began; people walk by it, or a fast day would make them fly.
    """

    day_s: float
    real_s: float


def metres(a: Position, b: Position) -> float:
    """The distance of two near places."""
    north = (b.lat - a.lat) * METRES_PER_DEGREE
    east = (b.lon - a.lon) * METRES_PER_DEGREE * math.cos(math.radians(a.lat))
    return math.hypot(north, east)


def bearing(a: Position, b: Position) -> float:
    """The course from a to b, degrees clockwise from north."""
    north = b.lat - a.lat
    east = (b.lon - a.lon) * math.cos(math.radians(a.lat))
    return math.degrees(math.atan2(east, north)) % 360


def between(a: Position, b: Position, share: float) -> Position:
    """The place at a share (0 to 1) of the way from a to b, with the accuracy of a."""
    return Position(a.lat + (b.lat - a.lat) * share, a.lon + (b.lon - a.lon) * share, a.accuracy_m)


def curve(points: Sequence[tuple[float, float]], x: float) -> float:
    """Straight lines between ascending points; 0 outside of them."""
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 <= x <= x1:
            return y1 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return 0.0


class Walk(NamedTuple):
    """Walking round and round a loop of places; stands still when there is only one."""

    loop: tuple[Position, ...]
    offset_m: float
    speed_m_s: float = _WALK_M_S

    def at(self, real_s: float) -> tuple[Position, float, float]:
        """Where, how fast in m/s, and on which course."""
        if len(self.loop) < 2:
            return self.loop[0], 0.0, 0.0
        legs = list(zip(self.loop, (*self.loop[1:], self.loop[0]), strict=True))
        lengths = [metres(a, b) for a, b in legs]
        left = (self.offset_m + real_s * self.speed_m_s) % max(sum(lengths), 1e-6)
        for (a, b), length in zip(legs, lengths, strict=True):
            if left <= length:
                return between(a, b, left / max(length, 1e-6)), self.speed_m_s, bearing(a, b)
            left -= length
        return self.loop[0], self.speed_m_s, 0.0


def door_open(seed: int, day_s: float) -> int:
    """The number of the door's opening that lasts at this time, 0 while it is shut. By day it opens more often."""
    hour = int(day_s // 3600)
    rng = random.Random(f"{seed}/{hour}")
    count = 3 if 7 <= hour % 24 < 22 else 1
    for index in range(count):
        begin = hour * 3600 + rng.uniform(0, 3600 - _DOOR_OPEN_S)
        if begin <= day_s < begin + _DOOR_OPEN_S:
            return hour * 8 + index + 1
    return 0


def _wobble(seed: int, size: float, period_s: float) -> Callable[[float], float]:
    """Smooth noise of a time: two sines of the seed's own periods and phases."""
    rng = random.Random(seed)
    waves = [(2 * math.pi / (period_s * rng.uniform(0.6, 1.7)), 2 * math.pi * rng.random()) for _ in range(2)]
    return lambda at_s: size / 2 * sum(math.sin(at_s * rate + phase) for rate, phase in waves)


def _temperature(seed: int) -> Callable[[Moment], float]:
    mean = 22 + random.Random(seed).uniform(-2, 2)
    noise = _wobble(seed, 0.3, 40)

    def at(moment: Moment) -> float:
        day = 3.5 * math.cos(2 * math.pi * (moment.day_s - _WARMEST_S) / _DAY_S)
        return mean + day + noise(moment.real_s)

    return at


def _number(spec: MetricSpec, seed: int) -> Callable[[Moment], float]:
    if spec.unit is Unit.CELSIUS:
        return _temperature(seed)
    if spec.unit is Unit.RELATIVE_HUMIDITY:
        warmth = _temperature(seed)
        return lambda moment: 45 - 2.2 * (warmth(moment) - 22)
    if spec.unit is Unit.BATTERY:
        full = random.Random(seed).uniform(62, 99)
        return lambda moment: max(5.0, full - moment.day_s / _DAY_S * 0.5)
    if spec.unit is Unit.OBSCURATION:
        haze = _wobble(seed, 0.05, 30)
        return lambda moment: 0.06 + abs(haze(moment.real_s))
    if spec.unit is Unit.COUNT or spec.unit is Unit.NONE:
        sky = _wobble(seed, 3, 60)
        return lambda moment: float(round(9 + sky(moment.real_s)))
    low = spec.minimum if spec.minimum is not None else 0.0
    high = spec.maximum if spec.maximum is not None else low + 100.0
    noise = _wobble(seed, (high - low) / 20, 60)
    return lambda moment: (low + high) / 2 + noise(moment.real_s)


def model(name: str, spec: MetricSpec, walk: Walk, seed: int) -> Callable[[Moment], Value]:
    """How a metric behaves on an ordinary day, within the limits that its profile states."""
    if spec.type == "position":
        return lambda moment: walk.at(moment.real_s)[0]
    if spec.type == "bool":
        return (lambda moment: door_open(seed, moment.day_s) > 0) if name == "open" else (lambda _: False)
    if spec.type == "text":
        return lambda _: ""
    if spec.unit is Unit.METRE_PER_SECOND:
        return lambda moment: walk.at(moment.real_s)[1]
    if spec.unit is Unit.DEGREE:
        return lambda moment: walk.at(moment.real_s)[2]
    number = _number(spec, seed)
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    return lambda moment: min(high, max(low, number(moment)))
