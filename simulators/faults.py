"""Faults between a client and a server: drop, repeat, corrupt, reorder, and clocks that lie.

Owns faults that compose: each takes one unit (a chunk of bytes, or a whole MQTT packet) and gives what passes in its
place. All are deterministic for a seed. What cuts and holds links is the proxy that they run in, `proxy.py`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PUBLISH: Final = 3


class Fault(Protocol):
    """What happens to one unit on its way."""

    def __call__(self, unit: bytes) -> list[bytes]:
        """What passes in place of the unit, in order."""


class Drop:
    """A share of the units vanishes."""

    def __init__(self, share: float, seed: int = 0) -> None:
        self.share = share
        self.dropped = 0
        self._random = random.Random(seed)

    def __call__(self, unit: bytes) -> list[bytes]:
        """Nothing or the unit."""
        if self._random.random() < self.share:
            self.dropped += 1
            return []
        return [unit]


class Repeat:
    """A share of the units comes `times` times more."""

    def __init__(self, share: float, times: int = 1, seed: int = 0) -> None:
        self.share = share
        self.times = times
        self.repeated = 0
        self._random = random.Random(seed)

    def __call__(self, unit: bytes) -> list[bytes]:
        """The unit, once or more."""
        if self._random.random() < self.share:
            self.repeated += self.times
            return [unit] * (1 + self.times)
        return [unit]


class Corrupt:
    """A share of the units has one bit flipped in its last bytes, where an MQTT packet's payload is."""

    def __init__(self, share: float, seed: int = 0) -> None:
        self.share = share
        self.corrupted = 0
        self._random = random.Random(seed)

    def __call__(self, unit: bytes) -> list[bytes]:
        """The unit, perhaps with a wrong bit."""
        if not unit or self._random.random() >= self.share:
            return [unit]
        self.corrupted += 1
        damaged = bytearray(unit)
        damaged[-1 - self._random.randrange((len(unit) + 1) // 2)] ^= 1 << self._random.randrange(8)
        return [bytes(damaged)]


class Reorder:
    """Units wait until there are `depth` of them and leave in a random order."""

    def __init__(self, depth: int, seed: int = 0) -> None:
        self.depth = depth
        self._held: list[bytes] = []
        self._random = random.Random(seed)

    def __call__(self, unit: bytes) -> list[bytes]:
        """Nothing yet, or all that waited."""
        self._held.append(unit)
        return self.flush() if len(self._held) >= self.depth else []

    def flush(self) -> list[bytes]:
        """All that waits."""
        held, self._held = self._held, []
        self._random.shuffle(held)
        return held


class Chain:
    """Faults one after the other."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = faults

    def __call__(self, unit: bytes) -> list[bytes]:
        """What is left after the last of them."""
        units = [unit]
        for fault in self._faults:
            units = [passed for one in units for passed in fault(one)]
        return units


class Skew:
    """A clock that lies: a true clock plus what is said for the time since it started.

    jumps: (after seconds, offset in seconds), ascending; before the first the clock is right.
    """

    def __init__(self, now_ms: Callable[[], int], jumps: Sequence[tuple[float, float]]) -> None:
        self._now_ms = now_ms
        self._jumps = tuple(jumps)
        self._began_ms = now_ms()

    def __call__(self) -> int:
        """Milliseconds UTC, as the liar has them; never before 1970."""
        now_ms = self._now_ms()
        offsets = [offset for after, offset in self._jumps if now_ms - self._began_ms >= after * 1000]
        return max(0, now_ms + round(1000 * (offsets[-1] if offsets else 0)))


class MqttPublishes:
    """Apply a fault to whole PUBLISH packets of one direction of one connection; every other packet passes."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._rest = b""

    def __call__(self, unit: bytes) -> list[bytes]:
        """The packets that are complete now."""
        passed: list[bytes] = []
        self._rest += unit
        while (size := packet_size(self._rest)) and size <= len(self._rest):
            packet, self._rest = self._rest[:size], self._rest[size:]
            passed += self._fault(packet) if packet[0] >> 4 == _PUBLISH else [packet]
        return passed


def packet_size(data: bytes) -> int:
    """Bytes of the MQTT packet that data begins with, 0 when its length is not there yet (MQTT 5, 1.5.5)."""
    size = 0
    for index in range(1, min(len(data), 5)):
        size |= (data[index] & 0x7F) << (7 * (index - 1))
        if not data[index] & 0x80:
            return 1 + index + size
    return 0
