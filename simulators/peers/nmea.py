"""NMEA 0183 sentences: check sum, coordinates, times, and the two sentences that every receiver sends."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_specs.readings import Position

KNOT_M_S = 1852 / 3600


def sentence(*fields: str) -> bytes:
    """`$A,B,…*hh` and the line end; the check sum is the XOR of what stands between `$` and `*`."""
    body = ",".join(fields).encode("ascii")
    return b"$%s*%02X\r\n" % (body, reduce(lambda a, b: a ^ b, body, 0))


def degrees(value: float, digits: int, positive: str, negative: str) -> tuple[str, str]:
    """Degrees as `ddmm.mmmmm` and hemisphere; digits: of the degrees, 2 for latitude and 3 for longitude."""
    minutes = round(abs(value) * 60, 5)
    whole, rest = divmod(minutes, 60)
    return f"{int(whole):0{digits}d}{rest:08.5f}", positive if value >= 0 else negative


def place(position: Position) -> tuple[str, str, str, str]:
    """Latitude, N or S, longitude, E or W."""
    return *degrees(position.lat, 2, "N", "S"), *degrees(position.lon, 3, "E", "W")


def clock(at_ms: int) -> tuple[str, str]:
    """`hhmmss` and `ddmmyy` UTC."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return at.strftime("%H%M%S"), at.strftime("%d%m%y")


def rmc(position: Position, speed_m_s: float, course: float, at_ms: int) -> bytes:
    """The minimum: place, speed over ground in knots, course, date."""
    time, date = clock(at_ms)
    speed = f"{speed_m_s / KNOT_M_S:05.2f}"
    return sentence("GNRMC", f"{time}.00", "A", *place(position), speed, f"{course:05.1f}", date, "", "", "A")


def gga(position: Position, satellites: int, at_ms: int) -> bytes:
    """The fix: place, satellites, HDOP, height."""
    time, _ = clock(at_ms)
    hdop = (position.accuracy_m or 5.0) / 5.0
    return sentence(
        "GNGGA", f"{time}.00", *place(position), "1", f"{satellites:02d}", f"{hdop:.1f}",
        "412.6", "M", "-29.4", "M", "", "",
    )  # fmt: skip
