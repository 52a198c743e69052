"""What the verbs of `patrol-sim` run: a community, its gateway's configuration, one device.

Owns the way from command line values to running simulations. Errors are for the command line to print.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from firmware_specs.errors import ConfigError, nearest
from firmware_specs.layouts import NamedCodec
from firmware_specs.load import load_profile, load_profiles
from simulators import community as model
from simulators import organisation, site
from simulators.device import Device
from simulators.peers.coap import CoapPeer
from simulators.peers.gnss import GnssPeer
from simulators.peers.line import LinePeer
from simulators.peers.mqtt import MqttPeer
from simulators.peers.radio import RadioPeer
from simulators.people import People, load_desk
from simulators.physics import Moment
from simulators.proxy import TcpProxy, address
from simulators.script import load_community
from simulators.walking import Walker

if TYPE_CHECKING:
    from firmware_specs.schema import Profile
    from simulators.peers.base import Peer


class Endpoints(NamedTuple):
    """What the command line says of the endpoints. state: its `tty` holds the simulated serial ports."""

    mqtt: str
    coap: str
    opcua: str
    state: Path

    @property
    def tty_dir(self) -> Path:
        """The folder of the simulated serial ports."""
        return self.state.absolute() / "tty"


def write_config(
    script: Path | None, path: Path, ends: Endpoints, gateway: str, uplink: str, *, drill: bool = False
) -> str:
    """Write the gateway.toml for a community; what was written, for people. drill: alarms are marked as drill."""
    community = load_community(script)
    state_dir = ends.state.absolute() / "gateway"
    addresses = site.Endpoints(gateway, state_dir, uplink, ends.mqtt, ends.coap, ends.opcua, ends.tty_dir)
    try:
        path.write_text(site.gateway_toml(community, addresses, drill=drill), encoding="utf-8")
    except OSError as e:
        raise ConfigError(path, "", e.strerror or str(e)) from e
    return f"{path}: {site.counted(community.devices())}"


def write_organisation(script: Path | None, path: Path, gateway: str) -> str:
    """Write the file for `patrol-cloud import`; what was written, for people. Shifts begin now."""
    community = load_community(script)
    try:
        organisation.write(path, community, gateway, datetime.now(UTC))
    except OSError as e:
        raise ConfigError(path, "", e.strerror or str(e)) from e
    return f"{path}: {len(community.members)} members, {len(community.posts)} posts"


def proxy_from(text: str) -> TcpProxy:
    """A proxy from `LISTEN=TARGET`, each `host:port`. Raises ValueError naming the text."""
    listen, separator, target = text.partition("=")
    if not separator:
        raise ValueError(f"{text!r}: LISTEN=TARGET expected, each host:port")
    return TcpProxy(address(listen), address(target))


async def run_community(
    script: Path | None, ends: Endpoints, *, speed: float, duration_s: float | None, once: bool, seed: int,
    proxy: str | None, people: Path | None, as_json: bool,
) -> dict[str, Any] | None:  # fmt: skip
    """Run the day; a summary when it ended by itself and one is wanted."""
    community = load_community(script)
    desk = People(load_desk(people)) if people else None
    profiles = model.load_needed(community.devices())
    devices = model.build_devices(community, profiles, seed=seed, speed=speed)
    peers = model.build_peers(community, devices, model.Ends(ends.mqtt, ends.coap, ends.opcua, ends.tty_dir), "sim")
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        uplink = None
        if proxy is not None:
            uplink = proxy_from(proxy)
            await uplink.start()
            stack.push_async_callback(uplink.stop)
        day = model.Day(community, devices, peers, speed=speed, uplink=uplink, people=desk)
        if desk:
            hand = asyncio.create_task(Walker(desk, devices).run(), name="walker")
            stack.callback(hand.cancel)
        messages = await day.run(duration_s, once=once)
    summary = {"devices": len(devices), "messages": messages, "seconds": round(time.monotonic() - began, 1)}
    return summary if as_json else None


def find_profile(text: str) -> Profile:
    """A profile by name or by the path of its file. Raises ProfileError, or ValueError with the nearest name."""
    if text.endswith(".toml"):
        return load_profile(Path(text))
    profiles, _ = load_profiles()
    if text not in profiles:
        raise ValueError(f"no profile {text!r}{nearest(text, profiles)}")
    return profiles[text]


def peer_for(to: str, profile: Profile) -> tuple[Peer, str]:
    """The peer that a target names, and the device's address there. Raises ValueError naming the target."""
    parts = urlsplit(to)
    address = parts.path.lstrip("/")
    codec = profile.codec
    named = codec.name if isinstance(codec, NamedCodec) else ""
    if parts.scheme == "mqtt" and address:
        return MqttPeer(f"mqtt://{parts.netloc}", f"sim-{profile.profile}-{time.time_ns() % 10**6}"), address
    if parts.scheme == "coap" and address:
        return CoapPeer(f"coap://{parts.netloc}"), address
    if parts.scheme == "serial" and parts.path:
        if named == "nmea":
            return GnssPeer(Path(parts.path)), "*"
        if named in {"fleetsync", "nexedge"}:
            return RadioPeer(Path(parts.path), "fleetsync" if named == "fleetsync" else "nexedge"), ""
        if profile.firmware and profile.firmware.channel == "xmodem":
            return LinePeer(Path(parts.path), profile.firmware), "*"
        raise ValueError(f"{to!r}: {profile.profile} does not speak on a simulated serial line")
    raise ValueError(f"{to!r}: mqtt://host:port/topic, coap://host:port/path or serial:PATH expected")


async def run_device(
    profile: str, to: str, *, name: str, unit: str, speed: float, duration_s: float | None, seed: int, as_json: bool
) -> dict[str, Any] | None:
    """Run one device until its time is over."""
    found = find_profile(profile)
    peer, address = peer_for(to, found)
    device = Device(name, found, address or unit, seed=seed, speed=speed, stagger=False)
    messages = 0
    await peer.start()
    began = time.monotonic()
    try:
        while duration_s is None or time.monotonic() - began < duration_s:
            real_s = time.monotonic() - began
            samples = device.due(Moment(real_s * speed, real_s))
            if samples:
                await peer.send(device, samples, time.time_ns() // 1_000_000)
                messages += 1
            await asyncio.sleep(model.TICK_S)
    finally:
        await peer.stop()
    return {"device": name, "messages": messages} if as_json else None
