"""Whose positions may exist now: the gate that what a patrol member carries passes before anything else (P1, P2).

Owns what is carried with its windows, and the SOS overrides. A device that nobody carries is not its business. What is
carried passes within its windows, and for a while after an SOS of its own; otherwise its positions, and the speed and
course that go with them, are dropped before a rule, a listener or the disk has them. What cannot be known, such as the
windows of a document that has run out, counts as off shift. Pure memory: states are handed out to be kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from firmware_specs.carried import counts_at, lifted, sos_at, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge.normalise import Track
    from firmware_specs.carried import Window
    from firmware_specs.readings import AlarmEvent, Reading
    from firmware_specs.wire import Desired

SOS_KEY: Final = "lifted"
_read_lifted = msgspec.json.Decoder(dict[str, tuple[int, int]]).decode
States = dict[str, bytes | None]


class Gate:
    """See the module."""

    def __init__(self) -> None:
        self.windows: Mapping[str, tuple[Window, ...]] = {}
        """By carried device; empty until a document says what is carried."""
        self.lifted: dict[str, Window] = {}
        """By device: from when until when an SOS has lifted its limit."""
        self.dropped = 0
        """Readings that did not pass, since the start."""
        self._sos_ms = 0

    def restore(self, kept: Mapping[str, bytes]) -> None:
        """Take up the overrides of an earlier run; one that cannot be read is none."""
        if SOS_KEY in kept:
            try:
                self.lifted = _read_lifted(kept[SOS_KEY])
            except msgspec.DecodeError:
                self.lifted = {}

    def hold_to(self, desired: Desired) -> None:
        """Serve this document from now on."""
        self.windows = desired.carried
        self._sos_ms = desired.sos_s * 1000

    def sieve(self, readings: list[tuple[Reading, Track]], states: States) -> list[tuple[Reading, Track]]:
        """What passes of one frame of a carried device. An SOS in it counts for it."""
        self.hear((reading for reading, _ in readings), states)
        passed = [pair for pair in readings if not pair[1].track or self._passes(pair[0])]
        self.dropped += len(readings) - len(passed)
        return passed

    def _passes(self, reading: Reading) -> bool:
        at_ms = counts_at(reading)
        override = self.lifted.get(reading.device)
        return within(self.windows[reading.device], at_ms) or (override is not None and within((override,), at_ms))

    def hear(self, items: Iterable[Reading | AlarmEvent], states: States) -> None:
        """Lift the limit of a carried device that calls an SOS; whoever calls on is given the time anew."""
        for item in items:
            at_ms = sos_at(item)
            if at_ms is None or item.device not in self.windows:
                continue
            self.lifted[item.device] = lifted(self.lifted.get(item.device), at_ms, self._sos_ms)
            states.update(self.states())

    def states(self) -> States:
        """Everything that a new file has to know."""
        return {SOS_KEY: msgspec.json.encode(self.lifted)} if self.lifted else {}
