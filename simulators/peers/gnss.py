"""A GNSS receiver on a pty: GGA and RMC each second or as often as its device reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_specs.readings import Position
from simulators.peers import nmea
from simulators.peers.pty import Pty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_specs.readings import Sample
    from simulators.device import Device


def sentences(samples: Sequence[Sample], at_ms: int) -> bytes:
    """What a receiver says of these samples; nothing without a position."""
    values = {sample.metric: sample.value for sample in samples}
    position = values.get("position")
    if not isinstance(position, Position):
        return b""
    speed, course, satellites = (float(str(values.get(m, 0.0))) for m in ("speed", "course", "satellites"))
    return nmea.gga(position, round(satellites), at_ms) + nmea.rmc(position, speed, course, at_ms)


class GnssPeer:
    """The only device of its line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pty: Pty | None = None

    async def start(self) -> None:
        """Plug it in."""
        self._pty = Pty(self._path)

    async def send(self, device: Device, samples: Sequence[Sample], at_ms: int) -> None:
        """Write one fix."""
        del device
        if self._pty:
            self._pty.write(sentences(samples, at_ms))

    async def stop(self) -> None:
        """Unplug it."""
        if self._pty:
            self._pty.close()
            self._pty = None
