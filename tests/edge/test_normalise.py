"""Normalising: time, range, repeats, deadband (D7, D8)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import Moment
from edge.normalise import DeviceTracks, normalise
from firmware_specs.load import BUILTIN, load_profile
from firmware_specs.readings import Clock, Quality, Sample

if TYPE_CHECKING:
    from firmware_specs.readings import Reading, Value

NOW = 1_790_000_000_000
PROFILE = load_profile(BUILTIN / "generic-temperature-json.toml")
GNSS = load_profile(BUILTIN / "generic-nmea-gnss.toml")


def tracks() -> DeviceTracks:
    return DeviceTracks("tmp-1", PROFILE)


def moment(wall_ms: int = NOW, clock: Clock = Clock.SYNCED) -> Moment:
    return Moment(wall_ms, 5000, clock)


def one(device: DeviceTracks, value: Value, at: int | None = None, when: Moment | None = None) -> Reading | None:
    found = normalise(device, [Sample("temperature", value, at)], when or moment())
    return found[0][0] if found else None


def test_a_reading_gets_the_profiles_unit_and_the_gateways_times() -> None:
    reading = one(tracks(), 21.5)
    assert reading
    assert (reading.device, reading.unit, reading.observed_at, reading.received_at) == ("tmp-1", "Cel", NOW, NOW)
    assert (reading.quality, reading.clock, reading.monotonic_ms) == (Quality.GOOD, Clock.SYNCED, 5000)


@pytest.mark.parametrize("value", [5000.0, -300.0, "nan", "inf", "-inf"])
def test_bad_values_are_kept_and_marked(value: Value) -> None:
    reading = one(tracks(), value)
    assert reading
    assert (reading.value, reading.quality) == (value, Quality.BAD)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_number_that_a_scale_made_infinite_is_bad_without_a_range_too(value: float) -> None:
    spec = PROFILE.metrics["temperature"].model_copy(update={"minimum": None, "maximum": None})
    reading = one(DeviceTracks("t", PROFILE.model_copy(update={"metrics": {"temperature": spec}})), value)
    assert reading
    assert reading.quality is Quality.BAD


@pytest.mark.parametrize(
    ("at", "kept", "quality", "clock"),
    [
        (NOW - 5000, True, Quality.GOOD, Clock.DEVICE),
        (NOW - 30 * 86_400_000, True, Quality.UNCERTAIN, Clock.DEVICE),
        (1_017_705_600_000, True, Quality.UNCERTAIN, Clock.DEVICE),  # a receiver of 2002
        (2_000_000_000_000, True, Quality.UNCERTAIN, Clock.DEVICE),  # a week counter that rolled over: 2033
        (4_070_908_800_000, True, Quality.UNCERTAIN, Clock.DEVICE),  # 2099
        (0, False, Quality.UNCERTAIN, Clock.SYNCED),
        (86_400_000, False, Quality.UNCERTAIN, Clock.SYNCED),
        (-1, False, Quality.UNCERTAIN, Clock.SYNCED),
        (10**15, False, Quality.UNCERTAIN, Clock.SYNCED),
    ],
)
def test_D8_device_times_are_kept_when_they_can_be_one(at: int, kept: bool, quality: Quality, clock: Clock) -> None:
    reading = one(tracks(), 20.0, at)
    assert reading
    assert (reading.observed_at, reading.quality, reading.clock) == (at if kept else NOW, quality, clock)


def test_D8_an_undisciplined_gateway_does_not_judge_a_devices_clock() -> None:
    reading = one(tracks(), 20.0, NOW, moment(86_400_000, Clock.UNSYNCED))
    assert reading
    assert (reading.observed_at, reading.quality) == (NOW, Quality.GOOD)


def test_D8_clock_jumps_drop_nothing_and_follow_the_clock() -> None:
    device = tracks()
    walls = [NOW, 0, 4_070_908_800_000, NOW + 1, NOW + 3_600_000, NOW + 2, NOW - 3_600_000, NOW + 3]
    readings = [one(device, float(n), None, moment(wall)) for n, wall in enumerate(walls)]
    assert [r.observed_at for r in readings if r] == walls


def test_D7_a_repeat_is_dropped_and_counted_in_any_order() -> None:
    device = tracks()
    frames = [(20.0 + n, NOW + 1000 * n) for n in range(10)]
    assert all(one(device, *frame) for frame in frames)
    assert not any(one(device, *frame) for frame in reversed(frames))
    assert device.repeats == 10


def test_values_without_time_that_come_together_stay_apart_and_in_order() -> None:
    device = tracks()
    times = [r.observed_at for n in range(100) if (r := one(device, float(n % 3)))]
    assert times == list(range(NOW, NOW + 100))


def test_another_value_at_the_same_device_time_stays_visible() -> None:
    device = tracks()
    times = [r.observed_at for value in (20.0, 21.0, 22.0, 21.0) if (r := one(device, value, NOW))]
    assert times == [NOW, NOW + 1, NOW + 2]


def test_D8_values_of_one_second_stay_apart_after_a_clock_that_was_ahead_was_put_right() -> None:
    device = tracks()
    assert one(device, 20.0, NOW + 86_400_000)
    times = [r.observed_at for value in (21.0, 22.0, 21.0, 23.0) if (r := one(device, value, NOW))]
    assert times == [NOW, NOW + 1, NOW + 2]


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(NOW - 5, NOW + 5)), max_size=14))
def test_no_two_new_values_of_a_metric_share_a_time_unless_they_came_late(frames: list[tuple[int, int | None]]) -> None:
    device = tracks()
    newest = 0
    times: list[int] = []
    for value, at in frames:
        reading = one(device, float(value), at)
        if reading and (at is None or at >= newest):
            times.append(reading.observed_at)
        newest = max(newest, at or 0)
    assert len(set(times)) == len(times)


def test_deadband_keeps_what_moved_and_a_heartbeat() -> None:
    spec = PROFILE.metrics["temperature"].model_copy(update={"deadband": 0.5, "heartbeat_s": 60.0})
    device = DeviceTracks("tmp-1", PROFILE.model_copy(update={"metrics": {**PROFILE.metrics, "temperature": spec}}))
    kept = []
    for second, value in [(0, 20.0), (1, 20.2), (2, 20.49), (3, 20.5), (30, 20.6), (64, 20.6), (65, 9999.0)]:
        when = Moment(NOW + second * 1000, second * 1000, Clock.SYNCED)
        ((reading, track),) = normalise(device, [Sample("temperature", value)], when)
        if track.keeps(reading):
            kept.append(second)
    assert kept == [0, 3, 64, 65], "and a bad value is always kept"


def test_a_sample_of_an_unknown_metric_is_left_out() -> None:
    assert normalise(tracks(), [Sample("pressure", 1.0)], moment()) == []
