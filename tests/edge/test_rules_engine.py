"""The alarm engine: occurrences, timers that survive, silence, clocks that are set (D7, D8, D11)."""

from __future__ import annotations

from typing import Literal

from edge.clock import Moment
from edge.rules import RuleEngine, States
from firmware_specs.load import BUILTIN, load_profile
from firmware_specs.readings import AlarmEvent, AlarmPhase, Clock, Reading, Severity
from firmware_specs.schema import Above, AlarmRule, Missing, Profile, Text

NOW = 1_790_000_000_000
BASE = load_profile(BUILTIN / "generic-temperature-json.toml")
HOT = AlarmRule(
    name="hot", kind="overheat", severity=Severity.MAJOR, metric="temperature",
    when=Above(kind="above", limit=50, clear=45), for_s=30, title=Text(zh="热", en="Hot"),
)  # fmt: skip


def profile(*rules: AlarmRule) -> Profile:
    return BASE.model_copy(update={"alarms": rules, "interval_s": 10.0, "silence_after_s": None})


def at(seconds: float, offset_ms: int = 0) -> Moment:
    return Moment(NOW + offset_ms + round(seconds * 1000), round(seconds * 1000), Clock.SYNCED)


class Bench:
    """An engine with one device, and what it said and kept."""

    def __init__(self, *rules: AlarmRule, kept: dict[str, bytes] | None = None, when: Moment | None = None) -> None:
        self.engine = RuleEngine()
        self.kept: dict[str, bytes] = dict(kept or {})
        self.events: list[AlarmEvent] = []
        self.engine.restore(self.kept)
        self.take(*self.engine.configure([("d", profile(*rules))], when or at(0)))

    def take(self, events: list[AlarmEvent], states: States) -> None:
        self.events += events
        for key, value in states.items():
            if value is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = value

    def value(self, value: float, moment: Moment, observed_at: int | None = None) -> None:
        events: list[AlarmEvent] = []
        states = States()
        self.engine.follow_clock(moment)
        self.engine.heard("d", moment, events, states)
        observed = moment.wall_ms if observed_at is None else observed_at
        reading = Reading("d", "temperature", value, "Cel", observed, moment.wall_ms)
        self.engine.judge(reading, moment, events, states)
        self.take(events, states)

    def due(self, moment: Moment) -> None:
        self.engine.follow_clock(moment)
        self.take(*self.engine.due(moment))

    def said(self) -> list[tuple[str, Literal["raised", "cleared"]]]:
        return [(e.kind, e.phase.value) for e in self.events]


INSTANT = HOT.model_copy(update={"for_s": 0.0})


def test_D7_repeats_raise_once_and_the_clear_repeats_the_occurrence() -> None:
    bench = Bench(INSTANT)
    for _ in range(1000):
        bench.value(60, at(1), NOW + 1000)
    bench.value(40, at(2))
    bench.value(60, at(3))
    assert bench.said() == [("overheat", "raised"), ("overheat", "cleared"), ("overheat", "raised")]
    first, clear, second = bench.events
    assert first.occurrence == clear.occurrence != second.occurrence
    assert (first.rule, first.rule_version, first.evidence[0].value) == (f"{BASE.profile}/hot", BASE.version, 60)


def test_D11_a_timer_fires_after_a_restart_and_says_how_late() -> None:
    bench = Bench(HOT)
    bench.value(60, at(0))
    assert bench.said() == []
    again = Bench(HOT, kept=bench.kept, when=at(100))
    assert again.engine.next_due_ms() == NOW + 30_000
    again.due(at(100))
    assert again.said() == [("overheat", "raised")]
    assert again.events[0].observed_at == NOW + 30_000
    assert again.engine.lateness_ms == 70_000


def test_D11_a_raised_alarm_stays_the_same_occurrence_over_a_restart() -> None:
    bench = Bench(INSTANT)
    bench.value(60, at(0))
    again = Bench(INSTANT, kept=bench.kept, when=at(50))
    again.value(61, at(51))
    again.value(40, at(52))
    assert again.said() == [("overheat", "cleared")]
    assert again.events[0].occurrence == bench.events[0].occurrence


def test_a_timer_is_ended_by_a_value_that_does_not_fulfil() -> None:
    bench = Bench(HOT)
    bench.value(60, at(0))
    bench.value(44, at(20))
    bench.due(at(29))
    bench.value(60, at(29.5))
    assert bench.said() == []
    bench.due(at(59.4))
    assert ("overheat", "raised") not in bench.said()
    bench.due(at(59.6))
    assert ("overheat", "raised") in bench.said()


def test_D2_silence_is_raised_after_three_intervals_and_cleared_when_heard() -> None:
    bench = Bench()
    bench.value(20, at(5))
    bench.due(at(34.9))
    assert bench.said() == []
    bench.due(at(35.1))
    assert bench.said() == [("device-silent", "raised")]
    assert bench.events[0].severity is Severity.WARNING
    bench.value(20, at(40))
    assert bench.said()[1:] == [("device-silent", "cleared")]
    bench.due(at(69))
    assert len(bench.events) == 2
    bench.due(at(71))
    assert bench.said()[2:] == [("device-silent", "raised")]


def test_D2_a_restart_gives_living_devices_an_interval_to_speak() -> None:
    bench = Bench()
    bench.value(20, at(0))
    bench.take([], bench.engine.heard_state())
    again = Bench(kept=bench.kept, when=at(3600))
    again.due(at(3600))
    assert again.said() == []
    again.due(at(3611))
    assert again.said() == [("device-silent", "raised")]


def test_D8_a_clock_that_is_set_moves_the_timers_along() -> None:
    bench = Bench(HOT)
    jump = -50 * 365 * 86_400_000
    bench.value(60, at(0))
    bench.value(60, at(10, jump))
    bench.due(at(29, jump))
    assert bench.said() == []
    bench.due(at(31, jump))
    assert bench.said()[0] == ("overheat", "raised")
    bench.value(40, at(32, jump))
    assert bench.said()[1] == ("overheat", "cleared")


def test_D8_a_device_clock_in_2099_does_not_blind_a_rule() -> None:
    bench = Bench(INSTANT)
    bench.value(20, at(0), 4_070_908_800_000)
    bench.value(60, at(1))
    bench.value(40, at(2))
    assert bench.said() == [("overheat", "raised"), ("overheat", "cleared")]


def test_a_rule_that_is_configured_away_clears_what_it_raised() -> None:
    bench = Bench(INSTANT)
    bench.value(60, at(0))
    bench.take(*bench.engine.configure([("d", profile())], at(1)))
    assert [(e.phase, e.occurrence) for e in bench.events[1:]] == [(AlarmPhase.CLEARED, bench.events[0].occurrence)]
    assert not any("hot" in key for key in bench.kept)


def test_a_new_configuration_keeps_what_is_known() -> None:
    bench = Bench(INSTANT)
    bench.value(60, at(0))
    bench.take(*bench.engine.configure([("d", profile(INSTANT)), ("e", profile())], at(1)))
    bench.value(60, at(2))
    assert len(bench.events) == 1
    assert set(bench.engine.states()) == {"rule/d/hot", "heard"}


def test_a_training_device_marks_its_alarms_and_a_fire_that_goes_on_in_earnest_is_raised_anew() -> None:
    bench = Bench()
    bench.take(*bench.engine.configure([("d", profile(INSTANT)), ("e", profile(INSTANT))], at(1), {"d"}))
    bench.value(60, at(2))
    bench.take(*bench.engine.configure([("d", profile(INSTANT))], at(3)))
    bench.value(60, at(4))
    told = [(e.phase, e.drill) for e in bench.events]
    assert told == [(AlarmPhase.RAISED, True), (AlarmPhase.CLEARED, True), (AlarmPhase.RAISED, False)]
    assert bench.events[0].occurrence == bench.events[1].occurrence != bench.events[2].occurrence


def heard_later(bench: Bench, moment: Moment) -> None:
    """A frame was heard, of which nothing was judged: all of it was repeats, or it held no value."""
    events: list[AlarmEvent] = []
    states = States()
    bench.engine.heard("d", moment, events, states)
    bench.take(events, states)


def test_D2_a_rule_of_the_profiles_own_against_silence_hears_every_frame() -> None:
    own = AlarmRule(
        name="quiet", kind="device-silent", severity=Severity.MAJOR, metric="temperature",
        when=Missing(kind="missing"), title=Text(zh="静", en="Quiet"),
    )  # fmt: skip
    bench = Bench(own)
    for second in range(0, 90, 10):
        heard_later(bench, at(second))
        bench.due(at(second + 9))
    assert bench.said() == []
    bench.due(at(80 + 31))
    assert bench.said() == [("device-silent", "raised")]
    heard_later(bench, at(115))
    assert bench.said()[1:] == [("device-silent", "cleared")]


def test_D8_a_gateway_that_starts_in_its_past_does_not_wait_for_the_future() -> None:
    """Without a clock of its own it starts in 1970, and what it remembers of before the power cut is ahead of it."""
    bench = Bench(INSTANT)
    bench.value(60, at(0))
    past = -NOW + 5000
    bench.take([], bench.engine.heard_state())
    again = Bench(INSTANT, kept=bench.kept, when=at(1, past))
    again.engine.follow_clock(at(2, past))
    again.value(40, at(4))
    assert again.said() == [("overheat", "cleared")]
    again.due(at(4 + 31))
    assert again.said()[1:] == [("device-silent", "raised")]
