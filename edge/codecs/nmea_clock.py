"""The time of an NMEA receiver, which tells the time of day in every sentence and the date in some.

Owns how they are joined: a date of RMC, ZDA or PSTI counts, and between dates the day nearest to the last time, so that
midnight is crossed. The receiver's year is kept as it is: a receiver whose weeks have rolled over is seen to be wrong.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from firmware_specs.errors import FrameError

DAY_MS: Final = 86_400_000


class ReceiverClock:
    """Joins the receiver's times of day with its dates."""

    def __init__(self) -> None:
        self._last_ms: int | None = None
        self.last_time_of_day: int | None = None

    def date(self, time_of_day: int, day_month: str, year: str = "") -> None:
        """Learn a date: ddmmyy, or ddmm and a year of four digits. An empty or impossible one teaches nothing."""
        digits = day_month + year
        if not (digits.isascii() and digits.isdigit() and len(digits) in {6, 8}):
            return
        two = int(digits[4:])
        full = two if year else two + (1900 if two >= 80 else 2000)
        try:
            midnight = datetime(full, int(digits[2:4]), int(digits[:2]), tzinfo=UTC)
        except ValueError:
            return
        self._last_ms = round(midnight.timestamp() * 1000) + time_of_day

    def at(self, time_of_day: int) -> int | None:
        """The time, milliseconds UTC, or None before any date is known."""
        self.last_time_of_day = time_of_day
        if self._last_ms is None:
            return None
        self._last_ms = self.instant(time_of_day)
        return self._last_ms

    def instant(self, time_of_day: int) -> int:
        """The same without moving on; before any date the time of day itself, which serves to tell epochs apart."""
        if self._last_ms is None:
            return time_of_day
        days = round((self._last_ms - time_of_day) / DAY_MS)
        return days * DAY_MS + time_of_day


def time_of_day(text: str) -> int | None:
    """Milliseconds since midnight from `hhmmss.sss`; None when it is empty. Raises FrameError."""
    if not text:
        return None
    whole, _, fraction = text.partition(".")
    if not (text.isascii() and len(whole) == 6 and (whole + fraction).isdigit()):
        raise FrameError("nmea", 0, f"{text!r} is not hhmmss.sss")
    hours, minutes, seconds = int(whole[:2]), int(whole[2:4]), int(whole[4:])
    if hours > 23 or minutes > 59 or seconds > 60:
        raise FrameError("nmea", 0, f"{text!r} is not a time of day")
    since = timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=int((fraction + "000")[:3]))
    return since // timedelta(milliseconds=1)
