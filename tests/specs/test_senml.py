"""SenML (RFC 8428): the RFC's own examples, each rule of section 4, and what is refused."""

from __future__ import annotations

import math
import time

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_specs import senml
from firmware_specs.errors import FrameError
from firmware_specs.senml import Record, Resolved, decode_cbor, decode_json, encode_cbor, encode_json, resolve

NOW = 1_700_000_000_000


def test_single_data_point_of_rfc_8428_5_1_1() -> None:
    pack = b'[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]'
    assert decode_json(pack, NOW) == [Resolved("urn:dev:ow:10e2073a01080063", 23.1, "Cel")]


def test_multiple_data_points_of_rfc_8428_5_1_2() -> None:
    pack = b"""[
        {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
        {"n":"current","t":-5,"v":1.2},
        {"n":"current","v":1.7}
    ]"""
    base = "urn:dev:ow:10e2073a0108006:"
    assert decode_json(pack, NOW) == [
        Resolved(base + "voltage", 120.1, "V", 1276020076001),
        Resolved(base + "current", 1.2, "A", 1276020071001),
        Resolved(base + "current", 1.7, "A", 1276020076001),
    ]


def test_names_from_the_base_alone_of_rfc_8428_5_1_3() -> None:
    pack = b"""[
        {"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
        {"u":"lon","v":24.30621},
        {"t":60,"v":20.3}
    ]"""
    name = "urn:dev:ow:10e2073a01080063"
    assert decode_json(pack, NOW) == [
        Resolved(name, 20.0, "%RH", 1320067464000),
        Resolved(name, 24.30621, "lon", 1320067464000),
        Resolved(name, 20.3, "%RH", 1320067524000),
    ]


def test_all_types_of_value_of_rfc_8428_5_1_5() -> None:
    pack = b"""[
        {"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
        {"n":"label","vs":"Machine Room"},{"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}
    ]"""
    assert [record.value for record in decode_json(pack, NOW)] == [23.1, "Machine Room", False, b"hi \n"]


def test_the_cbor_example_of_rfc_8428_6() -> None:
    """Cut after the third record; the head says 83 where the RFC's seven records say 87."""
    pack = bytes.fromhex(
        "83 a7 21 781b 75726e3a6465763a6f773a3130653230373361303130383030363a 22 fb41d303a15b001062 23 6141 20 05"
        "00 67 766f6c74616765 01 6156 02 fb405e066666666666"
        "a3 00 67 63757272656e74 06 24 02 fb3ff3333333333333"
        "a3 00 67 63757272656e74 06 00 02 fb3ffb333333333333"
    )
    base = "urn:dev:ow:10e2073a0108006:"
    assert decode_cbor(pack, NOW) == [
        Resolved(base + "voltage", 120.1, "V", 1276020076001),
        Resolved(base + "current", 1.2, "A", 1276020071001),
        Resolved(base + "current", 1.7, "A", 1276020076001),
    ]


@pytest.mark.parametrize(
    ("pack", "expected"),
    [
        ([Record(n="a", v=1, t=-10)], NOW - 10_000),
        ([Record(n="a", v=1, t=2**28 - 1)], NOW + (2**28 - 1) * 1000),
        ([Record(n="a", v=1, t=2**28)], 2**28 * 1000),
        ([Record(n="a", v=1, bt=1e9, t=1)], 1_000_000_001_000),
        ([Record(n="a", v=1, t=0)], None),
        ([Record(n="a", v=1)], None),
    ],
)
def test_times_below_two_to_the_28_are_relative(pack: list[Record], expected: int | None) -> None:
    assert resolve(pack, NOW)[0].at_ms == expected


def test_base_value_and_sum_are_added_and_stand_alone_where_the_other_is_missing() -> None:
    pack = [
        Record(bn="a", bv=20, bs=100, v=1.5, s=5),
        Record(n="b"),
        Record(bv=-1, bs=0, n="c", v=2),
        Record(n="d", vs="x"),
    ]
    got = resolve(pack, NOW)
    assert [(r.value, r.sum) for r in got] == [(21.5, 105.0), (20.0, 100.0), (1.0, 0.0), ("x", 0.0)]


def test_a_record_of_base_fields_only_gives_nothing_itself() -> None:
    got = resolve(
        [Record(bn="s/", bt=1e9, bu="Cel"), Record(n="t", v=1), Record(bu=""), Record(n="u", v=2, ut=60)], NOW
    )
    assert got == [
        Resolved("s/t", 1.0, "Cel", 1_000_000_000_000),
        Resolved("s/u", 2.0, "", 1_000_000_000_000, None, 60.0),
    ]


def test_a_sum_without_a_value_is_kept() -> None:
    assert resolve([Record(n="e", u="J", s=44)], NOW) == [Resolved("e", None, "J", None, 44.0)]


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (b'[{"n":"a","v":1,"vs":"x"}]', "record 0: more than one value"),
        (b'[{"n":"a","v":1},{"n":"b"}]', "record 1: neither value nor sum"),
        (b'[{"n":"a b","v":1}]', "record 0: name 'a b' is not letters"),
        (b'[{"n":"-a","v":1}]', "name '-a'"),
        (b'[{"v":1}]', "name ''"),
        (b'[{"n":"a\\n","v":1}]', "record 0: name"),
        (b'[{"n":"a","v":1,"t":1e12}]', "record 0: time 1000000000000.0 s is out of range"),
        (b'[{"n":"a","v":1,"t":-1e9}]', "out of range"),
        (b'[{"n":"a","v":1,"bver":11}]', "version 11 is not 1 to 10"),
        (b'[{"n":"a","vd":"#"}]', "vd is not base64url"),
        (b'[{"n":"a","v":1,"x_":0}]', "byte 16: label 'x_' must be understood"),
        (b'[{"n":"a","v":1,"x\\u005f":0}]', "must be understood"),
        (b'[{"n":"a","v":1,"x\\"y_" :0}]', "must be understood"),
        (b'[{"n":"a","v":1,"' + b"x" * 300 + b'_":0}]', "must be understood"),
        (b'{"n":"a","v":1}', "Expected `array`, got `object`"),
        (b'[{"n":"a","v":NaN}]', "byte 14"),
        (b'[{"n":"a","v":1', "byte 15: not a SenML pack: Input data was truncated"),
        (b'[{"n":1}]', "$[0].n"),
        (b'[{"x":' + b"[" * 60000, "recursion"),
        (b" " * 70000, "more than 65536"),
    ],
)
def test_json_refusals_name_the_cause_in_one_line(pack: bytes, words: str) -> None:
    with pytest.raises(FrameError) as refused:
        decode_json(pack, NOW)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (cbor2.dumps({0: "a", 2: 1}), "not an array"),
        (cbor2.dumps([1]), "record 0: not a map"),
        (cbor2.dumps([{0: 1, 2: 1}]), "record 0: n is of the wrong type (int)"),
        (cbor2.dumps([{0: "a", 4: 1}]), "record 0: vb is of the wrong type"),
        (cbor2.dumps([{0: "a", 8: "x"}]), "record 0: vd is of the wrong type"),
        (cbor2.dumps([{0: "a", 2: True}]), "record 0: v is of the wrong type (bool)"),
        (cbor2.dumps([{-1: 1.5, 0: "a", 2: 1}]), "bver is of the wrong type"),
        (cbor2.dumps([{0: "a", 2: 1, "x_": 0}]), "label 'x_' must be understood"),
        (cbor2.dumps([{0: "a", 2: 1}]) + b"\x00", "1 bytes after the pack"),
        (cbor2.dumps([{0: "a", 2: 1}] * 1001), "at most 1000"),
        (cbor2.dumps([{0: "a", 6: math.inf, 2: 1}]), "time inf s is out of range"),
        (bytes.fromhex("81a2 006161 02c48221"), "byte 9"),
        (bytes.fromhex("81a2 006161 02c4821b7fffffffffffffff01"), "not a decimal fraction of a plain size"),
        (bytes.fromhex("81a2 006161 006162"), "Duplicate map key: 0"),
        (b"\x81" * 1000, "nesting depth"),
        (b"\x9b" + b"\xff" * 8, "byte 9"),
        (b"", "byte 0"),
        (b"\x00" * 70000, "more than 65536"),
    ],
)
def test_cbor_refusals_name_the_cause_in_one_line(pack: bytes, words: str) -> None:
    with pytest.raises(FrameError) as refused:
        decode_cbor(pack, NOW)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", [b'\\"' * 10_000, b'_"' * 10_000, b"\\u005f" * 5000, b"\\" * 20_000, b"_" * 20_000])
def test_s8_the_look_for_labels_takes_no_longer_than_the_bytes_are_many(text: bytes) -> None:
    began = time.process_time()
    with pytest.raises(FrameError):
        decode_json(b'[{"n":"' + text + b'_" ', NOW)
    assert time.process_time() - began < 0.5


def test_more_records_than_allowed_are_refused() -> None:
    pack = b"[" + b",".join([b'{"n":"a","v":1}'] * 1001) + b"]"
    with pytest.raises(FrameError, match="1001 records, more than 1000"):
        decode_json(pack, NOW)


def test_a_value_that_ends_like_a_label_is_no_label() -> None:
    assert decode_json(b'[{"n":"a_","vs":"b_","u":"c_"}]', NOW) == [Resolved("a_", "b_", "c_")]


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9\-:./_]{0,20}", fullmatch=True)
times = st.none() | st.floats(min_value=-(2.0**27), max_value=4e9).map(lambda t: round(t, 3))
values = st.one_of(
    st.fixed_dictionaries({"v": numbers}),
    st.fixed_dictionaries({"vs": st.text(max_size=20)}),
    st.fixed_dictionaries({"vb": st.booleans()}),
    st.fixed_dictionaries({"vd": st.binary(max_size=9).map(senml._encode_data)}),
)
records = st.builds(
    lambda value, n, more: Record(n=n, **value, **more),
    values,
    names,
    st.fixed_dictionaries({"u": st.none() | st.text(max_size=5), "t": times, "s": st.none() | numbers}),
)


@given(st.lists(records, max_size=8))
def test_what_is_encoded_is_decoded_again(pack: list[Record]) -> None:
    expected = resolve(pack, NOW)
    assert decode_json(encode_json(pack), NOW) == expected
    assert decode_cbor(encode_cbor(pack), NOW) == expected
