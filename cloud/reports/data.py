"""What a review holds once it is made: figures only, as they were, in a form that is archived and never changes.

Owns the archived JSON. New figures come as fields with defaults, so that an old review can be read for ever. Durations
are milliseconds, shares run from 0 to 1, and None is what could not be known.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cloud.reports.rules import Spread

NOTHING: Final = Spread(0, None, None, None, None)


class Clock(msgspec.Struct, frozen=True):
    """A response clock: of those decided, how many were stopped within their target, and how long it took."""

    name: str
    decided: int
    within: int
    share: float | None
    took: Spread


class Post(msgspec.Struct, frozen=True):
    """How long a post was in each state."""

    node: str
    zh: str
    en: str
    lasted: dict[str, int]


class Patrol(msgspec.Struct, frozen=True):
    """A route or an area: the share of its spots that were seen, and of time in which they were covered."""

    kind: str
    node: str
    zh: str
    en: str
    revisit_s: int
    spots: int
    seen: float | None
    covered: float | None
    longest_ms: int


class Silent(msgspec.Struct, frozen=True):
    """A device or a gateway and how long it could not be heard."""

    gateway: str
    device: str
    offline_ms: int
    share: float | None


class Readings(msgspec.Struct, frozen=True):
    """The loss ledger; gateway is empty in the sum."""

    gateway: str = ""
    received: int = 0
    late: int = 0
    thinned: int = 0
    lost: int = 0


class Hot(msgspec.Struct, frozen=True):
    """A place and what happened there."""

    node: str
    incidents: int
    alarms: int


class Strength(msgspec.Struct, frozen=True):
    """Members against what is due for the people of a node."""

    node: str
    people: int
    members: int
    due: float
    per_100k: float | None


class Unit(msgspec.Struct, frozen=True):
    """A unit one level down. shares: by the names of `rules.UNIT_SHARES`."""

    node: str
    place: int | None
    score: float | None
    incidents: int
    alarms: int
    shares: dict[str, float | None]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a review says. names: of every node in it, in Chinese and English."""

    version: int = 1
    names: dict[str, tuple[str, str]] = {}
    incidents: int = 0
    incidents_open: int = 0
    incident_drills: int = 0
    by_category: list[tuple[str, int]] = []
    by_place: list[tuple[str, dict[str, int]]] = []
    incidents_lasted: Spread = NOTHING
    clocks: list[Clock] = []
    posts: int = 0
    posts_lasted: dict[str, int] = {}
    worst_posts: list[Post] = []
    areas_seen: float | None = None
    areas_covered: float | None = None
    routes_seen: float | None = None
    routes_covered: float | None = None
    patrols: list[Patrol] = []
    shifts: int = 0
    shifts_begun: int = 0
    on_duty: float = 0.0
    strength: list[Strength] = []
    devices: int = 0
    devices_online: float | None = None
    gateways: int = 0
    gateways_online: float | None = None
    worst_devices: list[Silent] = []
    alarms: int = 0
    alarm_drills: int = 0
    alarms_late: int = 0
    by_kind: list[tuple[str, dict[str, int]]] = []
    false: int = 0
    false_of: int = 0
    acknowledged: int = 0
    acknowledge_took: Spread = NOTHING
    readings: Readings = Readings()
    worst_readings: list[Readings] = []
    hot_places: list[Hot] = []
    incident_hours: list[list[int]] = []
    alarm_hours: list[list[int]] = []
    hazards: int = 0
    hazard_kinds: list[tuple[str, dict[str, int]]] = []
    hazards_taken_up: Spread = NOTHING
    hazards_handled: Spread = NOTHING
    units: list[Unit] = []
    follow_ups: list[str] = []


def encode(figures: Figures) -> str:
    """As it is archived."""
    return msgspec.json.encode(figures, order="deterministic").decode()


def decode(text: str) -> Figures:
    """From the archive. Raises msgspec.ValidationError when it is none of ours."""
    return msgspec.json.decode(text, type=Figures)


def as_json(figures: Figures) -> dict[str, Any]:
    """As the API gives it."""
    found: dict[str, Any] = msgspec.to_builtins(figures)
    return found
