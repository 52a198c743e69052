"""Kenwood mobile radios behind one "PC interface" line: FleetSync and NEXEDGE frames and `$PK…` sentences.

Set to "Data + GPS data output": a key-up sends the caller's id, and its last fix follows the end of the call on
FleetSync and the beginning on NEXEDGE. A status goes out with the fix in one sentence. There is no emergency frame:
a status code means it, as the radio was programmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Final, Literal

from firmware_specs.readings import Position
from simulators.peers import nmea
from simulators.peers.pty import Pty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_specs.readings import Sample
    from simulators.device import Device

Flavour = Literal["fleetsync", "nexedge"]
STX: Final = b"\x02"
ETX: Final = b"\x03"
TALK_S: Final = 0.4
"""A key is down this long, and the channel is quiet this long after it."""
_VERSION: Final = "19.20"
_FLEETSYNC_ADDRESS: Final = re.compile(r"(?:(\d{3})\D?)?(\d{4})")
_NEXEDGE_ADDRESS: Final = re.compile(r"[Uu]?(\d{1,5})")


def unit_of(flavour: Flavour, address: str) -> tuple[str, ...]:
    """(fleet, id) of a FleetSync address such as `100-1001`; (`U00002`,) of NEXEDGE's. Raises ValueError."""
    if flavour == "fleetsync":
        match = _FLEETSYNC_ADDRESS.fullmatch(address)
        if match:
            return match[1] or "100", match[2]
    elif match := _NEXEDGE_ADDRESS.fullmatch(address):
        return (f"U{int(match[1]):05d}",)
    raise ValueError(f"{address!r} is no {flavour} unit")


def caller(flavour: Flavour, unit: tuple[str, ...], *, begin: bool) -> bytes:
    """The caller id at the begin or the end of a call; the unit stands in it twice."""
    head = b"I" if flavour == "fleetsync" else b"gI"
    return STX + head + (b"1" if begin else b"0") + "".join(unit).encode() * 2 + ETX


def status_frame(source: int, destination: int, status: int) -> bytes:
    """A NEXEDGE status as the interface shows it: `xE`, source, destination, status."""
    return STX + f"xE{source:09d}{destination:09d}{status:04d}".encode() + ETX


def fix(flavour: Flavour, unit: tuple[str, ...], position: Position, at_ms: int) -> bytes:
    """The short position sentence."""
    time, _ = nmea.clock(at_ms)
    kind = "PKLSH" if flavour == "fleetsync" else "PKNSH"
    return nmea.sentence(kind, *nmea.place(position), time, "A", *unit)


def fix_with_status(flavour: Flavour, unit: tuple[str, ...], position: Position, status: str, at_ms: int) -> bytes:
    """The long sentence: the fields of RMC, the version, the unit, the status."""
    time, date = nmea.clock(at_ms)
    kind = "PKLDS" if flavour == "fleetsync" else "PKNDS"
    motion = ("001.1", "194.9", date, _VERSION, "W00")
    return nmea.sentence(kind, time, "A", *nmea.place(position), *motion, *unit, status, "00", "")


def transmission(flavour: Flavour, unit: tuple[str, ...], samples: Sequence[Sample], at_ms: int) -> list[bytes]:
    """One press of the key: what the line carries when it is pressed and when it is released."""
    values = {sample.metric: sample.value for sample in samples}
    position, status = values.get("position"), values.get("status")
    begin, end = caller(flavour, unit, begin=True), caller(flavour, unit, begin=False)
    if not isinstance(position, Position):
        return [begin, end]
    if isinstance(status, str) and status:
        where = fix_with_status(flavour, unit, position, status, at_ms)
    else:
        where = fix(flavour, unit, position, at_ms)
    return [begin, end + where] if flavour == "fleetsync" else [begin + where, end]


class RadioPeer:
    """A radio gateway on a pty that hears many units, one at a time as on a real channel."""

    def __init__(self, path: Path, flavour: Flavour) -> None:
        self._path = path
        self._flavour = flavour
        self._pty: Pty | None = None
        self._waiting: dict[str, tuple[Sequence[Sample], int]] = {}
        self._wake = asyncio.Event()
        self._channel: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Plug it in."""
        self._pty = Pty(self._path)
        self._channel = asyncio.create_task(self._talk(self._pty), name=f"radio-{self._flavour}")

    async def send(self, device: Device, samples: Sequence[Sample], at_ms: int) -> None:
        """A unit waits for the channel; a newer fix replaces one that still waits, a status never is."""
        waiting = self._waiting.get(device.address)
        if waiting and _has_status(waiting[0]) and not _has_status(samples):
            return
        self._waiting[device.address] = (samples, at_ms)
        self._wake.set()

    async def _talk(self, pty: Pty) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                address = min(self._waiting, key=lambda a: not _has_status(self._waiting[a][0]))
                samples, at_ms = self._waiting.pop(address)
                for part in transmission(self._flavour, unit_of(self._flavour, address), samples, at_ms):
                    pty.write(part)
                    await asyncio.sleep(TALK_S)

    async def stop(self) -> None:
        """Unplug it."""
        if self._channel is not None:
            self._channel.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._channel
        if self._pty:
            self._pty.close()
            self._pty = None


def _has_status(samples: Sequence[Sample]) -> bool:
    return any(sample.metric == "status" for sample in samples)
