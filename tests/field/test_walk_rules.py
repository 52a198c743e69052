"""The rules of walk tests: what proves a device, how long its alarms are held, what is no test at all (P3)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.devices.field import rules
from cloud.devices.field.rules import Before, Mark, Proof, Value
from firmware_specs.load import load_profiles

PROFILES, _ = load_profiles()
TIMES = st.integers(0, 10**13)


@pytest.mark.parametrize(
    ("profile", "proof"),
    [
        ("generic-smoke-senml", Proof.ALARM), ("generic-smoke-coap", Proof.ALARM), ("owntracks-armband", Proof.ALARM),
        ("generic-door-opcua", Proof.CHANGE), ("generic-checkin-terminal", Proof.CHANGE),
        ("generic-temperature-json", Proof.READING), ("generic-nmea-gnss", Proof.READING),
    ],
)  # fmt: skip
def test_each_profile_is_tested_in_its_way(profile: str, proof: Proof) -> None:
    assert rules.proof_of(PROFILES[profile]) is proof


def test_a_device_of_no_known_profile_must_raise_an_alarm() -> None:
    assert rules.proof_of(None) is Proof.ALARM


def test_a_fault_is_no_press_of_a_button() -> None:
    assert rules.counts("fire")
    assert rules.counts("door-forced")
    assert not rules.counts("device-silent")
    assert not rules.counts("battery-low")


def test_values_prove_by_the_way_of_the_device() -> None:
    fresh, old = Value(True, 900, 1000), Value(True, 100, 200)
    assert rules.proven(Proof.CHANGE, Before({"open": False}), {"open": fresh}, 500)
    assert rules.proven(Proof.CHANGE, Before({"open": True}), {"open": fresh}, 500) is None
    assert rules.proven(Proof.CHANGE, Before({"open": False}), {"open": old}, 500) is None
    assert rules.proven(Proof.ALARM, Before(), {"smoke": Value(1.0, 900, 1000)}, 500) is None
    assert rules.proven(Proof.ALARM, Before(), {"test": fresh}, 500) == rules.Shown("test", 900, 1000)
    assert rules.proven(Proof.READING, Before(), {"temperature": Value(21.5, 900, 1000)}, 500)
    assert rules.proven(Proof.READING, Before(), {"battery": Value(90.0, 900, 1000)}, 500) is None
    assert rules.proven(Proof.READING, Before(), {"temperature": Value(21.5, 900, 1000, good=False)}, 500) is None


@given(st.one_of(st.none(), TIMES), TIMES)
def test_no_hold_is_longer_than_its_walk_or_three_minutes_from_the_first_alarm(first: int | None, ends: int) -> None:
    held = rules.hold_ends(first, ends)
    assert held <= ends
    assert first is None or held <= first + rules.HOLD_MS


@given(st.lists(TIMES, max_size=40))
def test_a_storm_is_five_first_alarms_within_five_seconds_and_nothing_less(times: list[int]) -> None:
    wanted = any(sum(0 <= other - one <= rules.STORM_MS for other in times) >= rules.STORM for one in times)
    assert rules.is_storm(times) is wanted


def test_somebody_who_walks_is_no_storm() -> None:
    assert not rules.is_storm(range(0, 60_000, 1_300))
    assert rules.is_storm([0, 1000, 2000, 3000, 5000])


@given(TIMES, TIMES, TIMES)
def test_a_latency_is_never_negative(observed: int, received: int, heard: int) -> None:
    assert rules.latency_ms(observed, received, heard) >= 0


def test_a_device_with_a_wrong_clock_is_measured_from_the_gateway_on() -> None:
    assert rules.latency_ms(1_000, 1_400, 1_900) == 900
    assert rules.latency_ms(0, 9_999_999, 10_000_499) == 500


def test_a_walk_is_complete_only_when_every_device_passed() -> None:
    assert rules.tally([Mark.PASSED, Mark.PASSED]).complete
    assert not rules.tally([Mark.PASSED, Mark.UNREACHABLE]).complete
    assert not rules.tally([]).complete


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=8), st.none()), max_size=6))
def test_a_sheet_has_one_form_whatever_the_order_it_was_made_in(data: dict[str, object]) -> None:
    shuffled = dict(sorted(data.items(), reverse=True))
    try:
        said = rules.canonical(data)
    except UnicodeEncodeError:
        return  # a lone surrogate, which `cloud.text.clean` never lets in
    assert said == rules.canonical(shuffled)
    assert json.loads(said) == data


def test_what_is_signed_can_be_nothing_else() -> None:
    said = rules.statement("gw-1", "7", "ab" * 32, 5).decode()
    assert said == f"PatrolGrid acceptance sheet v1\ngateway gw-1\nsheet 7\nsha256 {'ab' * 32}\nat 5\n"
