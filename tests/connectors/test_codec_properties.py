"""S8: every codec over arbitrary bytes in arbitrary chunks gives samples or a FrameError, nothing else."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.codecs import frame_decoder, line_codec
from edge.codecs.lines import Heard, Refused, degrees
from firmware_specs.errors import FrameError
from firmware_specs.readings import Position, Sample
from tests.connectors.line_support import NMEA, captures, profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.codecs.lines import LineCodec

RADIO_METRICS = "position@ status! emergency? transmitting? speed course"
FLEETSYNC = profile({"kind": "named", "name": "fleetsync", "emergency_statuses": ["99"]}, metrics=RADIO_METRICS)
NEXEDGE = profile({"kind": "named", "name": "nexedge", "emergency_statuses": ["255"]}, metrics=RADIO_METRICS)
OWNTRACKS = profile(
    {"kind": "named", "name": "owntracks", "sos_field": "sos"}, "mqtt", "position@ speed course altitude battery sos?"
)
JSON = profile({"kind": "json", "fields": {"temperature": {"path": "t"}}}, metrics="temperature")
PULSE = {"metric": "temperature", "offset": 1, "type": "i16"}
BINARY = profile(
    {"kind": "binary", "length": 4, "header": "aa", "checksum": "xor8", "fields": [PULSE]}, metrics="temperature"
)

LINES: dict[str, Callable[[], LineCodec]] = {
    "nmea": lambda: line_codec({"*": NMEA}),
    "radio": lambda: line_codec({"*": FLEETSYNC}),
    "json lines": lambda: line_codec({"*": JSON}, "line", 64),
    "json in nmea": lambda: line_codec({"*": JSON}, "nmea"),
    "json in stx-etx": lambda: line_codec({"*": JSON}, "stx-etx"),
    "binary": lambda: line_codec({"*": BINARY}),
}

NUMBER = st.from_regex(r"-?[0-9]{0,10}(\.[0-9]{0,8})?", fullmatch=True)
FIELD = st.one_of(
    NUMBER, st.sampled_from(["", "A", "V", "Z", "N", "S", "E", "W", "nan", "1e999", "U00002", "٣", "\x00"])
)
NAMES = ["GPRMC", "GNGGA", "GNGNS", "GPGLL", "GPVTG", "GPZDA", "GPGST", "PASHR,POS", "PSTI,030", "PKLSH", "PKNSH"]


@st.composite
def sentences(draw: st.DrawFn) -> bytes:
    """A sentence of a known kind with a right check sum and fields of any kind."""
    name = draw(st.sampled_from([*NAMES, "PKLDS", "PKNDS", "PKNID", "GPXYZ"]))
    body = ",".join([name, *draw(st.lists(FIELD, max_size=18))]).encode("utf-8")
    total = 0
    for byte in body:
        total ^= byte
    return b"$" + body + f"*{total:02X}\r\n".encode()


CALLS = st.from_regex(rb"\x02g?[IEF][01]?U?[0-9]{3,8}U?[0-9]{3,8}\x03", fullmatch=True)
PULSES = st.integers(-(2**15), 2**15 - 1).map(lambda v: _pulse(v.to_bytes(2, "big", signed=True)))
TRAFFIC = st.lists(
    st.one_of(
        st.binary(max_size=40),
        sentences(),
        CALLS,
        PULSES,
        st.sampled_from([b"\r\n", b"$", b"\x02", b"\x03", b'{"t":1}\n']),
    ),
    max_size=12,
).map(b"".join)


def _pulse(value: bytes) -> bytes:
    return b"\xaa" + value + bytes([0xAA ^ value[0] ^ value[1]])


def outcome(codec: LineCodec, chunks: list[bytes]) -> list[str]:
    items = [item for chunk in chunks for item in codec.feed(chunk, 1_700_000_000_000)] + codec.settle(0)
    told = []
    for item in items:
        if isinstance(item, Heard):
            assert item.address == "*"
            check(list(item.samples))
            told.append(repr(item))
        else:
            assert isinstance(item, Refused)
            assert isinstance(item.error, FrameError)
            assert "\n" not in str(item.error)
            told.append(repr((item.address, item.frame, str(item.error))))
    return told


def check(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.observed_at is None or isinstance(sample.observed_at, int)
        if isinstance(sample.value, Position):
            assert -90 <= sample.value.lat <= 90
            assert -180 <= sample.value.lon <= 180


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({c % (len(data) + 1) for c in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@pytest.mark.parametrize("kind", LINES)
@settings(max_examples=150, deadline=None)
@given(data=TRAFFIC, cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_a_line_gives_the_same_however_it_is_cut(kind: str, data: bytes, cuts: list[int]) -> None:
    assert outcome(LINES[kind](), cut(data, cuts)) == outcome(LINES[kind](), [data])


@pytest.mark.parametrize("kind", ["nmea", "radio"])
@settings(max_examples=10, deadline=None)
@given(which=st.sampled_from(["ac12_binary", "triton400", "isync"]), size=st.integers(1, 700))
def test_a_capture_gives_the_same_however_it_is_cut(kind: str, which: str, size: int) -> None:
    data = next(log for log in captures() if log.stem == which).read_bytes()
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert outcome(LINES[kind](), chunks) == outcome(LINES[kind](), [data])


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=4000))
def test_a_line_never_holds_back_more_than_a_frame(data: bytes) -> None:
    codec = line_codec({"*": NMEA})
    held = sum(
        len(item.frame)
        for item in codec.feed(b"$" + data.replace(b"\n", b" ") + b"x" * 600, 0)
        if isinstance(item, Refused)
    )
    assert held > 0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["_type", "lat", "lon", "tst", "acc", "vel", "cog", "alt", "batt", "sos"])
KINDS = st.sampled_from(["location", "transition", "lwt", "encrypted", "card", "x"])
MESSAGES = st.builds(
    lambda fields, kind: json.dumps({"tst": 1_700_000_000, "lat": 1.5, "lon": 2, **fields, "_type": kind}).encode(),
    st.dictionaries(KEYS, VALUES, max_size=8),
    KINDS,
)


@settings(max_examples=400, deadline=None)
@given(frame=st.one_of(st.binary(max_size=200), MESSAGES))
def test_owntracks_gives_samples_or_a_frame_error(frame: bytes) -> None:
    with contextlib.suppress(FrameError):
        check(frame_decoder(OWNTRACKS)(frame, 0))


@settings(max_examples=300, deadline=None)
@given(degree=st.integers(0, 89), minutes=st.integers(0, 59_999_999), hemisphere=st.sampled_from("NS"))
def test_degrees_are_those_of_the_minutes(degree: int, minutes: int, hemisphere: str) -> None:
    text = f"{degree:02d}{minutes / 1e6:09.6f}"
    expected = (degree + minutes / 6e7) * (1 if hemisphere == "N" else -1)
    assert degrees(text, hemisphere, 2, "test") == pytest.approx(expected, abs=1e-9)
