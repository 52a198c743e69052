"""P1 and P2 at the gateway: what a member carries says nothing of where it is outside a shift, unless for an SOS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge.carried import Gate
from edge.clock import GatewayClock
from edge.commands import Downlink
from edge.intake import Intake
from edge.normalise import DeviceTracks
from edge.outbox import Outbox
from firmware_specs.carried import counts_at, within
from firmware_specs.load import BUILTIN, load_profile
from firmware_specs.readings import AlarmEvent, Clock, Lane, Position, Quality, Reading, Sample
from firmware_specs.wire import Ack, Desired, encode_message
from tests.edge.test_outbox import items

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_specs.readings import Item

ARMBAND = load_profile(BUILTIN / "owntracks-armband.toml")
GNSS = load_profile(BUILTIN / "generic-nmea-gnss.toml")
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
HERE = Position(34.2, 108.9, 5.0)


class Bench:
    """An intake on a real outbox, by a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.wall_ms = NOW_MS
        self.outbox = Outbox(folder, "b" * 32)
        clock = GatewayClock(lambda: self.wall_ms * 1_000_000, lambda: self.wall_ms / 1000, lambda: True)
        self.intake = Intake(self.outbox, clock)
        self.downlink = Downlink(self.intake, lambda kept: self.outbox.add((), (), kept))
        self.heard: list[Reading] = []
        self.taken: list[Item] = []
        self.intake.listener = self._listen

    def _listen(self, readings: Sequence[Reading], _events: Sequence[AlarmEvent]) -> None:
        self.heard += readings

    async def open(self) -> None:
        states, _ = await self.outbox.open()
        self.intake.restore(states)
        self.downlink.restore(states)
        self.intake.configure([("arm-1", ARMBAND), ("arm-2", ARMBAND), ("gps-1", GNSS)])

    def fix(self, device: str = "arm-1", *more: Sample) -> None:
        at = self.wall_ms
        self.intake.accept(
            device, [Sample("position", HERE, at), Sample("speed", 1.0, at), Sample("battery", 80.0, at), *more]
        )
        self.wall_ms += 1000

    async def kept(self) -> list[Item]:
        """What ever was in the outbox, both lanes."""
        await self.outbox.settled()
        for lane in Lane:
            while self.outbox.north.has(lane):
                lease = self.outbox.north.lease(lane)
                assert lease
                self.taken += items(lease)
                self.outbox.north.acknowledge(Ack(lease.epoch, lane, lease.through))
        return self.taken

    async def metrics(self, device: str = "arm-1") -> list[str]:
        return [item.metric for item in await self.kept() if isinstance(item, Reading) and item.device == device]


def document(version: int = 1, **carried: Sequence[tuple[int, int]]) -> bytes:
    named = {device.replace("_", "-"): tuple(windows) for device, windows in carried.items()}
    return encode_message(Desired(version, f"h{version}", named, sos_s=1800))


async def test_P1_off_shift_positions_reach_neither_the_outbox_nor_a_listener_nor_a_rule(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.open()
    assert bench.downlink.take(document(arm_1=[(NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS)], gps_1=[]))
    bench.fix()
    bench.fix("arm-2")
    assert await bench.metrics() == ["battery"]
    assert await bench.metrics("arm-2") == ["position", "speed", "battery"], "nobody carries it"
    assert [r.metric for r in bench.heard if r.device == "arm-1"] == ["battery"]
    for _ in range(400):  # longer than its rule against a lost fix waits
        bench.fix("gps-1")
        events, _ = bench.intake.engine.due(bench.intake._clock.now())
        assert [event for event in events if event.device == "gps-1"] == []
    assert await bench.metrics("gps-1") == []
    bench.wall_ms = NOW_MS + HOUR_MS
    bench.fix()
    assert await bench.metrics() == ["battery", "position", "speed", "battery"]
    assert bench.intake.gate.dropped == 2 + 800
    await bench.outbox.close()


async def test_P1_without_a_document_all_passes_and_a_carried_device_without_a_window_never(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.open()
    bench.fix()
    assert await bench.metrics() == ["position", "speed", "battery"]
    bench.downlink.take(document(arm_1=[]))
    bench.fix()
    bench.fix()
    assert (await bench.metrics()).count("position") == 1


async def test_P2_an_sos_lifts_the_limit_for_its_device_from_the_same_frame_on_and_expires(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.open()
    bench.downlink.take(document(arm_1=[], arm_2=[]))
    bench.fix()
    called_at = bench.wall_ms
    bench.fix("arm-1", Sample("sos", True, bench.wall_ms))
    bench.fix("arm-2")
    assert await bench.metrics("arm-2") == ["battery"]
    kept = await bench.kept()
    assert [item.kind for item in kept if isinstance(item, AlarmEvent)] == ["sos"]
    assert [r.observed_at for r in kept if isinstance(r, Reading) and r.metric == "position"] == [called_at]
    bench.wall_ms = called_at + 1_800_000 - 1
    bench.fix()
    bench.fix()
    assert (await bench.metrics()).count("position") == 2, "half an hour after, it counts no more"
    await bench.outbox.close()
    again = Bench(tmp_path)
    await again.open()
    assert within((again.intake.gate.lifted["arm-1"],), called_at)
    await again.outbox.close()


async def test_P1_the_document_holds_over_a_restart_offline(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.open()
    assert bench.downlink.take(document(3, arm_1=[]))
    await bench.outbox.settled()
    await bench.outbox.close()
    again = Bench(tmp_path)
    await again.open()
    again.fix()
    assert again.downlink.version == 3
    assert await again.metrics() == ["battery"]
    await again.outbox.close()


async def test_a_wrong_document_is_counted_and_the_same_again_does_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.open()
    assert bench.downlink.take(document(3, arm_1=[]))
    for wrong in (b"", b"{}", b'{"version":9,"hash":"","carried":{"arm-1":[[5,1]]}}'):
        assert not bench.downlink.take(wrong)
    assert not bench.downlink.take(document(3, arm_1=[]))
    assert (bench.downlink.version, bench.downlink.refused) == (3, 3)
    assert bench.downlink.take(document(2)), "a cloud that was restored counts from before"
    bench.fix()
    assert "position" in await bench.metrics()
    assert msgspec.json.decode(bench.downlink.states()["desired"] or b"")["version"] == 2
    await bench.outbox.close()


def test_the_longest_time_between_two_readings_is_lowered_and_never_raised() -> None:
    tracks = DeviceTracks("arm-1", ARMBAND)
    assert tracks.tracks["battery"].heartbeat_ms == 3_600_000
    tracks.keep_within(60_000)
    assert (tracks.tracks["battery"].heartbeat_ms, tracks.tracks["speed"].heartbeat_ms) == (60_000, 60_000)
    tracks.keep_within(600_000)
    assert (tracks.tracks["battery"].heartbeat_ms, tracks.tracks["speed"].heartbeat_ms) == (600_000, 300_000)
    tracks.keep_within(None)
    assert tracks.tracks["battery"].heartbeat_ms == 3_600_000


async def test_reporting_intervals_hold_by_device_and_for_what_is_configured_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.open()
    bench.downlink.take(encode_message(Desired(1, "h", {}, {"*": 60, "arm-2": 10})))
    bench.intake.configure([("arm-1", ARMBAND), ("arm-2", ARMBAND)])
    lengths = [bench.intake._devices[d].tracks["battery"].heartbeat_ms for d in ("arm-1", "arm-2")]
    assert lengths == [60_000, 10_000]
    await bench.outbox.close()


MINUTES = st.integers(0, 100)
READINGS = st.lists(
    st.tuples(MINUTES, MINUTES, st.sampled_from(Quality), st.sampled_from(Clock), st.booleans()), max_size=20
)


@given(st.lists(st.tuples(MINUTES, MINUTES), max_size=5), READINGS)
def test_P1_whatever_the_shifts_and_times_nothing_passes_outside(
    windows: list[tuple[int, int]], told: list[tuple[int, int, Quality, Clock, bool]]
) -> None:
    gate = Gate()
    gate.hold_to(Desired(1, "h", {"arm-1": tuple(windows)}, sos_s=5))
    tracks = DeviceTracks("arm-1", ARMBAND).tracks
    calls: list[int] = []
    for observed, received, quality, clock, sos in told:
        fix = Reading("arm-1", "position", HERE, "", observed * 1000, received * 1000, 0, quality, clock)
        call = Reading("arm-1", "sos", sos, "", observed * 1000, received * 1000, 0, quality, clock)
        passed = gate.sieve([(fix, tracks["position"]), (call, tracks["sos"])], {})
        calls += [counts_at(call)] if sos else []
        allowed = [*windows, *((at, at + 5000) for at in calls)]
        at = counts_at(fix)
        assert call in [reading for reading, _ in passed]
        if fix in [reading for reading, _ in passed]:
            lasting = any(low <= at for low in calls) and any(at < high + 5000 for high in calls)
            assert within(allowed, at) or lasting
        else:
            assert not within(windows, at)
