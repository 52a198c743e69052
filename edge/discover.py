"""What connectors hear and no device has: a bounded list of addresses, each with the profiles that could read it.

Owns the list, the choice of profiles by trial decoding, and how often the cloud is told: a new address or a new guess
after at most 2 s, mere counts once a minute, so that a thousand strangers cost no line. Trials wait for each other,
so that thousands of strangers at once keep no alarm waiting. No frame leaves the gateway, since it may say more than a
profile reads in it: only the numbers and states that the best profile reads do, and of what holds a position (P1) or is
read by no profile only the size.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from edge.codecs import frame_decoder, line_codec
from edge.codecs.lines import Heard
from firmware_specs import wire_fleet
from firmware_specs.codec import node_samples
from firmware_specs.errors import FrameError, ProfileError
from firmware_specs.layouts import NamedCodec, NodesCodec
from firmware_specs.readings import Position
from firmware_specs.wire_fleet import MAX_DISCOVERED, Discovered, DiscoveredDevice

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from edge.channel import Channel
    from firmware_specs.readings import Sample
    from firmware_specs.schema import Profile

TOPIC: Final = "discovered"
TELL_EVERY_S: Final = 2.0
COUNTS_EVERY_S: Final = 60.0
MAX_FRAME: Final = 1024
"""Bytes; a longer frame is no sensor's."""
MAX_SAMPLE: Final = 500
"""Characters."""
MAX_ADDRESS: Final = 512
TRIES: Final = 5
"""Frames of one address that are tried before it counts as one that nothing reads."""
TRIALS_AT_ONCE: Final = 20
TRIAL_EVERY_S: Final = 0.02
"""After so many at once. A trial of all profiles takes up to a millisecond."""
_SERIAL_ONLY: Final = frozenset({"nmea", "fleetsync", "nexedge"})


def spoken_on(profile: Profile, kind: str) -> bool:
    """Whether devices of a profile can be on a connector of a kind."""
    codec = profile.codec
    if profile.connector == "gateway" or isinstance(codec, NodesCodec) != (kind == "opcua"):
        return False
    return not isinstance(codec, NamedCodec) or (codec.name in _SERIAL_ONLY) == (kind == "serial")


def trial(profile: Profile, kind: str, frame: bytes, now_ms: int, address: str = "*") -> list[Sample]:
    """What a profile reads in a frame; nothing when it cannot read it.

    On an opcua connector a frame is a JSON object of browse names and values. address: on a serial line; radios of two
    makes tell the same with units of two forms.
    """
    try:
        if kind == "serial":
            line = line_codec({address: profile})
            heard = [*line.feed(frame + b"\r\n", now_ms), *line.settle(now_ms)]
            return [sample for item in heard if isinstance(item, Heard) for sample in item.samples]
        if isinstance(profile.codec, NodesCodec):
            values: dict[str, Any] = msgspec.json.decode(frame, type=dict[str, Any])
            wanted = set(profile.codec.nodes.values())
            return node_samples(profile)({name: value for name, value in values.items() if name in wanted}, None)
        return list(frame_decoder(profile)(frame, now_ms))
    except (FrameError, ProfileError, msgspec.DecodeError, UnicodeDecodeError):
        return []


def fit(profile: Profile, samples: Collection[Sample]) -> float:
    """How well samples fit a profile, 0 to 1: the share of its metrics that are there and within their range."""
    good: set[str] = set()
    for sample in samples:
        spec = profile.metrics.get(sample.metric)
        value = sample.value
        if spec is None:
            continue
        if isinstance(value, float | int) and not isinstance(value, bool):
            low = spec.minimum is not None and value < spec.minimum
            high = spec.maximum is not None and value > spec.maximum
            if low or high:
                continue
        good.add(sample.metric)
    return len(good) / len(profile.metrics)


class Guess(NamedTuple):
    """Who could read a frame. profiles: the best first. sample: what the best reads, or the frame's size."""

    profiles: tuple[str, ...]
    sample: str


def suggest(profiles: Iterable[Profile], kind: str, frame: bytes, now_ms: int, address: str = "*") -> Guess:
    """The profiles that could read a frame; of equals those first that are meant for the connector, then by name."""
    found: list[tuple[float, bool, str, str]] = []
    places = False
    for profile in profiles:
        if not spoken_on(profile, kind):
            continue
        samples = trial(profile, kind, frame, now_ms, address)
        places = places or any(isinstance(sample.value, Position) for sample in samples)
        share = fit(profile, samples)
        if share > 0:
            found.append((-share, profile.connector != kind, profile.profile, told_of(profile, samples)))
    found.sort()
    told = found[0][3] if found and not places else f"{len(frame)} B"
    return Guess(tuple(name for _, _, name, _ in found), told)


def told_of(profile: Profile, samples: Iterable[Sample]) -> str:
    """Samples as a line: numbers and states; a text may be somebody's name."""
    parts = []
    for sample in samples:
        value = f"{sample.value:g}" if isinstance(sample.value, int | float) else "…"
        spec = profile.metrics.get(sample.metric)
        parts.append(f"{sample.metric} {value} {spec.unit if spec else ''}".rstrip())
    return ", ".join(parts)[:MAX_SAMPLE]


class _Heard(msgspec.Struct):
    """One stranger."""

    kind: str
    first_ms: int
    last_ms: int
    frames: int = 0
    tries: int = 0
    profiles: tuple[str, ...] = ()
    sample: str = ""


class Discovery:
    """See the module. `note` is quick and never raises."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._profiles: tuple[Profile, ...] = ()
        self._configured: frozenset[tuple[str, str]] = frozenset()
        self._heard: OrderedDict[tuple[str, str], _Heard] = OrderedDict()
        self._untried: dict[tuple[str, str], bytes] = {}
        """The latest frame of those whose trial waits."""
        self._trials = float(TRIALS_AT_ONCE)
        self._tried_at = time.monotonic()
        self._news = asyncio.Event()
        self._waits = asyncio.Event()
        self._told = b""

    def configure(self, profiles: Mapping[str, Profile], configured: Iterable[tuple[str, str]]) -> None:
        """Know these profiles, and the connector and address of what is no stranger any more."""
        self._profiles = tuple(profiles.values())
        self._configured = frozenset(configured)
        for key in self._configured & self._heard.keys():
            del self._heard[key]
            self._untried.pop(key, None)
            self._news.set()
        for heard in self._heard.values():
            heard.tries = 0

    def note(self, connector: str, kind: str, address: str, frame: bytes) -> None:
        """An address that no device has was heard."""
        key = (connector, address)
        if key in self._configured or not address or len(address) > MAX_ADDRESS or len(frame) > MAX_FRAME:
            return
        now_ms = time.time_ns() // 1_000_000
        heard = self._heard.get(key)
        if heard is None:
            heard = self._heard[key] = _Heard(kind, now_ms, now_ms)
            while len(self._heard) > MAX_DISCOVERED:
                gone, _ = self._heard.popitem(last=False)
                self._untried.pop(gone, None)
            self._news.set()
        self._heard.move_to_end(key)
        heard.last_ms = now_ms
        heard.frames += 1
        if heard.tries >= TRIES:
            return
        if self._may_try():
            self._guess(heard, frame, now_ms, address)
        else:
            self._untried[key] = frame
            self._waits.set()

    def _may_try(self) -> bool:
        now = time.monotonic()
        self._trials = min(TRIALS_AT_ONCE, self._trials + (now - self._tried_at) / TRIAL_EVERY_S)
        self._tried_at = now
        if self._trials < 1:
            return False
        self._trials -= 1
        return True

    def _guess(self, heard: _Heard, frame: bytes, now_ms: int, address: str) -> None:
        heard.tries += 1
        guess = suggest(self._profiles, heard.kind, frame, now_ms, address)
        if guess.profiles or not heard.sample:
            heard.sample = guess.sample
        if len(guess.profiles) > len(heard.profiles):
            heard.profiles = guess.profiles
            self._news.set()

    def listed(self) -> tuple[DiscoveredDevice, ...]:
        """The strangers, the latest heard first."""
        return tuple(
            DiscoveredDevice(
                connector, heard.kind, address, heard.profiles, heard.frames, heard.first_ms, heard.last_ms,
                heard.sample,
            )
            for (connector, address), heard in reversed(self._heard.items())
        )  # fmt: skip

    async def told(self) -> Discovered:
        """The same, for a technician at the gateway."""
        return Discovered(time.time_ns() // 1_000_000, self.listed())

    async def run(self) -> None:
        """Try what waits and tell the cloud, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._try_what_waits(), name="discovery-trials")
            group.create_task(self._tell(), name="discovery-tell")

    async def _try_what_waits(self) -> None:
        """One after the other, the latest first: the list may be full of those that are gone."""
        while True:
            await self._waits.wait()
            await asyncio.sleep(TRIAL_EVERY_S)
            if self._untried and self._may_try():
                key, frame = self._untried.popitem()
                heard = self._heard[key]
                self._guess(heard, frame, heard.last_ms, key[1])
            if not self._untried:
                self._waits.clear()

    async def _tell(self) -> None:
        """A gateway that never heard a stranger tells nothing."""
        while True:
            try:
                async with asyncio.timeout(COUNTS_EVERY_S):
                    await self._news.wait()
            except TimeoutError:
                if not self._heard:
                    continue
            self._news.clear()
            devices = self.listed()
            body = msgspec.json.encode(devices)
            if body != self._told:
                self._told = body
                at_ms = time.time_ns() // 1_000_000
                self._channel.state(TOPIC, wire_fleet.encode(Discovered(at_ms, devices)))
            await asyncio.sleep(TELL_EVERY_S)
