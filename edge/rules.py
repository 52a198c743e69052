"""The gateway's alarm engine: which rule judges which value, what it remembers, and when timers are due.

Owns the states of all rules, their keys on disk, the occurrence ids and the order of deadlines. Conditions
themselves are `firmware_specs.alarms`, the same code as in the cloud. Every device has a rule against silence: its
profile's own or the default one. No clock and no disk of its own: moments are handed in, states are handed out to be
committed with the readings that changed them.
"""

from __future__ import annotations

import heapq
import itertools
import uuid
from typing import TYPE_CHECKING, Final

import msgspec

from firmware_specs import alarms
from firmware_specs.alarms import Change, RuleState, Step
from firmware_specs.readings import AlarmEvent, AlarmPhase, Severity
from firmware_specs.schema import AlarmRule, Missing, Text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from edge.clock import Moment
    from firmware_specs.readings import Reading
    from firmware_specs.schema import Profile

SILENT_KIND: Final = "device-silent"
_HEARD_KEY: Final = "heard"
_STATE_KEY: Final = "rule/"
States = dict[str, bytes | None]
_read_state = msgspec.json.Decoder(RuleState).decode
_read_heard = msgspec.json.Decoder(dict[str, int]).decode


class Slot:
    """One rule of one device."""

    __slots__ = ("device", "drill", "judge", "key", "profile", "queued_ms", "rule", "silent_ms", "state")

    def __init__(self, device: str, profile: Profile, rule: AlarmRule, *, drill: bool) -> None:
        self.device = device
        self.drill = drill
        self.profile = profile
        self.rule = rule
        self.state = RuleState()
        # A drill's state is another: a fire that goes on when the device serves in earnest again is raised anew.
        self.key = f"{_STATE_KEY}{device}/{rule.name}{'/drill' if drill else ''}"
        self.judge = alarms.stepper(rule)
        self.silent_ms = profile.silent_after_ms
        self.queued_ms: int | None = None


def silence_rule(profile: Profile) -> AlarmRule | None:
    """The default rule against silence, unless the profile has one of its own."""
    if any(isinstance(rule.when, Missing) and rule.kind == SILENT_KIND for rule in profile.alarms):
        return None
    return AlarmRule(
        name="silent", kind=SILENT_KIND, severity=Severity.WARNING, metric=next(iter(profile.metrics)),
        when=Missing(kind="missing"), title=Text(zh="设备无信号", en="Device silent"),
    )  # fmt: skip


class RuleEngine:
    """See the module."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}
        self._by_metric: dict[tuple[str, str], tuple[Slot, ...]] = {}
        self._silence: dict[str, tuple[Slot, ...]] = {}
        self._due: list[tuple[int, int, Slot]] = []
        self._tie = itertools.count()
        self._offset_ms: int | None = None
        self._kept: dict[str, bytes] = {}
        self._heard: dict[str, int] = {}
        self.lateness_ms = 0
        """How much later than due the last timer was acted on (D11)."""

    def restore(self, kept: Mapping[str, bytes]) -> None:
        """Take up the states of an earlier run; devices are served from them when they are added."""
        self._kept = {key: value for key, value in kept.items() if key.startswith(_STATE_KEY)}
        if _HEARD_KEY in kept:
            self._heard = _read_heard(kept[_HEARD_KEY])

    def configure(
        self, devices: Iterable[tuple[str, Profile]], moment: Moment, drills: Collection[str] = ()
    ) -> tuple[list[AlarmEvent], States]:
        """Serve exactly these devices from now on. What is raised of a rule that is gone is cleared.

        drills: the devices whose alarms are marked as drill.
        """
        old, self._slots = self._slots, {}
        by_metric: dict[tuple[str, str], tuple[Slot, ...]] = {}
        self._silence, self._due = {}, []
        for device, profile in devices:
            own = silence_rule(profile)
            for rule in (*profile.alarms, *((own,) if own else ())):
                slot = self._slot(Slot(device, profile, rule, drill=device in drills), old, moment)
                self._slots[slot.key] = slot
                if isinstance(rule.when, Missing) and rule.kind == SILENT_KIND:
                    self._silence[device] = (*self._silence.get(device, ()), slot)
                else:
                    by_metric[device, rule.metric] = (*by_metric.get((device, rule.metric), ()), slot)
                self._queue(slot)
        self._by_metric = by_metric
        events, states = [], States()
        for key in (old.keys() | self._kept.keys()) - self._slots.keys():
            states[key] = None
            gone = old.get(key)
            if gone and gone.state.raised:
                events.append(_event(gone, Step(Change.CLEARED, moment.wall_ms), AlarmPhase.CLEARED, moment))
        self._kept = {}
        return events, states

    def _slot(self, slot: Slot, old: Mapping[str, Slot], moment: Moment) -> Slot:
        known = old.get(slot.key)
        if known:
            slot.state = known.state
        else:
            if slot.key in self._kept:
                slot.state = _read_state(self._kept[slot.key])
            slot.state.heard_ms = self._heard.get(slot.key, slot.state.heard_ms)
            _not_after(slot.state, moment.wall_ms)
            alarms.begin(slot.rule, slot.state, moment.wall_ms, slot.silent_ms)
        return slot

    def judge(self, reading: Reading, moment: Moment, events: list[AlarmEvent], states: States) -> None:
        """Judge one reading by the rules of its metric; add what follows to `events` and `states`."""
        slots = self._by_metric.get((reading.device, reading.metric))
        if slots:
            for slot in slots:
                step = slot.judge(
                    slot.state, reading.value, reading.observed_at,
                    quality=reading.quality, received_ms=reading.received_at,
                )  # fmt: skip
                if step.change is not Change.NONE:
                    self._apply(slot, step, moment, events, states)

    def heard(self, device: str, moment: Moment, events: list[AlarmEvent], states: States) -> None:
        """The device said something, whatever it was: also a repeat, or a value that none of the rules judges."""
        for slot in self._silence.get(device, ()):
            state = slot.state
            state.heard_ms = max(state.heard_ms, moment.wall_ms)
            if state.raised:
                self._apply(slot, slot.judge(state, 0.0, moment.wall_ms), moment, events, states)

    def met(self, device: str, metric: str, moment: Moment, events: list[AlarmEvent], states: States) -> None:
        """There was a value that is nobody's business: only rules about its absence learn of it."""
        for slot in self._by_metric.get((device, metric), ()):
            if isinstance(slot.rule.when, Missing):
                step = slot.judge(slot.state, False, moment.wall_ms)
                if step.change is not Change.NONE:
                    self._apply(slot, step, moment, events, states)

    def excuse(self, devices: Collection[str], moment: Moment) -> None:
        """Nobody could hear these until now, and we know why: rules that have not missed them yet begin anew."""
        for slot in self._slots.values():
            if slot.device in devices and isinstance(slot.rule.when, Missing) and not slot.state.raised:
                slot.state.heard_ms = max(slot.state.heard_ms, moment.wall_ms)

    def next_due_ms(self) -> int | None:
        """When `due` wants to be called, by the wall clock."""
        return self._due[0][0] if self._due else None

    def due(self, moment: Moment) -> tuple[list[AlarmEvent], States]:
        """Raise what timers have made due by now."""
        events: list[AlarmEvent] = []
        states = States()
        while self._due and self._due[0][0] <= moment.wall_ms:
            _, _, slot = heapq.heappop(self._due)
            if self._slots.get(slot.key) is not slot:
                continue
            slot.queued_ms = None
            step = alarms.due(slot.rule, slot.state, moment.wall_ms, slot.silent_ms)
            if step.change is Change.NONE:
                self._queue(slot)
            else:
                self.lateness_ms = moment.wall_ms - step.at_ms
                self._apply(slot, step, moment, events, states)
        return events, states

    def follow_clock(self, moment: Moment) -> int:
        """Notice that the wall clock was set: all times move along, so that no rule goes blind. By how many ms."""
        offset = moment.wall_ms - moment.monotonic_ms
        before, self._offset_ms = self._offset_ms, offset
        if before is None or abs(offset - before) < 2000:
            if before is not None:
                self._offset_ms = before if abs(offset - before) < 500 else offset
            return 0
        moved = offset - before
        self._due = []
        for slot in self._slots.values():
            state = slot.state
            state.heard_ms += moved if state.heard_ms else 0
            if state.pending_since_ms is not None:
                state.pending_since_ms += moved
            state.window = [(at + moved, value) for at, value in state.window]
            slot.queued_ms = None
            self._queue(slot)
        return moved

    def states(self) -> States:
        """Everything that a new file has to know."""
        found = States()
        for slot in self._slots.values():
            if slot.state.raised or slot.state.pending_since_ms is not None:
                found[slot.key] = msgspec.json.encode(slot.state)
        return {**found, **self.heard_state()}

    def heard_state(self) -> States:
        """When the rules against silence last heard their devices: kept every half minute."""
        heard = {slot.key: slot.state.heard_ms for slot in self._slots.values() if isinstance(slot.rule.when, Missing)}
        return {_HEARD_KEY: msgspec.json.encode(heard)}

    def _queue(self, slot: Slot) -> None:
        due_ms = alarms.next_due_ms(slot.rule, slot.state, slot.silent_ms)
        if due_ms is not None and (slot.queued_ms is None or due_ms < slot.queued_ms):
            slot.queued_ms = due_ms
            heapq.heappush(self._due, (due_ms, next(self._tie), slot))

    def _apply(self, slot: Slot, step: Step, moment: Moment, events: list[AlarmEvent], states: States) -> None:
        if step.change is Change.RAISED:
            slot.state.occurrence = uuid.uuid4().hex
            events.append(_event(slot, step, AlarmPhase.RAISED, moment))
        elif step.change is Change.CLEARED:
            events.append(_event(slot, step, AlarmPhase.CLEARED, moment))
            slot.state.occurrence = ""
        self._queue(slot)
        states[slot.key] = msgspec.json.encode(slot.state)


def _not_after(state: RuleState, now_ms: int) -> None:
    """Nothing was heard later than now: without a clock of its own a gateway starts in its past, and must not wait."""
    state.heard_ms = min(state.heard_ms, now_ms)
    if state.pending_since_ms is not None:
        state.pending_since_ms = min(state.pending_since_ms, now_ms)
    state.window = [(at, value) for at, value in state.window if at <= now_ms]


def _event(slot: Slot, step: Step, phase: AlarmPhase, moment: Moment) -> AlarmEvent:
    return AlarmEvent(
        occurrence=slot.state.occurrence, device=slot.device, kind=slot.rule.kind, severity=slot.rule.severity,
        phase=phase, rule=f"{slot.profile.profile}/{slot.rule.name}", rule_version=slot.profile.version,
        observed_at=step.at_ms, received_at=moment.wall_ms, monotonic_ms=moment.monotonic_ms, clock=moment.clock,
        evidence=step.evidence, drill=slot.drill,
    )  # fmt: skip
