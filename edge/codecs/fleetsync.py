"""Kenwood patrol radios: FleetSync and NEXEDGE, whose frames share a line.

Owns the STX…ETX frames and the `$PK…` sentences of the radio's PC interface. Its rules:
- A unit id is `100-1001` (fleet and device, also written `1001001`) for FleetSync, `U00002` (also `00002` or `2`) for
  NEXEDGE.
- Caller ids of different units in one burst are garbled: refused and counted. Begin and end of a call in one burst is
  a bump of the key: the unit is there, nothing else is said. So caller ids wait until the line has been quiet.
- `A` is a fix; `V` is a stale last fix, kept with uncertain quality; `Z` is none.
- A status is given without leading zeros. Which status means an emergency is radio programming, so configuration:
  every status of a unit says at the same time whether it is an emergency.
- Text messages are not ours to read, and say nothing.

Must not know devices, ports or clocks.
Source: protocols.md section 1.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from edge.codecs.lines import Frame, Heard, Refused, Scanner, degrees, sentence_fields, sentence_scanner
from firmware_specs.errors import FrameError, ProfileError
from firmware_specs.layouts import NamedCodec
from firmware_specs.readings import Position, Quality, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from firmware_specs.schema import Profile

KNOT_M_S: Final = 1852 / 3600
MAX_DMR_UNIT: Final = 16_776_415
MAX_CALLS: Final = 50
"""Caller ids of a burst: a line that never falls quiet is judged after so many."""
_STX: Final = re.compile(rb"\x02(g?[FG][^\x02\x03\r\n]{1,200}|[^\x02\x03$\r\n]{1,200})\x03")
"""A text is a frame to its end whatever is written in it: a sentence in it is no unit's position."""
_FLEETSYNC: Final = re.compile(r"(\d{3})[-: ]?(\d{4})")
_NEXEDGE: Final = re.compile(r"U?(\d{1,8})")
_CALL: Final = re.compile(rb"I([01])(\d{3})(\d{4})(\d{3})(\d{4})")
_NEXEDGE_CALL: Final = re.compile(rb"gI([01])U(\d{5,8})U(\d{5,8})")
_NEXEDGE_STATUS: Final = re.compile(rb"[gx]E(\d{9})(\d{9})(\d{4})")
_QUIET: Final = re.compile(rb"[01]|[FG]\d{7}.*|gFG?U?\d{5,8}.*", re.DOTALL)


def fleetsync_unit(fleet: str, device: str) -> str:
    """`100-1001`. Raises FrameError for numbers that FleetSync does not have."""
    digits = (fleet + device).isascii() and fleet.isdigit() and device.isdigit() and len(fleet + device) == 7
    if not (digits and 100 <= int(fleet) <= 349 and 1000 <= int(device) <= 4999):
        raise FrameError("fleetsync", 0, f"fleet {fleet!r}, id {device!r} is not from 100-1000 to 349-4999")
    return f"{int(fleet)}-{int(device)}"


def nexedge_unit(number: str) -> str:
    """`U00002`. Raises FrameError for what is neither an NXDN nor a DMR unit."""
    match = _NEXEDGE.fullmatch(number)
    if match is None or not number.isascii() or not 1 <= int(match[1]) <= MAX_DMR_UNIT:
        raise FrameError("nexedge", 0, f"unit {number!r} is not U00001 to U{MAX_DMR_UNIT}")
    return f"U{int(match[1]):05d}"


def unit_of(profile: Profile, address: str) -> str:
    """The unit that a configured address names; `*` stays. Raises ProfileError."""
    if address == "*":
        return address
    codec = profile.codec
    try:
        if isinstance(codec, NamedCodec) and codec.name == "nexedge":
            return nexedge_unit(address)
        match = _FLEETSYNC.fullmatch(address)
        return fleetsync_unit(match[1], match[2]) if match else fleetsync_unit(address, "")
    except FrameError as e:
        raise ProfileError(profile.profile, "address", e.reason) from e


class _Unit(NamedTuple):
    """A configured radio."""

    address: str
    metrics: frozenset[str]
    emergencies: frozenset[str]


class _Call(NamedTuple):
    """A caller id: its unit, and whether the call begins."""

    unit: str
    begins: bool
    raw: bytes


class RadioLine:
    """A line on which any number of units are heard."""

    def __init__(self, devices: Mapping[str, Profile]) -> None:
        self._units = {unit_of(profile, address): _unit(address, profile) for address, profile in devices.items()}
        self._scanner: Scanner = sentence_scanner(stx=_STX)
        self._calls: list[_Call] = []

    def feed(self, chunk: bytes, now_ms: int) -> list[Heard | Refused]:
        """Take the next bytes of the line."""
        out: list[Heard | Refused] = []
        for piece in self._scanner.feed(chunk):
            if not isinstance(piece, Frame):
                out.append(Refused("", piece.raw, FrameError("radio", 0, piece.reason)))
                continue
            try:
                heard = self._packet(piece) if piece.start == 2 else self._sentence(sentence_fields(piece))
            except FrameError as e:
                out.append(Refused("", piece.raw, e))
            else:
                if heard is not None:
                    out.append(self._named(*heard, piece.raw))
            if len(self._calls) == MAX_CALLS:
                out += self.settle(now_ms)
        return out

    def settle(self, now_ms: int) -> list[Heard | Refused]:  # noqa: ARG002 - the connector watches the time
        """Judge the caller ids of the burst that has ended."""
        calls, self._calls = self._calls, []
        units = {call.unit for call in calls}
        if len(units) > 1:
            raw = b"".join(call.raw for call in calls)
            return [Refused("", raw, FrameError("radio", 0, f"caller ids of {len(units)} units at once: garbled"))]
        if not calls:
            return []
        bump = len({call.begins for call in calls}) == 2
        samples = [] if bump else [Sample("transmitting", calls[-1].begins)]
        return [self._named(calls[-1].unit, samples, calls[-1].raw)]

    def _named(self, unit: str, samples: list[Sample], raw: bytes) -> Heard | Refused:
        known = self._units.get(unit) or self._units.get("*")
        if known is None:
            return Refused("", raw, FrameError("radio", 0, f"unit {unit} is not configured on this line"), unit)
        status = next((sample for sample in samples if sample.metric == "status"), None)
        if status is not None:
            emergency = status.value in known.emergencies
            samples = [*samples, Sample("emergency", emergency, status.observed_at)]
        return Heard(known.address, [sample for sample in samples if sample.metric in known.metrics])

    def _packet(self, frame: Frame) -> tuple[str, list[Sample]] | None:
        body = frame.body
        if match := _CALL.fullmatch(body):
            if match[2] + match[3] != match[4] + match[5]:
                raise FrameError("fleetsync", 2, "the two copies of the unit id differ")
            self._calls.append(_Call(fleetsync_unit(match[2].decode(), match[3].decode()), match[1] == b"1", frame.raw))
        elif match := _NEXEDGE_CALL.fullmatch(body):
            if match[2] != match[3]:
                raise FrameError("nexedge", 3, "the two copies of the unit id differ")
            self._calls.append(_Call(nexedge_unit(match[2].decode()), match[1] == b"1", frame.raw))
        elif match := _NEXEDGE_STATUS.fullmatch(body):
            return nexedge_unit(match[1].decode().lstrip("0")), [_status(match[3].decode(), None)]
        elif not _QUIET.fullmatch(body):
            raise FrameError("radio", 1, "the frame is of no known kind")
        return None

    @staticmethod
    def _sentence(fields: list[str]) -> tuple[str, list[Sample]] | None:
        reader = _SENTENCES.get(fields[0])
        if reader is None:
            return None
        count, read = reader
        if len(fields) < count:
            raise FrameError("radio", 0, f"{fields[0]} has {len(fields)} fields, {count} are needed")
        return read(fields)


def _unit(address: str, profile: Profile) -> _Unit:
    codec = profile.codec
    emergencies = codec.emergency_statuses if isinstance(codec, NamedCodec) else ()
    return _Unit(address, frozenset(profile.metrics), frozenset(status.lstrip("0") or "0" for status in emergencies))


def _status(code: str, at_ms: int | None) -> Sample:
    if not (code.isascii() and code.isdigit() and len(code) <= 4):
        raise FrameError("radio", 0, f"status {code!r} is not a number")
    return Sample("status", code.lstrip("0") or "0", at_ms)


def _place(validity: str, place: list[str], at_ms: int | None) -> list[Sample]:
    """The position: `A` good, `V` stale and uncertain, `Z` none."""
    if validity == "Z" or (validity == "V" and not any(place)):
        return []
    if validity not in {"A", "V"}:
        raise FrameError("radio", 0, f"validity {validity!r} is not A, V or Z")
    position = Position(degrees(place[0], place[1], 2, "radio"), degrees(place[2], place[3], 3, "radio"))
    return [Sample("position", position, at_ms, Quality.GOOD if validity == "A" else Quality.UNCERTAIN)]


def _short(place: list[str], validity: str) -> list[Sample]:
    """PKLSH and PKNSH carry a time of day without a date: the gateway's clock says more."""
    return _place(validity, place, None)


def _pklsh(f: list[str]) -> tuple[str, list[Sample]]:
    """PKLSH: place, hhmmss, A|V|Z, fleet, id."""
    return fleetsync_unit(f[7], f[8]), _short(f[1:5], f[6])


def _pknsh(f: list[str]) -> tuple[str, list[Sample]]:
    """PKNSH: place, hhmmss, A|V|Z, unit."""
    return nexedge_unit(f[7]), _short(f[1:5], f[6])


def _pklds(f: list[str]) -> tuple[str, list[Sample]]:
    """PKLDS: RMC fields, version, fleet, id, status, extension."""
    return fleetsync_unit(f[12], f[13]), _long(f, f[14])


def _pknds(f: list[str]) -> tuple[str, list[Sample]]:
    """PKNDS: RMC fields, version, unit, status, extension."""
    return nexedge_unit(f[12]), _long(f, f[13])


def _pknid(f: list[str]) -> tuple[str, list[Sample]]:
    """PKNID: version, unit, status, extension."""
    return nexedge_unit(f[2]), [_status(f[3], None)] if f[3] else []


def _long(f: list[str], status: str) -> list[Sample]:
    """1 hhmmss, 2 validity, 3-6 place, 7 knots, 8 course, 9 ddmmyy; a status when there is one."""
    at_ms = _time(f[9], f[1]) if f[2] == "A" else None
    samples = _place(f[2], f[3:7], at_ms)
    if f[2] == "A":
        for metric, text, factor, unit in (("speed", f[7], KNOT_M_S, "m/s"), ("course", f[8], 1.0, "deg")):
            if text:
                samples.append(Sample(metric, _number(text) * factor, at_ms, unit=unit))
    if status:
        samples.append(_status(status, at_ms))
    return samples


def _time(date: str, time_of_day: str) -> int | None:
    """Milliseconds UTC from ddmmyy and hhmmss, None when either is empty. Raises FrameError."""
    if not date or not time_of_day:
        return None
    digits = date + time_of_day.partition(".")[0]
    try:
        if not (digits.isascii() and digits.isdigit() and len(digits) == 12):
            raise ValueError("not twelve digits")  # noqa: TRY301 - one wording for both
        return int(datetime.strptime(digits, "%d%m%y%H%M%S").replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError as e:
        raise FrameError("radio", 0, f"{date!r} {time_of_day!r} is not ddmmyy hhmmss") from e


def _number(text: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{0,6})?", text, re.ASCII):
        raise FrameError("radio", 0, f"{text!r} is not a number")
    return float(text)


_SENTENCES: Final[dict[str, tuple[int, Callable[[list[str]], tuple[str, list[Sample]]]]]] = {
    "PKLSH": (9, _pklsh),
    "PKNSH": (8, _pknsh),
    "PKLDS": (15, _pklds),
    "PKNDS": (14, _pknds),
    "PKNID": (4, _pknid),
}
