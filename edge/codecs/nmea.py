"""NMEA 0183 receivers: sentences in, positions with the receiver's own time out.

Owns what the sentences of one epoch mean together. Its rules:
- A sentence counts only with a right check sum; the talker (GP, GN, GL, GA, BD, …) does not matter.
- Times are those of the receiver (`nmea_clock.py`). Before any date is known samples carry none, so the gateway's clock
  applies.
- A sentence that says "no fix" gives no position: the marker does not move. A fix that is dead reckoning, entered by
  hand or simulated is of uncertain quality.
- One position an epoch. A later sentence of the same time of day that says another place (receivers round
  differently from sentence to sentence) is kept as well, one millisecond after the last.
- Accuracy is what GST states (one sigma, both axes), else HDOP x 5 m, else unknown.

Must not know devices, ports or clocks.
Source: protocols.md section 1; fields as gpsd's captures show them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from edge.codecs.lines import Frame, Heard, Refused, degrees, sentence_fields, sentence_scanner
from edge.codecs.nmea_clock import ReceiverClock, time_of_day
from firmware_specs.errors import FrameError, ProfileError
from firmware_specs.readings import Position, Quality, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from firmware_specs.schema import Profile

UERE_M: Final = 5.0
"""Metres of range error that HDOP is multiplied with: single-frequency code receivers without correction."""
KNOT_M_S: Final = 1852 / 3600
SAME_PLACE_DEG: Final = 1e-7
"""About a centimetre: two sentences of one epoch that differ by less say the same."""
_NOT_MEASURED: Final = "EMSN678"
"""Estimated, manual, simulator, none; GGA's digits for the first three."""
EPOCHS_KEPT: Final = 8
PLACES_KEPT: Final = 8
STALE_MS: Final = 5000
"""HDOP and GST of an epoch serve the sentences of the next ones, at most this long."""


class NmeaLine:
    """One receiver on a line."""

    def __init__(self, devices: Mapping[str, Profile]) -> None:
        (self._address, profile), *more = devices.items()
        if more:
            raise ProfileError(profile.profile, "codec.name", "an NMEA line has room for one receiver")
        self._metrics = frozenset(profile.metrics)
        self._scanner = sentence_scanner()
        self._receiver = Receiver()

    def feed(self, chunk: bytes, now_ms: int) -> list[Heard | Refused]:  # noqa: ARG002 - the receiver has its own clock
        """Take the next bytes of the line."""
        out: list[Heard | Refused] = []
        for piece in self._scanner.feed(chunk):
            if not isinstance(piece, Frame):
                out.append(Refused(self._address, piece.raw, FrameError("nmea", 0, piece.reason)))
                continue
            try:
                samples = self._receiver.sentence(sentence_fields(piece))
            except FrameError as e:
                out.append(Refused(self._address, piece.raw, e))
            else:
                out.append(Heard(self._address, [s for s in samples if s.metric in self._metrics]))
        return out

    def settle(self, now_ms: int) -> list[Heard | Refused]:  # noqa: ARG002 - sentences are never held back
        """Nothing is held back."""
        return []


class Receiver:
    """What the sentences of one receiver have said so far."""

    def __init__(self) -> None:
        self._clock = ReceiverClock()
        self._epochs: dict[int, list[tuple[float, float]]] = {}
        self._offsets: dict[int, int] = {}
        self._accuracy: tuple[int, float] | None = None
        self._hdop: tuple[int, float] | None = None
        self._speed_epoch = -1

    def sentence(self, fields: list[str]) -> list[Sample]:
        """The samples of one sentence, none when it says nothing of use. Raises FrameError."""
        name = fields[0]
        reader = _PROPRIETARY.get(",".join(fields[:2])) if name.startswith("P") else _STANDARD.get(name[-3:])
        if reader is None:
            return []
        count, read = reader
        if len(fields) < count:
            raise FrameError("nmea", 0, f"{name} has {len(fields)} fields, {count} are needed")
        return read(self, fields)

    def _fix(self, when: int | None, place: list[str], mode: str) -> list[Sample]:
        """The position that four fields (ddmm.mmmm, N, dddmm.mmmm, E) say, unless its epoch has it already.

        mode: letters of RMC, GLL or GNS, or GGA's digit: how the fix was made; empty when the sentence is older.
        """
        lat = degrees(place[0], place[1], 2, "nmea")
        lon = degrees(place[2], place[3], 3, "nmea")
        quality = Quality.UNCERTAIN if mode and not mode.strip(_NOT_MEASURED) else Quality.GOOD
        if when is None:
            return [Sample("position", Position(lat, lon, None), None, quality)]
        at_ms = self._clock.at(when)
        key = self._clock.instant(when)
        places = self._epochs.get(key)
        if places is None:
            if len(self._epochs) >= EPOCHS_KEPT:
                oldest = next(iter(self._epochs))
                del self._epochs[oldest], self._offsets[oldest]
            places = self._epochs[key] = []
            self._offsets[key] = -1
        if any(abs(lat - a) <= SAME_PLACE_DEG and abs(lon - b) <= SAME_PLACE_DEG for a, b in places):
            return []
        places.append((lat, lon))
        del places[:-PLACES_KEPT]
        self._offsets[key] += 1
        position = Position(lat, lon, self._accuracy_m(key))
        return [Sample("position", position, None if at_ms is None else at_ms + self._offsets[key], quality)]

    def _accuracy_m(self, key: int) -> float | None:
        for known in (self._accuracy, self._hdop):
            if known is not None and abs(key - known[0]) <= STALE_MS:
                return round(known[1], 3)
        return None

    def _motion(self, when: int | None, knots: str, course: str) -> list[Sample]:
        at_ms = None if when is None else self._clock.at(when)
        if when is not None:
            self._speed_epoch = when
        samples = []
        speed, track = _number(knots), _number(course)
        if speed is not None:
            samples.append(Sample("speed", speed * KNOT_M_S, at_ms, unit="m/s"))
        if track is not None:
            samples.append(Sample("course", track, at_ms, unit="deg"))
        return samples

    def _satellites(self, when: int | None, count: str) -> list[Sample]:
        number = _number(count)
        if number is None:
            return []
        return [Sample("satellites", number, None if when is None else self._clock.at(when))]

    def _keep_hdop(self, when: int | None, hdop: str) -> None:
        value = _number(hdop)
        if value is not None and 0 < value < 99 and when is not None:
            self._hdop = (self._clock.instant(when), value * UERE_M)

    def rmc(self, f: list[str]) -> list[Sample]:
        """RMC: time, A|V, place, knots, course, ddmmyy, …, mode."""
        when = time_of_day(f[1])
        if when is not None:
            self._clock.date(when, f[9])
        if f[2] != "A" or _mode(f, 12) == "N" or not f[3]:
            return []
        return self._fix(when, f[3:7], _mode(f, 12)) + self._motion(when, f[7], f[8])

    def gga(self, f: list[str]) -> list[Sample]:
        """GGA: time, place, quality, satellites, HDOP, altitude, …."""
        when = time_of_day(f[1])
        satellites = self._satellites(when, f[7])
        if f[6] in {"", "0"} or not f[2]:
            return satellites
        self._keep_hdop(when, f[8])
        return self._fix(when, f[2:6], f[6]) + satellites

    def gns(self, f: list[str]) -> list[Sample]:
        """GNS: time, place, one mode letter a constellation, satellites, HDOP, …."""
        when = time_of_day(f[1])
        satellites = self._satellites(when, f[7])
        if not f[6].strip("N") or not f[2]:
            return satellites
        self._keep_hdop(when, f[8])
        return self._fix(when, f[2:6], f[6]) + satellites

    def gll(self, f: list[str]) -> list[Sample]:
        """GLL: place, time, A|V, mode."""
        if f[6] != "A" or _mode(f, 7) == "N" or not f[1]:
            return []
        return self._fix(time_of_day(f[5]), f[1:5], _mode(f, 7))

    def vtg(self, f: list[str]) -> list[Sample]:
        """VTG: course, T, magnetic, M, knots, N, …; it belongs to the last epoch, which RMC may have described."""
        last = self._clock.last_time_of_day
        if f[2] != "T" or last == self._speed_epoch or _mode(f, 9) == "N":
            return []
        return self._motion(last, f[5], f[1])

    def zda(self, f: list[str]) -> list[Sample]:
        """ZDA: time, day, month, four digits of year."""
        when = time_of_day(f[1])
        if when is not None and len(f[4]) == 4:
            self._clock.date(when, f[2] + f[3], f[4])
        return []

    def gst(self, f: list[str]) -> list[Sample]:
        """GST: time, …, latitude error m, longitude error m."""
        when = time_of_day(f[1])
        lat_m, lon_m = _number(f[6]), _number(f[7])
        if when is not None and lat_m is not None and lon_m is not None:
            self._accuracy = (self._clock.instant(when), math.hypot(lat_m, lon_m))
        return []

    def pashr_pos(self, f: list[str]) -> list[Sample]:
        """PASHR,POS (Ashtech): quality, satellites, time, place, altitude, …, course, knots, …."""
        if not f[5]:
            return []
        when = time_of_day(f[4])
        return self._fix(when, f[5:9], "") + self._motion(when, f[12], f[11]) + self._satellites(when, f[3])

    def psti_030(self, f: list[str]) -> list[Sample]:
        """PSTI,030 (SkyTraq): time, A|V, place, altitude, velocity east, north, up, ddmmyy, mode."""
        when = time_of_day(f[2])
        if when is not None:
            self._clock.date(when, f[12])
        return self._fix(when, f[4:8], _mode(f, 13)) if f[3] == "A" and f[4] else []


def _mode(fields: list[str], index: int) -> str:
    """The mode letter, empty in sentences older than NMEA 2.3."""
    return fields[index] if len(fields) > index else ""


def _number(text: str) -> float | None:
    """A number, or None for an empty field. Raises FrameError."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as e:
        raise FrameError("nmea", 0, f"{text!r} is not a number") from e
    if not math.isfinite(value):
        raise FrameError("nmea", 0, f"{text!r} is not finite")
    return value


Reader = tuple[int, "Callable[[Receiver, list[str]], list[Sample]]"]
_STANDARD: Final[dict[str, Reader]] = {
    "RMC": (10, Receiver.rmc),
    "GGA": (9, Receiver.gga),
    "GNS": (9, Receiver.gns),
    "GLL": (7, Receiver.gll),
    "VTG": (6, Receiver.vtg),
    "ZDA": (5, Receiver.zda),
    "GST": (8, Receiver.gst),
}
_PROPRIETARY: Final[dict[str, Reader]] = {
    "PASHR,POS": (13, Receiver.pashr_pos),
    "PSTI,030": (13, Receiver.psti_030),
}
