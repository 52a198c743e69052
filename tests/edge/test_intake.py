"""From a frame to the outbox: what is judged by which clock (D8), and what is kept of it (D11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import msgspec

from edge.clock import GatewayClock
from edge.intake import Intake
from edge.outbox import Outbox
from edge.outbox_live import MAX_ITEMS
from firmware_specs.load import BUILTIN, load_profile
from firmware_specs.readings import AlarmEvent, AlarmPhase, Lane, Sample
from firmware_specs.wire import Ack
from tests.edge.test_outbox import items
from tests.edge.vfs import Faults, FaultyVFS
from tests.support import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SMOKE = load_profile(BUILTIN / "generic-smoke-senml.toml")
PROBE = load_profile(BUILTIN / "generic-temperature-json.toml")
START_MS = 3_600_000
"""An hour after midnight of 1970: a gateway without a clock of its own."""
NOW_MS = 1_790_000_000_000


class SetClock:
    """A wall clock that is set while the monotonic one runs on."""

    def __init__(self) -> None:
        self.wall_ms = START_MS
        self.monotonic_s = 10.0

    def clock(self) -> GatewayClock:
        return GatewayClock(lambda: self.wall_ms * 1_000_000, lambda: self.monotonic_s, lambda: True)


async def test_D8_a_frame_right_after_the_clock_was_set_does_not_blind_the_rule_against_silence(tmp_path: Path) -> None:
    time = SetClock()
    outbox = Outbox(tmp_path, "b" * 32)
    await outbox.open()
    intake = Intake(outbox, time.clock())
    intake.configure([("d", PROBE)])
    intake.accept("d", [Sample("temperature", 20.0)])
    time.wall_ms, time.monotonic_s = NOW_MS, 11.0
    intake.accept("d", [Sample("temperature", 20.5)])
    due_ms = intake.engine.next_due_ms()
    assert due_ms is not None
    assert due_ms <= NOW_MS + PROBE.silent_after_ms
    await outbox.settled()
    await outbox.close()
    again = Outbox(tmp_path, "b" * 32)
    kept, _ = await again.open()
    await again.close()
    heard = msgspec.json.decode(kept["heard"], type=dict[str, int])
    assert all(NOW_MS - 2000 <= ms <= NOW_MS for ms in heard.values()), "the times of before are kept"


async def test_D9_a_frame_that_nothing_can_keep_is_not_judged_and_counts_once_when_it_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MAX_ITEMS, Lane.TELEMETRY, 10)
    faults = Faults()
    vfs = FaultyVFS("refusing", faults)
    outbox = Outbox(tmp_path, "b" * 32, vfs="refusing")
    try:
        await outbox.open()
        intake = Intake(outbox, GatewayClock())
        intake.configure([("d", SMOKE)])
        await outbox.settled()
        faults.write = apsw.FullError
        told: list[bool] = []
        kept: list[Sample] = []
        for n in range(100):
            sample = Sample("battery", 60.0 + 5 * (n % 2), NOW_MS + n)
            before = told.count(False)
            intake.accept("d", [sample], told.append)
            await outbox.settled()
            kept += [sample] if told.count(False) == before else []
        assert len(kept) == 50
        fire = [Sample("alarm", True, NOW_MS + 200), Sample("battery", 65.0, NOW_MS + 200)]
        for at in range(300, 340):  # more than are remembered as repeats
            intake.accept("d", [Sample("alarm", False, NOW_MS + at)], told.append)
            intake.accept("d", fire, told.append)
        assert not any(told)
        intake.accept("d", [Sample("battery", 70.0, NOW_MS + 400)])
        assert outbox.dropped == 1, "nobody sends it again"
        faults.write = None
        await wait_until(lambda: not outbox.degraded, 5, "the recovery")
        told.clear()
        intake.accept("d", fire, told.append)
        intake.accept("d", [Sample("alarm", False, NOW_MS + 300)], told.append)
        await wait_until(lambda: told == [True, True], 5, "both kept")
        events = []
        while outbox.north.has(Lane.ALARMS):
            await wait_until(lambda: outbox.north.lease(Lane.ALARMS), 5, "what there is of alarms")
            lease = outbox.north.lease(Lane.ALARMS)
            assert lease
            events += [e for e in items(lease) if isinstance(e, AlarmEvent)]
            outbox.north.acknowledge(Ack(lease.epoch, lease.lane, lease.through))
        assert [(e.kind, e.phase) for e in events] == [("fire", AlarmPhase.RAISED), ("fire", AlarmPhase.CLEARED)]
        assert events[0].observed_at == NOW_MS + 200
    finally:
        await outbox.close()
        vfs.unregister()
