"""From a frame to the outbox: what is judged by which clock (D8), and what is kept of it (D11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.clock import GatewayClock
from edge.intake import Intake
from edge.outbox import Outbox
from firmware_specs.load import BUILTIN, load_profile
from firmware_specs.readings import Sample

if TYPE_CHECKING:
    from pathlib import Path

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
