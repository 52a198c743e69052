"""The shape of a community's script: places, groups of devices, and what happens on its day. All of it is data.

Owns the models of `data/community.toml` and what must hold between its tables. Times of day are of the simulated
day; minutes are simulated minutes after an event's `at`. Knows nothing of sockets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, StringConstraints, model_validator

from firmware_specs.errors import ConfigError, nearest
from firmware_specs.readings import NAME_PATTERN
from firmware_specs.tomlfile import Model, load_toml

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


class Neighbourhood(Model):
    """A neighbourhood and its buildings."""

    zh: str
    en: str
    buildings: tuple[Building, ...] = Field(min_length=1)


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


class UplinkDown(Model):
    """The gateway's way to the cloud is cut: seconds of real time, whatever the day's speed."""

    kind: Literal["uplink-down"]
    real_s: float = Field(gt=0, le=3600)

    @property
    def until_min(self) -> float:
        """Its length is in real seconds, so the day knows no end of it."""
        return 0.0


Effect = Annotated[Curve | Hold | Silent | Round | UplinkDown, Field(discriminator="kind")]


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
    neighbourhoods: tuple[Neighbourhood, ...] = Field(min_length=1)
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

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        try:
            ids = [device.id for device in self.devices()]
        except (KeyError, IndexError) as e:
            raise ValueError(f"groups: id, connector and address may name {{n}} only, not {e}") from e
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
    return (effect.device, *effect.terminals) if isinstance(effect, Round) else (effect.device,)


def load_community(path: Path | None = None) -> Community:
    """Read a script, the built-in one when no path is given. Raises ConfigError naming the file, key and cause."""
    return load_toml(path or BUILTIN, Community, ConfigError)
