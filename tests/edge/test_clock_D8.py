"""D8: the quality of the gateway's clock: the kernel's word, and doubt after a jump."""

from __future__ import annotations

import pytest

from edge.clock import GatewayClock
from firmware_specs.readings import Clock


class _Clocks:
    """Two clocks that run together until one is set."""

    def __init__(self) -> None:
        self.wall_ms = 1_764_000_000_000
        self.monotonic_s = 100.0
        self.disciplined = True
        self.clock = GatewayClock(lambda: self.wall_ms * 1_000_000, lambda: self.monotonic_s, lambda: self.disciplined)

    def after(self, seconds: float, *, jump_ms: int = 0) -> Clock:
        """The quality after some time, in which the wall clock was set by so much."""
        self.monotonic_s += seconds
        self.wall_ms += round(seconds * 1000) + jump_ms
        return self.clock.now().clock


def test_a_disciplined_clock_that_runs_on_is_synced() -> None:
    clocks = _Clocks()
    assert [clocks.after(seconds) for seconds in (0, 1, 30, 3600)] == [Clock.SYNCED] * 4


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000, 1_001, -56 * 31_557_600_000, 73 * 31_557_600_000])
def test_D8_a_jump_is_marked_at_once_and_for_a_minute_whatever_the_kernel_says(jump_ms: int) -> None:
    clocks = _Clocks()
    assert clocks.after(5) is Clock.SYNCED
    assert clocks.after(0.01, jump_ms=jump_ms) is Clock.UNSYNCED
    assert clocks.after(59) is Clock.UNSYNCED
    assert clocks.after(2) is Clock.SYNCED


def test_D8_slewing_is_no_jump() -> None:
    clocks = _Clocks()
    assert {clocks.after(1, jump_ms=2) for _ in range(1000)} == {Clock.SYNCED}


def test_D8_a_clock_that_nobody_disciplines_is_unsynced_within_ten_seconds() -> None:
    clocks = _Clocks()
    assert clocks.after(1) is Clock.SYNCED
    clocks.disciplined = False
    assert clocks.after(10) is Clock.UNSYNCED


def test_D8_the_monotonic_time_ignores_the_wall_clock() -> None:
    clocks = _Clocks()
    before = clocks.clock.now().monotonic_ms
    clocks.after(1, jump_ms=-10_000_000_000)
    assert clocks.clock.now().monotonic_ms == before + 1000
