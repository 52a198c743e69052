"""The wire between gateway and cloud: vectors written by hand, limits, and decoding what was encoded."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_specs import zstd
from firmware_specs.errors import PackError
from firmware_specs.readings import (
    AlarmEvent,
    AlarmPhase,
    Clock,
    Evidence,
    GapReason,
    GapReport,
    Lane,
    Position,
    Quality,
    Reading,
    Severity,
)
from firmware_specs.wire import (
    Ack,
    LaneStatus,
    PackHeader,
    Reported,
    ReportedDevice,
    Status,
    decode_ack,
    decode_pack,
    decode_reported,
    decode_status,
    encode_item,
    encode_message,
    encode_pack,
    geo,
    parse_geo,
    split_topic,
    up_topic,
)
from firmware_specs.wire_items import decode_items

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_specs.readings import Item

HEADER = PackHeader("e1", Lane.TELEMETRY, 7, 1, 5, "b1")
PROPERTIES = [("epoch", "e1"), ("first", "7"), ("count", "1"), ("base", "5"), ("boot", "b1")]
T = 1_732_385_502_123

VECTORS: list[tuple[str, Item]] = [
    (
        '{"n":"smk-1/smoke","u":"%obs/m","v":0.7,"t":1732385502.123,"rt":1732385502200,"mt":5000}',
        Reading("smk-1", "smoke", 0.7, "%obs/m", T, 1732385502200, 5000),
    ),
    (
        '{"n":"smk-1/alarm","vb":true,"t":1732385502.123,"rt":1,"q":"uncertain","ck":"unsynced"}',
        Reading("smk-1", "alarm", True, "", T, 1, 0, Quality.UNCERTAIN, Clock.UNSYNCED),
    ),
    (
        '{"n":"arm-1/position","u":"geo","vs":"geo:34.264900000,108.720300000;u=6.00","t":1732385502.123,"rt":1}',
        Reading("arm-1", "position", Position(34.2649, 108.7203, 6.0), "", T, 1),
    ),
    (
        '{"n":"a/b","vs":"nan","tms_":61000,"rt":1,"q":"bad"}',
        Reading("a", "b", "nan", "", 61000, 1, 0, Quality.BAD),
    ),
    (
        ('{"n":"smk-1","t":1732385502.123,"rt":1732385502200,"mt":5000,"alarm_":{"id":"o1","kind":"fire",'
        '"sev":"critical","phase":"raised","rule":"generic-smoke-senml/smoke-high","ver":"1.0",'
        '"ev":[["smoke",9.5,1732385502123],["position","geo:1.000000000,2.000000000",5]],"drill":true}}'),
        AlarmEvent(
            "o1", "smk-1", "fire", Severity.CRITICAL, AlarmPhase.RAISED, "generic-smoke-senml/smoke-high", "1.0", T,
            1732385502200, 5000, Clock.SYNCED,
            (Evidence("smoke", 9.5, T), Evidence("position", Position(1.0, 2.0), 5)), True,
        ),
    ),
    (
        '{"n":"gap","gap_":{"lane":"telemetry","epoch":"e0","count":12,"reason":"thinned","t0":1,"t1":2}}',
        GapReport(Lane.TELEMETRY, "e0", 12, GapReason.THINNED, 1, 2),
    ),
    (
        '{"n":"gap","gap_":{"lane":"alarms","epoch":"","count":0,"reason":"quarantined"}}',
        GapReport(Lane.ALARMS, "", 0, GapReason.QUARANTINED),
    ),
]  # fmt: skip


def pack(*records: str, count: int | None = None) -> list[tuple[int, Item]]:
    properties = [(k, str(len(records) if count is None else count) if k == "count" else v) for k, v in PROPERTIES]
    return list(decode_pack("telemetry", properties, f"[{','.join(records)}]".encode()).items)


@pytest.mark.parametrize(("text", "item"), VECTORS, ids=[text[:24] for text, _ in VECTORS])
def test_vectors(text: str, item: Item) -> None:
    assert json.loads(encode_item(item)) == json.loads(text)
    assert pack(text) == [(7, item)]


def test_a_pack_says_its_header_in_user_properties() -> None:
    payload, properties = encode_pack(HEADER, [VECTORS[0][0].encode()])
    assert payload == f"[{VECTORS[0][0]}]".encode()
    assert properties == PROPERTIES
    decoded = decode_pack("telemetry", properties, payload)
    assert decoded.header == HEADER
    assert decoded.header.through == 7


def test_an_empty_pack_is_the_canary() -> None:
    canary = PackHeader("e1", Lane.ALARMS, 9, 0, 9, "b1")
    payload, properties = encode_pack(canary, [])
    decoded = decode_pack("alarms", properties, payload)
    assert (decoded.items, decoded.header.through) == ((), 8)


def test_large_packs_are_compressed_and_a_thinned_pack_keeps_its_sequence() -> None:
    items = [Reading("d", "m", float(n), "", T + n, T + n) for n in range(100)]
    header = PackHeader("e1", Lane.TELEMETRY, 1, 1000, 1, "b1")
    payload, properties = encode_pack(header, [encode_item(item, n * 10) for n, item in enumerate(items)])
    assert ("encoding", "zstd") in properties
    assert len(payload) < 4096
    decoded = decode_pack("telemetry", properties, payload)
    assert decoded.items == tuple((1 + n * 10, item) for n, item in enumerate(items))


GOOD = VECTORS[0][0]


def changed(**fields: object) -> str:
    """The first vector with other fields; None takes one away."""
    record = {**json.loads(GOOD), **fields}
    return json.dumps({key: value for key, value in record.items() if value is not None})


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (changed(v=None), "record 0: no value"),
        (changed(t=None), "record 0: no time"),
        (changed(t=5), "record 0: time 5.0 s is relative"),
        (changed(t=1e12), "record 0: time"),
        (changed(tms_=2**60), "$[0].tms_"),
        (changed(rt=2**60), "$[0].rt"),
        (changed(n="smk-1"), "record 0: name 'smk-1' is not <device>/<metric>"),
        (changed(n="smk-1/a/b"), "is not <device>/<metric>"),
        (changed(n="smk-1/Smoke,x=1"), "is not <device>/<metric>"),
        (changed(n="sm k/smoke"), "record 0: 'sm k' is not a name"),
        (changed(n="smk-1\n/smoke"), "is not a name"),
        (changed(n="x" * 200 + "/smoke"), "$[0].n"),
        (changed(q="fine"), "$[0].q"),
        (changed(bver=11), "$[0].bver"),
        (changed(bn="x/"), "$[0].bn"),
        (changed(vs="x" * 5000, v=None), "$[0].vs"),
        (changed(vs="geo:99,0", v=None, u="geo"), "record 0: no such place"),
        (changed(vs="here", v=None, u="geo"), "record 0: not a geo URI"),
        (changed(sq=5), "record 0: sequence missing, out of order or outside the pack"),
        (changed(sq=-1), "$[0].sq"),
        (changed(seal_=1), "label 'seal_' must be understood"),
        (GOOD.replace('"mt"', '"tms\\u005f"'), "must be understood"),
        (GOOD.replace('"mt"', '"x\\"tms_"'), "must be understood"),
        (GOOD.replace('"mt"', f'"{"x" * 300}_"'), "must be understood"),
        (VECTORS[4][0].replace('"o1"', '"o 1"'), "record 0: 'o 1' is not a name"),
        (VECTORS[5][0].replace("12", "-1"), "gap_.count"),
        ("1", "Expected `object`"),
        ("{" * 5000, "records announced"),
        ('{"x":' + "[" * 50000, "recursion"),
        (GOOD[:-1], "not a SenML pack"),
    ],
)
def test_records_that_are_refused_name_the_cause(record: str, words: str) -> None:
    with pytest.raises(PackError) as refused:
        pack(record)
    assert words in str(refused.value)
    assert str(refused.value).startswith("pack refused: ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epoch": ""}, "property epoch is missing or not a name"),
        ({"epoch": "a\n"}, "property epoch is missing or not a name"),
        ({"boot": "a/b"}, "property boot"),
        ({"first": "0"}, "1 <= base <= first does not hold for 5, 0"),
        ({"first": "x"}, "property first is missing or not a number"),
        ({"first": "٣"}, "property first is missing or not a number"),
        ({"count": "1" * 19}, "property count"),
        ({"count": "0"}, "more than the 0 records announced"),
        ({"count": "2"}, "sequence missing"),
        ({"base": "8"}, "base <= first does not hold for 8, 7"),
        ({"encoding": "gzip"}, "property encoding: 'gzip' is not zstd"),
        ({"encoding": "zstd"}, "not zstd"),
    ],
)
def test_headers_that_are_refused_name_the_property(change: dict[str, str], words: str) -> None:
    with pytest.raises(PackError) as refused:
        decode_pack("telemetry", list({**dict(PROPERTIES), **change}.items()), f"[{GOOD}]".encode())
    assert words in str(refused.value)


def test_no_such_lane() -> None:
    with pytest.raises(PackError, match="no such lane: 'video'"):
        decode_pack("video", PROPERTIES, b"[]")


def test_s8_sizes_are_refused_before_they_are_decoded() -> None:
    zeros = zstd.compress(b" " * 9_000_000)
    assert len(zeros) < 2000
    with pytest.raises(PackError, match="after decompression"):
        decode_pack("telemetry", [*PROPERTIES, ("encoding", "zstd")], zeros)
    with pytest.raises(PackError, match="bytes, more than 8388608"):
        decode_pack("telemetry", PROPERTIES, b" " * 9_000_000)
    with pytest.raises(PackError, match="more than the 1 records announced"):
        decode_pack("telemetry", PROPERTIES, b"[" + b"{}," * 1_000_000 + b"{}]")


def test_braces_in_texts_are_no_records() -> None:
    item = Reading("d", "label", "{" * 200 + '"}', "", T, T)
    assert pack(encode_item(item).decode()) == [(7, item)]


def test_s8_a_string_that_never_ends_is_refused_in_no_time() -> None:
    began = time.process_time()
    with pytest.raises(PackError, match="more than the 1 records"):
        decode_items(b"[" + b"{" * 10 + b'"' + b'\\"' * 20_000, 1, 1)
    assert time.process_time() - began < 0.5


def test_one_odd_value_does_not_cost_a_pack() -> None:
    odd: list[tuple[Any, Any]] = [
        (math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (Position(95.0, 0.0), "nan"),
        (Position(1.0, 2.0, math.inf), Position(1.0, 2.0)), (Position(math.nan, 2.0), "nan"), ("geo:x", "geo:x"),
    ]  # fmt: skip
    for value, kept in odd:
        reading = Reading("d", "m", value, "", 253_402_300_799_999, 1)
        [(_, got)] = pack(encode_item(reading).decode())
        assert isinstance(got, Reading)
        assert (got.value, got.observed_at) == (kept, reading.observed_at)
        event = AlarmEvent(
            "o", "d", "k", Severity.MINOR, AlarmPhase.CLEARED, "r", "1.0", -5, 1, evidence=(Evidence("m", value, 1),)
        )
        [(_, alarm)] = pack(encode_item(event).decode())
        assert isinstance(alarm, AlarmEvent)
        assert (alarm.evidence[0].value, alarm.observed_at) == (kept, -5)


def test_units_and_texts_that_a_device_made_up_are_cut_not_refused() -> None:
    reading = Reading("d", "m", "x" * 5000, "u" * 5000, T, T)
    [(_, got)] = pack(encode_item(reading).decode())
    assert got == Reading("d", "m", "x" * 4096, "u" * 32, T, T)


@pytest.mark.parametrize("text", ["geo:1", "geo:91,0", "geo:0,181", "geo:1,2;u=x", "geo:٣,2", " geo:1,2", "geo:1,2\n"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(PackError, match=r"not a geo URI|no such place"):
        parse_geo(text)


def test_topics() -> None:
    assert up_topic("gw-1", Lane.ALARMS) == "patrolgrid/v1/gw-1/up/alarms"
    assert split_topic("patrolgrid/v1/gw-1/up/alarms") == ("gw-1", "up/alarms")
    for wrong in ("patrolgrid/v1/gw-1", "patrolgrid/v1//up", "patrolgrid/v2/gw-1/up", "patrolgrid/v1/g w/up", "x"):
        with pytest.raises(PackError, match="is not patrolgrid/v1/<gateway>/"):
            split_topic(wrong)


def test_messages() -> None:
    ack = b'{"epoch":"e1","lane":"alarms","through":41}'
    assert decode_ack(ack) == Ack("e1", Lane.ALARMS, 41)
    assert encode_message(Ack("e1", Lane.ALARMS, 41)) == ack
    status = Status(True, "0.1.0", "b1", "h", T, lanes={"alarms": LaneStatus(1, 2, 3, 4)}, counters={"x": 1})
    assert decode_status(encode_message(status)) == status
    report = Reported(3, "h", (ReportedDevice("smk-1", "generic-smoke-senml", "mqtt", "sensors/smk-1"),))
    assert decode_reported(encode_message(report)) == report


@pytest.mark.parametrize(
    ("decode", "payload", "words"),
    [
        (decode_ack, b"{}", "not a acknowledgement"),
        (decode_ack, b'{"epoch":"e","lane":"alarms","through":-1}', "through"),
        (decode_ack, b'{"epoch":"e","lane":"alarms","through":1e30}', "through"),
        (decode_status, b"[]", "not a status"),
        (decode_reported, b'{"version":1,"config_hash":"","devices":[{"id":"a b","profile":"p"}]}', "'a b'"),
        (decode_reported, b" " * 5_000_000, "report of 5000000 bytes"),
    ],
)
def test_messages_that_are_refused_say_what_they_are_not(
    decode: Callable[[bytes], object], payload: bytes, words: str
) -> None:
    with pytest.raises(PackError) as refused:
        decode(payload)
    assert words in str(refused.value)


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", fullmatch=True)
metrics = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
moments = st.integers(-(2**53), 2**53)
positions = st.builds(
    Position,
    st.floats(-90, 90).map(lambda x: round(x, 9)),
    st.floats(-180, 180).map(lambda x: round(x, 9)),
    st.none() | st.integers(0, 10**8).map(lambda x: x / 100),
)
plain = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(max_size=40).filter(lambda text: not text.startswith("geo:")),
    positions,
)
places = st.builds(Reading, names, metrics, positions, st.just(""), moments, moments)
readings = st.builds(
    Reading, names, metrics, plain, st.sampled_from(["", "Cel", "%RH"]), moments, moments, moments,
    st.sampled_from(Quality), st.sampled_from(Clock),
).filter(lambda reading: not isinstance(reading.value, Position)) | places  # fmt: skip
events = st.builds(
    AlarmEvent, names, names, metrics, st.sampled_from(Severity), st.sampled_from(AlarmPhase), st.text(max_size=20),
    st.text(max_size=5), moments, moments, moments, st.sampled_from(Clock),
    st.lists(st.builds(Evidence, metrics, plain, moments), max_size=8).map(tuple), st.booleans(),
)  # fmt: skip
gaps = st.builds(
    GapReport, st.sampled_from(Lane), names | st.just(""), st.integers(0, 2**53), st.sampled_from(GapReason), moments,
    moments,
)  # fmt: skip


def alike(a: Item, b: Item) -> bool:
    """Equal, but for the last bits of degrees, of which the wire keeps nine decimals."""
    return str(a).replace("-0.0,", "0.0,") == str(b).replace("-0.0,", "0.0,")


@given(items=st.lists(st.one_of(readings, events, gaps), max_size=12), first=st.integers(1, 10**15))
def test_whatever_is_encoded_is_decoded_again(items: list[Item], first: int) -> None:
    header = PackHeader("e", Lane.TELEMETRY, first, len(items), first, "b")
    payload, properties = encode_pack(header, [encode_item(item) for item in items])
    decoded = decode_pack("telemetry", properties, payload)
    assert [sequence for sequence, _ in decoded.items] == list(range(first, first + len(items)))
    assert all(alike(a, b) for a, (_, b) in zip(items, decoded.items, strict=True))


@given(positions)
def test_geo_is_its_own_inverse(position: Position) -> None:
    assert parse_geo(geo(position)) == position
