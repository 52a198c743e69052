"""The gateway as a device: what it measures of itself, by the profile `patrolgrid-gateway`.

Owns the sources under /proc and /sys; what a machine lacks is left out. Values go the way of every reading.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_specs.readings import Sample

if TYPE_CHECKING:
    from firmware_specs.readings import Value
    from firmware_specs.wire_vitals import Vitals

_MEMINFO = Path("/proc/meminfo")
_THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")


class Health:
    """Measures the machine; loads are means since the last call."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._busy = _busy()
        self._at = time.monotonic()

    def samples(
        self, outbox_waiting: int, outbox_used: float, frames_refused: int, uplink: bool, vitals: Vitals
    ) -> list[Sample]:
        """One sample of each metric. outbox_used: percent of its budget."""
        values: dict[str, Value | None] = {
            "cpu_load": self._cpu_percent(),
            "memory_used": _memory_percent(),
            "disk_free": self._disk_percent(),
            "temperature": _temperature(),
            "clock_offset": None if vitals.clock_offset_ms is None else round(vitals.clock_offset_ms / 1000, 3),
            "disk_wear": _wear_percent(vitals),
            "under_voltage": vitals.under_voltage,
            "outbox_waiting": float(outbox_waiting),
            "outbox_used": round(outbox_used, 1),
            "frames_refused": float(frames_refused),
            "uplink": uplink,
        }
        return [Sample(metric, value) for metric, value in values.items() if value is not None]

    def _cpu_percent(self) -> float | None:
        busy, now = _busy(), time.monotonic()
        if busy is None or self._busy is None or now <= self._at:
            return None
        load = (busy - self._busy) / (now - self._at) / (os.cpu_count() or 1)
        self._busy, self._at = busy, now
        return round(min(100.0, max(0.0, 100 * load)), 1)

    def _disk_percent(self) -> float | None:
        try:
            disk = os.statvfs(self._state_dir)
        except OSError:
            return None
        return round(100 * disk.f_bavail / disk.f_blocks, 1) if disk.f_blocks else None


def _wear_percent(vitals: Vitals) -> float | None:
    """What was written today, of what may be written a day."""
    if not vitals.written or not vitals.written_budget:
        return None
    return round(100 * vitals.written[-1][1] / vitals.written_budget, 1)


def _busy() -> float | None:
    """Seconds that all processors together have been busy since the machine started."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _memory_percent() -> float | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = {line.partition(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
    total, available = sizes.get("MemTotal"), sizes.get("MemAvailable")
    return round(100 * (1 - available / total), 1) if total and available is not None else None


def _temperature() -> float | None:
    try:
        return int(_THERMAL.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None
