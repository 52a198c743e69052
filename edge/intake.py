"""Where connectors put what they heard: normalised, judged and handed to the outbox in one step.

Owns the order of these three, so that a reading, the alarms that it raised and the states that it changed are one
commit. Implements `edge.connectors.base.Sink`. Nothing here blocks or raises.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from edge.carried import Gate
from edge.normalise import DeviceTracks, normalise
from edge.rules import RuleEngine
from firmware_specs.readings import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from edge.clock import GatewayClock, Moment
    from edge.normalise import Track
    from edge.outbox import Outbox
    from edge.rules import States
    from firmware_specs.errors import FrameError
    from firmware_specs.readings import AlarmEvent, Item, Reading, Sample, Value
    from firmware_specs.schema import Profile
    from firmware_specs.wire import Desired

_HEARD_EVERY_S: Final = 30.0
_LONGEST_WAIT_S: Final = 1.0
_SEEN_KEY: Final = "seen/"
_SAMPLES_KEPT: Final = 20
_read_seen = msgspec.json.Decoder(list[tuple[int, float | bool | str]]).decode


class Refused(NamedTuple):
    """A frame that could not be decoded, as a sample for the technician."""

    at_ms: int
    device: str
    frame: bytes
    error: str


class Intake:
    """See the module."""

    def __init__(self, outbox: Outbox, clock: GatewayClock) -> None:
        self._outbox = outbox
        self._clock = clock
        self.engine = RuleEngine()
        self.gate = Gate()
        self._reporting_s: dict[str, int] = {}
        self._devices: dict[str, DeviceTracks] = {}
        self._kept_seen: dict[str, bytes] = {}
        self._changed = asyncio.Event()
        self.refused: deque[Refused] = deque(maxlen=_SAMPLES_KEPT)
        self.heard_at: dict[str, int] = {}
        """Wall clock of the last frame by device, since the start."""
        self.readings = 0
        self.frames = 0
        self.frames_refused = 0
        self.unknown = 0
        self.listener: Callable[[Sequence[Reading], Sequence[AlarmEvent]], None] | None = None
        """A technician who listens, if any: gets every reading, kept or not."""
        self.watchers: dict[str, Callable[[Sequence[Sample]], None]] = {}
        """By device: who else looks at what it says, as it came."""

    def restore(self, kept: dict[str, bytes]) -> None:
        """Take up the states of an earlier run, before `configure`."""
        self.engine.restore(kept)
        self.gate.restore(kept)
        self._kept_seen = {key: value for key, value in kept.items() if key.startswith(_SEEN_KEY)}

    def configure(self, devices: Iterable[tuple[str, Profile]], drills: Collection[str] = ()) -> None:
        """Serve exactly these devices from now on; those that were served before keep what is known of them.

        drills: the devices whose alarms are marked as drill.
        """
        served = list(devices)
        old, self._devices = self._devices, {}
        for device, profile in served:
            tracks = DeviceTracks(device, profile)
            known = old.get(device)
            for metric, track in tracks.tracks.items():
                if known and metric in known.tracks:
                    tracks.remember(metric, known.tracks[metric].seen)
                    track.kept_value = known.tracks[metric].kept_value
                    track.kept_at = known.tracks[metric].kept_at
                    track.stored = known.tracks[metric].stored
                elif f"{_SEEN_KEY}{device}/{metric}" in self._kept_seen:
                    tracks.remember(metric, _read_seen(self._kept_seen[f"{_SEEN_KEY}{device}/{metric}"]))
            self._devices[device] = tracks
        self._keep_within()
        moment = self._clock.now()
        events, states = self.engine.configure(served, moment, drills)
        self._outbox.add((), events, states)
        self._changed.set()

    def hold_to(self, desired: Desired) -> None:
        """Hold to what the cloud wants from now on: whose positions may exist, and how often values are kept."""
        self.gate.hold_to(desired)
        self._reporting_s = desired.reporting_s
        self._keep_within()

    def _keep_within(self) -> None:
        for_all = self._reporting_s.get("*")
        for device, tracks in self._devices.items():
            longest_s = self._reporting_s.get(device, for_all)
            tracks.keep_within(None if longest_s is None else longest_s * 1000)

    def states(self) -> dict[str, bytes | None]:
        """Everything that a new file has to know."""
        return {**self.engine.states(), **self.gate.states()}

    # the sink

    def accept(
        self,
        device: str,
        samples: Sequence[Sample],
        committed: Callable[[bool], None] | None = None,
        mark: int = 0,
    ) -> None:
        """Take the samples of one frame. mark: by which a repeat of the message will be known, 0 for none."""
        tracks = self._devices.get(device)
        room = self._outbox.takes(awaited=committed is not None)
        if tracks is None or (committed and not room):
            self._turn_away(committed, known=tracks is not None)
            return
        self.watchers.get(device, _nobody)(samples)
        moment = self._clock.now()
        self.frames += 1
        self.heard_at[device] = moment.wall_ms
        telemetry: list[Reading] = []
        urgent: list[Item] = []
        events: list[AlarmEvent] = []
        states: dict[str, bytes | None] = {}
        engine = self.engine
        if engine.follow_clock(moment):  # before anything is judged by the new time
            states.update(engine.states())
        engine.heard(device, moment, events, states)
        readings = normalise(tracks, samples, moment)
        if device in self.gate.windows:  # carried: before a rule, a listener or the disk has any of it
            readings = self._admit(readings, moment, events, states)
        for reading, track in readings:
            engine.judge(reading, moment, events, states)
            if track.urgent:
                urgent.append(reading)
                states[f"{_SEEN_KEY}{device}/{track.metric}"] = _seen(track)
            elif track.plain or track.keeps(reading):
                telemetry.append(reading)
        self.readings += len(readings)
        if self.listener:
            self.listener([reading for reading, _ in readings], events)
        if states:
            self._changed.set()
            self.gate.hear(events, states)
        if not room:
            self._outbox.drop(len(telemetry))
            telemetry = []
        self._outbox.add(telemetry, [*urgent, *events] if urgent else events, states, mark, committed)

    def _admit(
        self, readings: list[tuple[Reading, Track]], moment: Moment, events: list[AlarmEvent], states: States
    ) -> list[tuple[Reading, Track]]:
        """What a carried device may tell now. Rules against silence hear that there was more, and not what."""
        passed = self.gate.sieve(readings, states)
        if len(passed) < len(readings):
            kept = {id(reading) for reading, _ in passed}
            for reading, _ in readings:
                if id(reading) not in kept:
                    self.engine.met(reading.device, reading.metric, moment, events, states)
        return passed

    def _turn_away(self, committed: Callable[[bool], None] | None, *, known: bool) -> None:
        """Be done with what an unknown device said, and have a frame that nothing can keep sent again.

        Neither is judged: one that comes again would make two fires of one.
        """
        self.unknown += not known
        if committed:
            committed(not known)

    def refuse(self, device: str, frame: bytes, error: FrameError) -> None:
        """Count a frame that could not be decoded and keep a sample of it."""
        self.frames_refused += 1
        self.refused.append(Refused(self._clock.now_ms(), device, frame[:256], str(error)))

    def excuse(self, devices: Collection[str]) -> None:
        """These cannot be heard now, and we know why: it is no silence yet."""
        self.engine.excuse(devices, self._clock.now())

    def after_commit(self, callback: Callable[[], None]) -> None:
        """See `Outbox.after_commit`."""
        self._outbox.after_commit(callback)

    def hold(self) -> None:
        """See `Outbox.hold`."""
        self._outbox.hold()

    def release(self) -> None:
        """See `Outbox.release`."""
        self._outbox.release()

    @property
    def is_full(self) -> bool:
        """See `Outbox.is_full`."""
        return self._outbox.is_full

    async def ready(self) -> None:
        """Return when more can be taken."""
        await self._outbox.ready()

    @property
    def repeats(self) -> int:
        """Values dropped as repeats."""
        return sum(tracks.repeats for tracks in self._devices.values())

    async def run_timers(self) -> None:
        """Act on the deadlines of rules, and follow the wall clock, until cancelled."""
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while True:
            moment = self._clock.now()
            moved = self.engine.follow_clock(moment)
            events, states = self.engine.due(moment)
            if moved:
                states = {**self.engine.states(), **states}
            if loop.time() - heard_at >= _HEARD_EVERY_S:
                heard_at = loop.time()
                states.update(self.engine.heard_state())
            if events or states:
                if self.listener:
                    self.listener((), events)
                self._outbox.add((), events, states)
            due_ms = self.engine.next_due_ms()
            wait_s = _LONGEST_WAIT_S if due_ms is None else max(0.001, (due_ms - moment.wall_ms) / 1000)
            self._changed.clear()
            try:
                async with asyncio.timeout(min(wait_s, _LONGEST_WAIT_S)):
                    await self._changed.wait()
            except TimeoutError:
                continue


def _nobody(_samples: Sequence[Sample]) -> None:
    """Who looks at what most devices say."""


def _seen(track: Track) -> bytes:
    seen: list[tuple[int, Value]] = [pair for pair in track.seen if not isinstance(pair[1], Position)]
    return msgspec.json.encode(seen)
