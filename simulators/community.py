"""A whole community with a scripted day: builds the devices and peers, and lets the day run.

Owns which peer speaks for which connector and the loop that asks every device what it has to say. The script is
data; what devices do is in `device.py`; how they speak is in `peers/`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from firmware_specs.errors import ConfigError, PatrolError, ProfileError, nearest
from firmware_specs.layouts import NamedCodec
from firmware_specs.load import load_profiles
from firmware_specs.readings import Position
from simulators.device import Device, Outing, RoundPath, minutes_since
from simulators.peers.firmware import UpdatableCoapPeer, UpdatableMqttPeer
from simulators.peers.gnss import GnssPeer
from simulators.peers.mqtt import MqttPeer
from simulators.peers.opcua import OpcuaPeer
from simulators.peers.radio import RadioPeer
from simulators.physics import Moment
from simulators.script import DAY_S, Act, Hold, Round, UplinkDown, Walk, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from firmware_specs.schema import Profile
    from simulators.peers.base import Peer
    from simulators.people import People
    from simulators.proxy import TcpProxy
    from simulators.script import Community, Effect, Event, PlacedDevice

TICK_S: Final = 0.25
_ACCURACY_M: Final = 6.0
_CHECK_IN_MIN: Final = 1.0
_NORMAL_STATUS: Final = {"fleetsync": "10", "nexedge": "001"}
log = structlog.get_logger()


class Ends(NamedTuple):
    """Where the simulated devices find the gateway, or where they wait for it."""

    mqtt: str
    coap: str
    opcua: str
    tty_dir: Path


class Progress(NamedTuple):
    """What has happened so far. day_s: simulated seconds since the first midnight."""

    day_s: float
    messages: int
    event: str


def load_needed(placed: Sequence[PlacedDevice], profiles_dir: Path | None = None) -> dict[str, Profile]:
    """The profiles that the devices need. Raises ProfileError or PatrolError when one is bad or not there."""
    profiles, errors = load_profiles(*([profiles_dir] if profiles_dir else []))
    for device in placed:
        if device.profile not in profiles:
            for error in errors:
                if device.profile in error.file:
                    raise error
            raise PatrolError(f"no profile {device.profile!r}{nearest(device.profile, profiles)}")
    return profiles


def build_devices(
    community: Community, profiles: Mapping[str, Profile], *, seed: int, speed: float
) -> dict[str, Device]:
    """Every device of the script with what the script does to it. Raises ConfigError for a metric that is none."""
    devices: dict[str, Device] = {}
    places = {placed.id: placed for placed in community.devices()}
    for placed in places.values():
        devices[placed.id] = Device(
            placed.id, profiles[placed.profile], placed.address, seed=seed, loop=_loop(placed), speed=speed
        )
    for member in community.members:
        if member.armband and member.radio:
            devices[member.radio].go_with(devices[member.armband])
    for event in community.events:
        for effect in event.effects:
            try:
                _apply(event, effect, devices, places)
            except ValueError as e:
                raise ConfigError("community script", f"events {event.name!r}", str(e)) from e
    return devices


def _loop(placed: PlacedDevice) -> tuple[Position, ...]:
    """Where a device is: what moves goes round its neighbourhood, beginning at its place."""
    buildings = placed.place.neighbourhood.buildings
    first = buildings.index(placed.place.building)
    if placed.place.floor:
        buildings, first = (placed.place.building,), 0
    return tuple(Position(b.lat, b.lon, _ACCURACY_M) for b in (*buildings[first:], *buildings[:first]))


def _apply(event: Event, effect: Effect, devices: Mapping[str, Device], places: Mapping[str, PlacedDevice]) -> None:
    at_s = seconds(event.at)
    if isinstance(effect, Round):
        stops = [places[name].place.building for name in effect.terminals]
        path = RoundPath([Position(b.lat, b.lon, _ACCURACY_M) for b in stops], effect.until_min)
        devices[effect.device].send_round(at_s, path)
        for name, arrival in zip(effect.terminals, path.arrivals, strict=True):
            devices[name].apply(
                at_s,
                Hold(
                    kind="hold", device=name, metric="checkin", value=effect.credential, from_min=arrival,
                    until_min=arrival + _CHECK_IN_MIN,
                ),
            )  # fmt: skip
    elif isinstance(effect, Walk):
        walker = devices[effect.device]
        neighbourhoods = {p.place.neighbourhood.code: p.place.neighbourhood for p in places.values()}.values()
        building = next(b for n in neighbourhoods for b in n.buildings if b.key == effect.to)
        there = Position(building.lat, building.lon, _ACCURACY_M)
        outing = Outing(walker.home, there, effect.way_min, effect.until_min - effect.from_min)
        walker.send_round(at_s + effect.from_min * 60, outing)
    elif isinstance(effect, Hold):
        devices[effect.device].apply(at_s, _with_status_code(effect, devices[effect.device].profile))
    elif not isinstance(effect, UplinkDown | Act):
        devices[effect.device].apply(at_s, effect)


def _with_status_code(hold: Hold, profile: Profile) -> Hold:
    """A radio status by its meaning becomes the code that the profile gives that meaning."""
    codec = profile.codec
    if not isinstance(codec, NamedCodec) or hold.metric != "status":
        return hold
    if hold.value == "emergency":
        if not codec.emergency_statuses:
            raise ValueError(f"{profile.profile} has no emergency_statuses")
        return hold.model_copy(update={"value": codec.emergency_statuses[0]})
    if hold.value == "normal":
        return hold.model_copy(update={"value": _NORMAL_STATUS.get(codec.name, "1")})
    return hold


def build_peers(community: Community, devices: Mapping[str, Device], ends: Ends, prefix: str) -> dict[str, Peer]:
    """A peer for each device, by device; devices of one connector share one, but MQTT has one a profile.

    prefix: of the MQTT client ids.
    """
    shared: dict[tuple[str, str], Peer] = {}
    peers: dict[str, Peer] = {}
    for placed in community.devices():
        profile = devices[placed.id].profile
        key = (placed.connector, profile.profile if profile.connector == "mqtt" else "")
        if key not in shared:
            mates = [devices[p.id] for p in community.devices() if p.connector == placed.connector]
            shared[key] = _peer(placed.connector, profile, mates, ends, prefix)
        peers[placed.id] = shared[key]
    return peers


def _peer(connector: str, profile: Profile, devices: Sequence[Device], ends: Ends, prefix: str) -> Peer:
    if profile.connector == "mqtt" and profile.firmware:
        mates = [device for device in devices if device.profile.profile == profile.profile]
        return UpdatableMqttPeer(ends.mqtt, f"{prefix}-{profile.profile}", mates)
    if profile.connector == "mqtt":
        return MqttPeer(ends.mqtt, f"{prefix}-{profile.profile}")
    if profile.connector == "coap":
        return UpdatableCoapPeer(ends.coap, devices)
    if profile.connector == "opcua":
        return OpcuaPeer(ends.opcua, devices)
    path = ends.tty_dir / connector
    codec = profile.codec
    if isinstance(codec, NamedCodec) and codec.name in {"fleetsync", "nexedge"}:
        return RadioPeer(path, "fleetsync" if codec.name == "fleetsync" else "nexedge")
    if isinstance(codec, NamedCodec) and codec.name == "nmea":
        return GnssPeer(path)
    raise ProfileError(profile.profile, "connector", f"no simulated peer for {profile.connector}")


class Day:
    """The day of a community, running."""

    def __init__(
        self, community: Community, devices: Mapping[str, Device], peers: Mapping[str, Peer], *, speed: float,
        uplink: TcpProxy | None = None, people: People | None = None,
        heard: Callable[[Progress], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """people: who acts at desks; without them nobody does."""
        self.community = community
        self._devices = devices
        self._peers = peers
        self._speed = speed
        self._uplink = uplink
        self._people = people
        self._heard = heard
        self._messages = 0
        self._last_minutes: dict[str, float] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def run(self, duration_s: float | None = None, *, once: bool = False) -> int:
        """Let the day run for real seconds, for one day, or until cancelled. Returns the messages that were sent."""
        begin_s = seconds(self.community.starts)
        async with AsyncExitStack() as stack:
            for peer in {id(p): p for p in self._peers.values()}.values():
                await peer.start()
                stack.push_async_callback(peer.stop)
            began = time.monotonic()
            while True:
                real_s = time.monotonic() - began
                moment = Moment(begin_s + real_s * self._speed, real_s)
                await self._tick(moment)
                if (duration_s is not None and real_s >= duration_s) or (once and moment.day_s >= DAY_S):
                    return self._messages
                await asyncio.sleep(TICK_S)

    async def _tick(self, moment: Moment) -> None:
        self._begin_events(moment)
        at_ms = time.time_ns() // 1_000_000
        for name, device in self._devices.items():
            samples = device.due(moment)
            if samples:
                await self._peers[name].send(device, samples, at_ms)
                self._messages += 1
        self._heard(Progress(moment.day_s, self._messages, ""))

    def _begin_events(self, moment: Moment) -> None:
        for event in self.community.events:
            minutes = minutes_since(seconds(event.at), moment.day_s)
            last = self._last_minutes.get(event.name)
            if minutes is None:
                continue
            self._last_minutes[event.name] = minutes
            if (last is None and minutes < self._speed) or (last is not None and minutes < last):
                log.info("event", name=event.name, zh=event.zh, en=event.en, day_time=_clock(moment.day_s))
                self._heard(Progress(moment.day_s, self._messages, event.name))
                for effect in event.effects:
                    if isinstance(effect, UplinkDown):
                        self._cut_uplink(effect.real_s)
                    elif isinstance(effect, Act) and self._people:
                        self._in_background(self._later(effect, self._people), f"act-{effect.do}")

    async def _later(self, act: Act, people: People) -> None:
        await asyncio.sleep(act.at_min * 60 / self._speed)
        await people.act(act)

    def _in_background(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _cut_uplink(self, real_s: float) -> None:
        if self._uplink is None:
            log.info("no uplink to cut: started without --uplink-proxy")
            return
        self._in_background(self._uplink.cut_for(real_s), "uplink-down")


def _clock(day_s: float) -> str:
    minutes = int(day_s // 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"
