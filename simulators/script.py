"""The shape of a community's script: places, groups of devices, and what happens on its day. All of it is data.

Owns the models of `data/community.toml` and what must hold between its tables. Times of day are of the simulated
day; minutes are simulated minutes after an event's `at`. Knows nothing of sockets.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, StringConstraints, model_validator

from firmware_specs.errors import ConfigError, nearest
from firmware_specs.readings import NAME_PATTERN
from firmware_specs.tomlfile import Model, load_toml

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILTIN: Final = Path(__file__).parent / "data" / "community.toml"
DAY_S: Final = 86400.0
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$")]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


def seconds(time_of_day: str) -> float:
    """Seconds after midnight of `HH:MM` or `HH:MM:SS`."""
    hours, minutes, *rest = (int(part) for part in time_of_day.split(":"))
    return hours * 3600 + minutes * 60 + sum(rest)


class Building(Model):
    """A building: its names, its door, its floors."""

    key: Name
    """What `places` call it."""
    zh: str
    en: str
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)
    floors: int = Field(default=6, ge=1, le=60)


class Unit(Model):
    """A part of the organisation above the neighbourhoods: district, town, street, each below the one before."""

    kind: Literal["district", "town", "street"]
    code: Name
    zh: str
    en: str
    population: int | None = Field(default=None, ge=0)
    settlement: Literal["urban", "rural"] | None = None


class Neighbourhood(Model):
    """A neighbourhood and its buildings."""

    zh: str
    en: str
    code: Name = "community"
    """What the organisation's file calls it."""
    population: int | None = Field(default=None, ge=0)
    buildings: tuple[Building, ...] = Field(min_length=1)


class Post(Model):
    """A guard post at a building."""

    code: Name
    zh: str
    en: str
    place: Name
    """The building."""
    radius_m: float = Field(default=30, gt=0, le=1000)
    headcount: int = Field(default=1, ge=1, le=100)
    grace_s: int = Field(default=60, ge=0)
    """How long it may be unmanned before that is an alarm: real seconds."""
    terminal: str | None = None
    """The check-in terminal that stands there."""


class Beat(Model):
    """A patrol route: buildings in their order, each to be seen again within so many minutes of real time."""

    code: Name
    zh: str
    en: str
    neighbourhood: Name
    places: tuple[Name, ...] = Field(min_length=2)
    revisit_min: int = Field(gt=0)


class Member(Model):
    """A patrol member: a call sign, what it carries, where it is on duty."""

    call_sign: str
    neighbourhood: Name
    post: Name | None = None
    beat: Name | None = None
    armband: str | None = None
    radio: str | None = None
    pseudonym: str | None = None
    """What terminals read of its card."""


class Group(Model):
    """Devices of one type, one for each place."""

    profile: Name
    connector: str
    """Its name in gateway.toml; `{n}` is the device's number for types that have a line of their own."""
    id: str
    """Of each device, `{n}` standing for its number: `smk-{n:04d}`."""
    address: str
    """As `id`; what the connector calls the device."""
    first: int = Field(default=1, ge=0)
    places: tuple[str, ...] = Field(min_length=1)
    """`building/floor`, or `building` for what stands outside or moves."""


class Curve(Model):
    """What is added to a number, by straight lines between points."""

    kind: Literal["curve"]
    device: str
    metric: str
    points: tuple[tuple[float, float], ...] = Field(min_length=2)
    """(minutes after the event, what is added), ascending."""

    @property
    def until_min(self) -> float:
        """When it is over."""
        return self.points[-1][0]


class Hold(Model):
    """A value that a metric has for a while."""

    kind: Literal["hold"]
    device: str
    metric: str
    value: bool | float | str
    from_min: float = Field(default=0, ge=0)
    until_min: float = Field(gt=0)


class Silent(Model):
    """A device that says nothing more."""

    kind: Literal["silent"]
    device: str
    from_min: float = Field(default=0, ge=0)
    until_min: float = Field(gt=0)


class Round(Model):
    """A patrol member who walks from terminal to terminal and checks in at each."""

    kind: Literal["round"]
    device: str
    """The armband."""
    terminals: tuple[str, ...] = Field(min_length=2)
    credential: str
    """The pseudonym that the terminals read."""
    until_min: float = Field(gt=0)
    """How long the round takes."""


class Walk(Model):
    """A patrol member leaves for a building, stays there, and comes back."""

    kind: Literal["walk"]
    device: str
    """The armband."""
    to: Name
    from_min: float = Field(default=0, ge=0)
    way_min: float = Field(default=20, gt=0)
    """How long the way takes, each time."""
    until_min: float = Field(gt=0)
    """When it is back."""

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if self.until_min - self.from_min <= 2 * self.way_min:
            raise ValueError("until_min: not longer than the way there and back")
        return self


class Act(Model):
    """What people at desks do, through the same HTTP API as everybody; what somebody has done before is left alone.

    `take`, `dispatch`, `tick` (the next open line of its checklist), `secure` and `close` are about the open incident
    of `device`, without one about that of the drill at `unit`; `declare` and `drill` are about `unit`; `review` is of
    `unit` and the present month.
    """

    kind: Literal["act"]
    who: Literal["dispatcher", "supervisor"]
    do: Literal["take", "dispatch", "tick", "secure", "close", "declare", "approve", "drill", "end-drill", "review"]
    at_min: float = Field(default=0, ge=0)
    device: str | None = None
    unit: Name | None = None
    level: int | None = Field(default=None, ge=1, le=4)
    members: tuple[str, ...] = ()
    """Call signs."""
    zh: str = ""
    """What is said with it."""
    then: str = ""
    """What is to be done after an incident is closed."""

    @property
    def until_min(self) -> float:
        """When it is over."""
        return self.at_min


class UplinkDown(Model):
    """The gateway's way to the cloud is cut: seconds of real time, whatever the day's speed."""

    kind: Literal["uplink-down"]
    real_s: float = Field(gt=0, le=3600)

    @property
    def until_min(self) -> float:
        """Its length is in real seconds, so the day knows no end of it."""
        return 0.0


Effect = Annotated[Curve | Hold | Silent | Round | Walk | Act | UplinkDown, Field(discriminator="kind")]


class Event(Model):
    """Something that happens on the day."""

    name: Name
    at: TimeOfDay
    zh: str
    en: str
    effects: tuple[Effect, ...] = Field(min_length=1)


class Place(NamedTuple):
    """A place of the community. floor 0: outside."""

    neighbourhood: Neighbourhood
    building: Building
    floor: int

    @property
    def location(self) -> str:
        """For people, in both languages: `翠华社区/3号楼/2层 · Cuihua/Building 3/Floor 2`."""
        zh = [self.neighbourhood.zh, self.building.zh]
        en = [self.neighbourhood.en, self.building.en]
        if self.floor:
            zh.append(f"{self.floor}层")
            en.append(f"Floor {self.floor}")
        return f"{'/'.join(zh)} · {'/'.join(en)}"


class PlacedDevice(NamedTuple):
    """One device of the script, ready to be configured and simulated."""

    id: str
    profile: str
    connector: str
    address: str
    place: Place


class Community(Model):
    """The whole script."""

    starts: TimeOfDay
    """The time of day at which the simulation begins."""
    units: tuple[Unit, ...] = ()
    neighbourhoods: tuple[Neighbourhood, ...] = Field(min_length=1)
    posts: tuple[Post, ...] = ()
    beats: tuple[Beat, ...] = ()
    members: tuple[Member, ...] = ()
    groups: tuple[Group, ...] = Field(min_length=1)
    events: tuple[Event, ...] = ()

    def place(self, text: str) -> Place:
        """The place that `building/floor` names. Raises ValueError."""
        key, _, floor = text.partition("/")
        known = {b.key: (n, b) for n in self.neighbourhoods for b in n.buildings}
        if key not in known:
            raise ValueError(f"no building {key!r}{nearest(key, known)}")
        neighbourhood, building = known[key]
        if floor and not (floor.isdigit() and 1 <= int(floor) <= building.floors):
            raise ValueError(f"building {key!r} has floors 1 to {building.floors}, not {floor!r}")
        return Place(neighbourhood, building, int(floor or 0))

    def devices(self) -> tuple[PlacedDevice, ...]:
        """Every device, in the order of the groups."""
        return tuple(
            PlacedDevice(
                group.id.format(n=n), group.profile, group.connector.format(n=n), group.address.format(n=n),
                self.place(place),
            )
            for group in self.groups
            for n, place in enumerate(group.places, group.first)
        )  # fmt: skip

    def _named(self, ids: list[str]) -> Iterator[tuple[str, list[str], str]]:
        """What tables name, what they may name, and who names it."""
        buildings = [b.key for n in self.neighbourhoods for b in n.buildings]
        areas = [n.code for n in self.neighbourhoods]
        for post in self.posts:
            yield post.place, buildings, f"posts {post.code!r}"
            yield from ((post.terminal, ids, f"posts {post.code!r}"),) if post.terminal else ()
        for beat in self.beats:
            yield beat.neighbourhood, areas, f"beats {beat.code!r}"
            yield from ((place, buildings, f"beats {beat.code!r}") for place in beat.places)
        for member in self.members:
            what = f"members {member.call_sign!r}"
            yield member.neighbourhood, areas, what
            yield from ((name, ids, what) for name in (member.armband, member.radio) if name)
            yield from ((member.post, [p.code for p in self.posts], what),) if member.post else ()
            yield from ((member.beat, [b.code for b in self.beats], what),) if member.beat else ()
        units = [*(u.code for u in self.units), *areas, *buildings]
        signs = [m.call_sign for m in self.members]
        for event in self.events:
            for effect in event.effects:
                if isinstance(effect, Walk):
                    yield effect.to, buildings, f"events {event.name!r}"
                elif isinstance(effect, Act):
                    yield from ((effect.unit, units, f"events {event.name!r}"),) if effect.unit else ()
                    yield from ((sign, signs, f"events {event.name!r}") for sign in effect.members)

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        try:
            ids = [device.id for device in self.devices()]
        except (KeyError, IndexError) as e:
            raise ValueError(f"groups: id, connector and address may name {{n}} only, not {e}") from e
        for name, known, what in self._named(ids):
            if name not in known:
                raise ValueError(f"{what}: no {name!r}{nearest(name, known)}")
        repeated = {name for name in ids if ids.count(name) > 1}
        if repeated:
            raise ValueError(f"groups: {min(repeated)!r} stands twice")
        for event in self.events:
            for effect in event.effects:
                for device in _devices_of(effect):
                    if device not in ids:
                        raise ValueError(f"events {event.name!r}: no device {device!r}{nearest(device, ids)}")
        return self


def _devices_of(effect: Effect) -> tuple[str, ...]:
    if isinstance(effect, UplinkDown):
        return ()
    if isinstance(effect, Act):
        return (effect.device,) if effect.device else ()
    return (effect.device, *effect.terminals) if isinstance(effect, Round) else (effect.device,)


def load_community(path: Path | None = None) -> Community:
    """Read a script, the built-in one when no path is given. Raises ConfigError naming the file, key and cause."""
    return load_toml(path or BUILTIN, Community, ConfigError)
