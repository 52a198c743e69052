"""How incidents are judged. Pure.

Owns the rules:

- An alarm's kind decides its category, unless a plan of the place claims the kind.
- The clocks run from the event's time: the alarm's, when its clock can be right, and never later than its arrival.
- A fix is inside the scene when it says so beyond its own accuracy's doubt: accuracy within the radius and distance
  within the radius. It is outside when even its accuracy does not reach. In between it says nothing.
- A responder has arrived at the first fix of a stay that lasted 15 s by event time, or at a check-in at once. The order
  in which fixes come changes nothing.
- The first arrival stops `on_scene`, the n-th `reinforcement`. A stop moves back when earlier evidence comes late, and
  never forward; what was breached stays breached.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from cloud.alerts.rules import WRONG_CLOCK_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DWELL_MS: Final = 15_000
ACKNOWLEDGE_S: Final = 300
"""An alarm of a kind that opens incidents is acknowledged late after this."""
REOPEN_MS: Final = 3_600_000
ROAD: Final = 1.3
"""Travel distance is the great circle's times this: what streets add in a built-up area."""
NEAR_M: Final = 500.0
"""A fix outside the scene but this near may end a stay; what is farther cannot lie between two fixes inside."""
EARTH_M: Final = 6_371_008.8


class Category(StrEnum):
    """What an incident is; each has a response plan."""

    FIRE = "fire"
    VIOLENCE = "violence"
    CROWD = "crowd"
    MEDICAL = "medical"
    FACILITY = "facility"


class ClockName(StrEnum):
    """The three response clocks."""

    ON_SCENE = "on_scene"
    REINFORCEMENT = "reinforcement"
    AREA = "area"


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ON_SCENE = "on_scene"
    CLOSED = "closed"


class How(StrEnum):
    """What stopped a clock."""

    EVIDENCE = "evidence"
    HAND = "hand"
    CLOSED = "closed"
    """The incident was closed while the clock ran."""


CATEGORIES: Final[dict[str, Category]] = {
    "fire": Category.FIRE, "smoke": Category.FIRE, "heat": Category.FIRE,
    "sos": Category.VIOLENCE, "duress": Category.VIOLENCE, "emergency": Category.VIOLENCE,
    "door-forced": Category.VIOLENCE, "intrusion": Category.VIOLENCE,
    "crowding": Category.CROWD, "fall": Category.MEDICAL, "medical": Category.MEDICAL,
    "gas": Category.FACILITY, "water-leak": Category.FACILITY, "lift-trapped": Category.FACILITY,
    "power-lost": Category.FACILITY,
}  # fmt: skip
"""Kinds of alarms that open an incident, and of which category."""
SOS_KINDS: Final = frozenset({"sos", "duress", "emergency"})


def event_time(raised_at: int, received_at: int) -> int:
    """From when the clocks run: the alarm's time; its arrival when the clock cannot be right or runs ahead."""
    believed = raised_at if abs(received_at - raised_at) <= WRONG_CLOCK_MS else received_at
    return min(believed, received_at)


def place_key(building: str | None, node: str, location: str, source: str) -> str:
    """What alarms of one place share: the building's path; where none is known, node and location, or the device."""
    return building or f"{node}|{location or source}"


def open_key(place: str, category: str, drill: int | None) -> str:
    """What is unique among open incidents: a place and category has one, and drills are apart."""
    return f"{'' if drill is None else f'drill:{drill}|'}{category}|{place}"


def distance_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The great circle between two points (latitude, longitude), by the haversine formula."""
    lat_a, lat_b = math.radians(a[0]), math.radians(b[0])
    half = (math.sin((lat_b - lat_a) / 2), math.sin(math.radians(b[1] - a[1]) / 2))
    chord = half[0] ** 2 + math.cos(lat_a) * math.cos(lat_b) * half[1] ** 2
    return 2 * EARTH_M * math.asin(min(1.0, math.sqrt(chord)))


def travel_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """How far it is to go: the great circle times 1.3."""
    return distance_m(a, b) * ROAD


def inside(distance: float, accuracy_m: float, radius_m: float) -> bool | None:
    """Whether a fix is inside the scene; None when it cannot say."""
    if distance <= radius_m and accuracy_m <= radius_m:
        return True
    return False if distance - accuracy_m > radius_m else None


class Sight(NamedTuple):
    """What a responder's evidence said at a time: inside or not. sure: a check-in, which needs no dwell."""

    at_ms: int
    inside: bool
    sure: bool = False


class Stay(NamedTuple):
    """What the sights of one responder amount to. since: of the present stay, while it has not lasted the dwell."""

    arrived_at: int | None
    since: int | None


def stay(sights: Iterable[Sight]) -> Stay:
    """When a responder arrived, in whatever order the sights came."""
    since: int | None = None
    for sight in sorted(sights):
        if not sight.inside:
            since = None
            continue
        if sight.sure:
            return Stay(sight.at_ms if since is None else since, None)
        if since is None:
            since = sight.at_ms
        if sight.at_ms - since >= DWELL_MS:
            return Stay(since, None)
    return Stay(None, since)


def earlier(stopped_at: int | None, evidence_at: int | None) -> bool:
    """Whether evidence moves a stop: it is the first, or lies before what stopped the clock."""
    return evidence_at is not None and (stopped_at is None or evidence_at < stopped_at)


def step_up(lines: Sequence[str], step: int) -> str:
    """The node that the n-th escalation goes to. lines: the nodes from the root down to the incident's own."""
    return lines[max(0, len(lines) - 1 - step)]


def scaled_ms(seconds: int, escalation_percent: int) -> int:
    """How long until somebody is told, by what the response level demands; a second at the least."""
    return max(1000, seconds * escalation_percent * 10)
