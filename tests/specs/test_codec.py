"""Codecs by profile: layouts that no built-in profile uses, units, limits, and encode as the inverse of decode."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_specs.codec import decode, decoder, encode, node_samples
from firmware_specs.errors import FrameError, ProfileError
from firmware_specs.load import BUILTIN, load_profile
from firmware_specs.readings import Position, Quality, Sample
from firmware_specs.schema import Profile

if TYPE_CHECKING:
    from firmware_specs.readings import Value

NOW = 1_700_000_000_000
TITLE = {"zh": "测试", "en": "Test"}


def profile(codec: dict[str, Any], **metrics: dict[str, Any]) -> Profile:
    return Profile.model_validate(
        {
            "profile": "test-device",
            "version": "1.0",
            "title": TITLE,
            "category": "other",
            "connector": "mqtt",
            "source": "this test",
            "interval_s": 60,
            "codec": codec,
            "metrics": {name: {"title": TITLE, **spec} for name, spec in metrics.items()},
        }
    )


NESTED = profile(
    {
        "kind": "json",
        "time": "head.at",
        "time_unit": "s",
        "fields": {
            "temperature": {"path": "state.temp-raw", "scale": 0.1, "offset": -40},
            "open": {"path": "state.door.open"},
            "label": {"path": "name"},
            "place": {"lat": "fix.lat", "lon": "fix.lon", "accuracy_m": "fix.acc"},
        },
    },
    temperature={"unit": "Cel"},
    open={"type": "bool"},
    label={"type": "text"},
    place={"type": "position"},
)


def test_json_with_paths_scale_and_position() -> None:
    frame = (
        b'{"head":{"at":1732385502.5},"state":{"temp-raw":615,"door":{"open":true}},"name":"a",'
        b'"fix":{"lat":34.26,"lon":108.95,"acc":6}}'
    )
    at = 1732385502500
    assert decode(NESTED, frame, NOW) == [
        Sample("temperature", 615 * 0.1 - 40, at),
        Sample("open", True, at),
        Sample("label", "a", at),
        Sample("place", Position(34.26, 108.95, 6.0), at),
    ]


def test_json_parts_may_be_absent_or_null() -> None:
    read = decoder(NESTED)
    assert read(b"{}", NOW) == []
    assert read(b'{"state":null,"fix":{"lat":null},"name":null}', NOW) == []
    assert read(b'{"fix":{"lat":1,"lon":2,"acc":-1}}', NOW) == [Sample("place", Position(1.0, 2.0, None))]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b'{"fix":{"lat":1}}', "latitude without longitude"),
        (b'{"fix":{"lat":91,"lon":2}}', "no such place: 91, 2"),
        (b'{"state":[]}', "$.state"),
        (b'{"name":"' + b"x" * 257 + b'"}', "$.name"),
        (b'{"name":"\xff"}', "test-device"),
        (b'{"x":' + b"[" * 60000, "recursion"),
        (b" " * 65537, "65537 bytes, more than 65536"),
        (b"", "byte 0"),
    ],
)
def test_json_refusals_name_profile_and_cause(frame: bytes, words: str) -> None:
    with pytest.raises(FrameError, match=r"^test-device: byte \d+: ") as refused:
        decode(NESTED, frame, NOW)
    assert words in str(refused.value)


@pytest.mark.parametrize(("at", "expected"), [("0", None), ("-5", None), ("1e300", None), ("61", 61000)])
def test_a_device_time_that_cannot_be_is_none(at: str, expected: int | None) -> None:
    samples = decode(NESTED, f'{{"head":{{"at":{at}}},"name":"a"}}'.encode(), NOW)
    assert samples == [Sample("label", "a", expected)]


def test_paths_that_contradict_each_other_are_a_profile_error() -> None:
    for fields, words in (
        ({"temperature": {"path": "a"}, "label": {"path": "a"}}, "codec.fields: a: is asked for as two types"),
        ({"temperature": {"path": "a"}, "label": {"path": "a.b"}}, "'a' is a value and an object"),
        ({"temperature": {"path": "a.b"}, "label": {"path": "a"}}, "'a' is a value and an object"),
    ):
        contradictory = profile({"kind": "json", "fields": fields}, temperature={}, label={"type": "text"})
        with pytest.raises(ProfileError) as refused:
            decoder(contradictory)
        assert words in str(refused.value)


BINARY = profile(
    {
        "kind": "binary",
        "length": 16,
        "header": "aa55",
        "checksum": "crc16-modbus",
        "fields": [
            {"metric": "temperature", "offset": 2, "type": "i16", "scale": 0.1},
            {"metric": "count", "offset": 4, "type": "u24"},
            {"metric": "alarm", "offset": 7, "type": "bit", "bit": 3},
            {"metric": "serial", "offset": 8, "type": "bcd", "length": 2},
            {"metric": "level", "offset": 10, "type": "f32"},
        ],
    },
    temperature={"unit": "Cel"},
    count={},
    alarm={"type": "bool"},
    serial={"type": "text"},
    level={},
)


def test_binary_by_hand() -> None:
    """-12.3, 66051 (01 02 03), bit 3 of 08, BCD 1234, 1.5 (3fc00000); CRC-16/MODBUS of the 14 bytes by a table."""
    body = bytes.fromhex("aa55 ff85 010203 08 1234 3fc00000")
    crc = 0xFFFF
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    frame = body + bytes([crc & 0xFF, crc >> 8])
    assert decode(BINARY, frame, NOW) == [
        Sample("temperature", -123 * 0.1),
        Sample("count", 66051.0),
        Sample("alarm", True),
        Sample("serial", "1234"),
        Sample("level", 1.5),
    ]
    for broken, words in (
        (frame[:-1], "byte 15: 15 bytes, not 16"),
        (b"", "byte 0: 0 bytes, not 16"),
        (b"\xab" + frame[1:], "begins with ab55, not aa55"),
        (frame[:5] + b"\xff" + frame[6:], "byte 14: check sum is not"),
    ):
        with pytest.raises(FrameError) as refused:
            decode(BINARY, broken, NOW)
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "text", "order"),
    [
        ("crc16-modbus", "374b", "big"),  # CRC-16/MODBUS of "123456789" is 4B37, low byte first
        ("crc16-ccitt", "29b1", "big"),  # CRC-16/CCITT-FALSE of "123456789" is 29B1
        ("crc16-ccitt", "b129", "little"),
        ("xor8", "31", "big"),  # 31^32^…^39
        ("sum8", "dd", "big"),  # 31+32+…+39 = 1DD
        ("none", "", "big"),
    ],
)
def test_check_sums_have_their_published_check_values(kind: str, text: str, order: str) -> None:
    frame = b"123456789" + bytes.fromhex(text)
    numbered = profile(
        {
            "kind": "binary",
            "length": len(frame),
            "checksum": kind,
            "byte_order": order,
            "fields": [{"metric": "x", "offset": 0, "type": "u8"}],
        },
        x={},
    )
    assert decode(numbered, frame, NOW) == [Sample("x", 49.0)]
    if text:
        with pytest.raises(FrameError, match="check sum is not"):
            decode(numbered, frame[:-1] + bytes([frame[-1] ^ 1]), NOW)


def test_binary_floats_that_are_no_numbers_and_bad_bcd() -> None:
    codec = {
        "kind": "binary",
        "length": 5,
        "byte_order": "little",
        "fields": [
            {"metric": "level", "offset": 0, "type": "f32"},
            {"metric": "serial", "offset": 4, "type": "bcd"},
        ],
    }
    odd = profile(codec, level={}, serial={"type": "text"})
    assert decode(odd, bytes.fromhex("0000c07f12"), NOW) == [
        Sample("level", "nan", None, Quality.BAD),
        Sample("serial", "12"),
    ]
    with pytest.raises(FrameError, match="byte 4: 1a is not BCD"):
        decode(odd, bytes.fromhex("0000c07f1a"), NOW)


SENML = load_profile(BUILTIN / "generic-smoke-senml.toml")


def test_senml_names_are_found_whole_last_part_or_by_the_profile() -> None:
    named = profile(
        {"kind": "senml", "names": {"t1": "temperature", "urn:x:raw": "level"}}, temperature={"unit": "Cel"}, level={}
    )
    pack = b'[{"n":"urn:dev:mac:01:t1","v":1},{"n":"dev/temperature","v":2},{"n":"urn:x:raw","v":3},{"n":"raw","v":4}]'
    assert decode(named, pack, NOW) == [
        Sample("temperature", 1.0),
        Sample("temperature", 2.0),
        Sample("level", 3.0),
    ]


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [("K", 300.0, 300 - 273.15), ("Cel", 20.0, 20.0), ("", 20.0, 20.0)],
)
def test_senml_units_are_brought_to_the_profiles(unit: str, value: float, expected: float) -> None:
    pack = f'[{{"n":"temperature","u":"{unit}","v":{value}}}]'.encode()
    assert decode(SENML, pack, NOW) == [Sample("temperature", expected)]


def test_senml_positions_are_geo_uris() -> None:
    placed = profile({"kind": "senml"}, place={"type": "position"})
    assert decode(placed, b'[{"n":"place","vs":"geo:34.26,108.95;u=6"}]', NOW) == [
        Sample("place", Position(34.26, 108.95, 6.0))
    ]
    with pytest.raises(FrameError, match="no such place"):
        decode(placed, b'[{"n":"place","vs":"geo:94.26,108.95"}]', NOW)


def test_nodes_take_values_as_a_client_reads_them() -> None:
    door = load_profile(BUILTIN / "generic-door-opcua.toml")
    read = node_samples(door)
    assert read({"Open": True, "Other": 1, "Credential": None}, NOW) == [Sample("open", True, NOW)]
    with pytest.raises(FrameError, match="open: a bool is expected, not int"):
        read({"Open": 1}, NOW)
    with pytest.raises(ProfileError, match="'senml' has no nodes"):
        node_samples(SENML)


def test_a_protocol_of_the_edge_is_a_profile_error_here() -> None:
    radio = load_profile(BUILTIN / "kenwood-nexedge.toml")
    with pytest.raises(ProfileError, match="'nexedge' is a protocol of edge/codecs"):
        decoder(radio)
    with pytest.raises(ProfileError, match="protocol of edge/codecs"):
        encode(radio, [], NOW)


numbers = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)
degrees_north = st.floats(-90, 90).map(lambda value: round(value, 9))
degrees_east = st.floats(-180, 180).map(lambda value: round(value, 9))
times = st.integers(2**28 * 1000, 10**13)
values: dict[str, st.SearchStrategy[Value]] = {
    "number": numbers,
    "bool": st.booleans(),
    "text": st.text(max_size=30),
    "position": st.builds(Position, degrees_north, degrees_east, st.none() | st.integers(0, 10**6).map(float)),
}


@st.composite
def sample_sets(draw: st.DrawFn, of: Profile) -> list[Sample]:
    metrics = draw(st.lists(st.sampled_from(sorted(of.metrics)), unique=True))
    return [Sample(metric, draw(values[of.metrics[metric].type])) for metric in metrics]


def same(expected: Sample, got: Sample, at_ms: int | None, tolerance: float) -> bool:
    if (got.metric, got.observed_at, got.quality) != (expected.metric, at_ms, Quality.GOOD):
        return False
    if isinstance(expected.value, Position) and isinstance(got.value, Position):
        return (
            math.isclose(expected.value.lat, got.value.lat, abs_tol=1e-9)
            and math.isclose(expected.value.lon, got.value.lon, abs_tol=1e-9)
            and expected.value.accuracy_m == got.value.accuracy_m
        )
    if isinstance(expected.value, float) and isinstance(got.value, float):
        return math.isclose(expected.value, got.value, rel_tol=1e-9, abs_tol=tolerance)
    return expected.value == got.value


@pytest.mark.parametrize(
    "of",
    [
        NESTED,
        SENML,
        *(load_profile(BUILTIN / f"{name}.toml") for name in ("generic-smoke-coap", "generic-checkin-terminal")),
    ],
    ids=lambda of: str(of.profile),
)
@given(data=st.data(), at_ms=times)
def test_encode_is_the_inverse_of_decode(of: Profile, data: st.DataObject, at_ms: int) -> None:
    sent = data.draw(sample_sets(of))
    heard = {sample.metric: sample for sample in decode(of, encode(of, sent, at_ms, "dev-1/"), NOW)}
    assert set(heard) == {sample.metric for sample in sent}
    assert all(same(sample, heard[sample.metric], at_ms, 1e-6) for sample in sent)


@given(
    temperature=st.integers(-32768, 32767),
    count=st.integers(0, 2**24 - 1),
    alarm=st.booleans(),
    serial=st.from_regex(r"[0-9]{4}", fullmatch=True),
)
def test_encode_is_the_inverse_of_decode_for_binary(temperature: int, count: int, alarm: bool, serial: str) -> None:
    sent = [
        Sample("temperature", temperature * 0.1),
        Sample("count", float(count)),
        Sample("alarm", alarm),
        Sample("serial", serial),
        Sample("level", 0.25),
    ]
    heard = decode(BINARY, encode(BINARY, sent, None), NOW)
    assert all(same(a, b, None, 1e-9) for a, b in zip(sent, heard, strict=True))


def test_encode_says_what_does_not_fit_and_leaves_out_what_json_cannot_say() -> None:
    with pytest.raises(FrameError, match=r"count: byte 4: 16777216\.0 does not fit u24"):
        encode(BINARY, [Sample("count", 2.0**24)], None)
    assert decode(SENML, encode(SENML, [Sample("smoke", "nan"), Sample("alarm", True)], None), NOW) == [
        Sample("alarm", True)
    ]
    coap = load_profile(BUILTIN / "generic-smoke-coap.toml")
    assert decode(coap, encode(coap, [Sample("smoke", "nan")], None), NOW) == [
        Sample("smoke", "nan", None, Quality.BAD)
    ]


def test_samples_of_different_times_stay_so_in_a_pack() -> None:
    sent = [Sample("smoke", 1.0, NOW), Sample("temperature", 2.0, NOW - 1500)]
    assert decode(SENML, encode(SENML, sent, NOW), NOW + 99) == sent
