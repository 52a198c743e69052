"""What the gateway tells of its machine within its status: disk, wear, certificate, clock, supply, starts.

Owns the sources and how often each is asked: a certificate hourly, everything else at each status that is told. What a
machine lacks is left out. `renewal` is set by who renews the certificate: why that failed, empty when it did not.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge.clock import offset_ms
from edge.wear import Wear
from firmware_specs.wire_vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.config import GatewayConfig
    from edge.starts import Starts

_CERTIFICATE_EVERY_MS: Final = 3_600_000
_THROTTLED: Final = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
"""Of a Raspberry Pi: bit 0 is under-voltage now."""
_HWMON: Final = Path("/sys/class/hwmon")


class VitalSigns:
    """See the module."""

    def __init__(self, state_dir: Path, boot: str, starts: Starts, now_ms: Callable[[], int]) -> None:
        self._folder = state_dir
        self._starts = starts
        self._now_ms = now_ms
        self._wear = Wear(state_dir, boot)
        self._certificate: tuple[str, int, tuple[int, int] | None] = ("", 0, None)
        self.renewal = ""

    def now(self, config: GatewayConfig) -> Vitals:
        """As it is now."""
        now = self._now_ms()
        wear = self._wear.look(now)
        free, size = self._disk()
        valid = self._validity(config.uplink.cert, now)
        return Vitals(
            uptime_s=_uptime_s(),
            clock_offset_ms=offset_ms(),
            disk_free=free,
            disk_size=size,
            written=wear.days,
            written_by=wear.last.by if wear.last else "",
            written_budget=config.health.written_mb_day * 1_000_000,
            certificate_from_ms=valid[0] if valid else None,
            certificate_until_ms=valid[1] if valid else None,
            renewal=self.renewal[:256],
            memory=_resident(),
            under_voltage=_under_voltage(),
            starts=self._starts.latest,
        )

    def _disk(self) -> tuple[int | None, int | None]:
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return None, None
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    def _validity(self, file: Path | None, now_ms: int) -> tuple[int, int] | None:
        """From when until when our certificate holds; looked at when it changed, and every hour."""
        if file is None:
            return None
        try:
            mark = f"{file} {file.stat().st_mtime_ns}"
        except OSError:
            return None
        if self._certificate[0] != mark or abs(now_ms - self._certificate[1]) > _CERTIFICATE_EVERY_MS:
            self._certificate = (mark, now_ms, _read_validity(file))
        return self._certificate[2]


def _read_validity(file: Path) -> tuple[int, int] | None:
    from cryptography import x509  # noqa: PLC0415 - only where there are certificates

    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return None
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return max(0, int(begin.timestamp() * 1000)), max(0, int(end.timestamp() * 1000))


def _uptime_s() -> int | None:
    try:
        return int(float(Path("/proc/uptime").read_text(encoding="ascii").split()[0]))
    except (OSError, ValueError, IndexError):
        return None


def _resident() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _under_voltage() -> bool | None:
    """What the board says of its supply; None when it says nothing."""
    with contextlib.suppress(OSError, ValueError):
        return bool(int(_THROTTLED.read_text(encoding="ascii").strip(), 16) & 1)
    with contextlib.suppress(OSError, ValueError):
        for chip in sorted(_HWMON.glob("hwmon*")):
            if (chip / "name").read_text(encoding="ascii").strip() == "rpi_volt":
                return bool(int((chip / "in0_lcrit_alarm").read_text(encoding="ascii")))
    return None
