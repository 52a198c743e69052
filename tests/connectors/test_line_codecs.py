"""The rules of the line protocols: what NMEA epochs, radios and generic frames mean, each rule by an example."""

from __future__ import annotations

import pytest

from edge.codecs import frame_decoder, line_codec
from edge.codecs.lines import Heard, Refused
from firmware_specs.errors import ProfileError
from firmware_specs.readings import Position, Quality, Sample
from tests.connectors.line_support import NMEA, profile

METRICS = "position@ status! emergency? transmitting?"
FLEETSYNC = profile({"kind": "named", "name": "fleetsync", "emergency_statuses": ["80"]}, metrics=METRICS)
NEXEDGE = profile({"kind": "named", "name": "nexedge", "emergency_statuses": ["007"]}, metrics=METRICS)
PULSE = {"metric": "pulse", "offset": 1, "type": "u8"}
METER = profile({"kind": "binary", "length": 3, "header": "aa", "checksum": "xor8", "fields": [PULSE]}, metrics="pulse")


def sentence(body: str) -> bytes:
    total = 0
    for byte in body.encode():
        total ^= byte
    return f"${body}*{total:02X}\r\n".encode()


def nmea(*bodies: str) -> list[Sample]:
    line = line_codec({"*": NMEA})
    items = line.feed(b"".join(sentence(body) for body in bodies), 0)
    assert not [item for item in items if isinstance(item, Refused)]
    return [sample for item in items if isinstance(item, Heard) for sample in item.samples]


def positions(samples: list[Sample]) -> list[tuple[int | None, Position]]:
    return [(s.observed_at, s.value) for s in samples if isinstance(s.value, Position)]


RMC = "GPRMC,120000.000,A,4807.0380,N,01131.0000,E,022.4,084.4,230394,,,A"
AT = 764424000000  # 1994-03-23T12:00:00Z, by date(1)


def test_one_position_an_epoch() -> None:
    gga = "GPGGA,120000.000,4807.0380,N,01131.0000,E,1,08,2.0,545.4,M,46.9,M,,"
    found = positions(nmea(RMC, gga))
    assert [at for at, _ in found] == [AT]


def test_another_rounding_of_the_same_epoch_is_kept_a_millisecond_later() -> None:
    gga = "GPGGA,120000.000,4807.03816,N,01131.00000,E,1,08,2.0,545.4,M,46.9,M,,"
    found = positions(nmea(RMC, gga))
    assert [at for at, _ in found] == [AT, AT + 1]
    assert found[1][1].lat == pytest.approx(48.117302667, abs=1e-9)


def test_accuracy_is_hdop_times_five_metres_until_gst_states_it() -> None:
    first = "GPGGA,120000.000,4807.0380,N,01131.0000,E,1,08,2.0,545.4,M,46.9,M,,"
    second = "GPGGA,120001.000,4807.0390,N,01131.0000,E,1,08,2.0,545.4,M,46.9,M,,"
    found = positions(nmea(first, "GPGST,120000.000,9,9,9,9,3.0,4.0,9", second))
    assert [p.accuracy_m for _, p in found] == [10.0, 5.0]


def test_before_a_date_is_known_the_gateways_clock_applies_and_midnight_is_crossed() -> None:
    found = positions(
        nmea(
            "GPGLL,4807.0380,N,01131.0000,E,235958.00,A,A",
            "GPZDA,235959.00,31,12,2024,00,00",
            "GPGLL,4807.0390,N,01131.0000,E,235959.00,A,A",
            "GPGLL,4807.0400,N,01131.0000,E,000000.00,A,A",
        )
    )
    assert [at for at, _ in found] == [None, 1735689599000, 1735689600000]  # 2024-12-31T23:59:59Z and a second later


@pytest.mark.parametrize(
    "body",
    [
        "GPRMC,120000.000,V,4807.0380,N,01131.0000,E,0.0,0.0,230394,,,N",
        "GPRMC,120000.000,A,4807.0380,N,01131.0000,E,0.0,0.0,230394,,,N",
        "GPGGA,120000.000,4807.0380,N,01131.0000,E,0,00,99.9,,M,,M,,",
        "GPGLL,4807.0380,N,01131.0000,E,120000.000,V,N",
        "GNGNS,120000.000,4807.0380,N,01131.0000,E,NN,00,99.9,,,,",
        "GPGGA,120000.000,,,,,0,00,,,M,,M,,",
    ],
)
def test_without_a_fix_the_marker_does_not_move(body: str) -> None:
    assert not positions(nmea(body))


@pytest.mark.parametrize(
    "body",
    [
        "GPRMC,120000.000,A,4807.0380,N,01131.0000,E,0.0,0.0,230394,,,E",
        "GPGGA,120000.000,4807.0380,N,01131.0000,E,6,00,9.9,,M,,M,,",
        "GNGNS,120000.000,4807.0380,N,01131.0000,E,EN,00,9.9,,,,",
    ],
)
def test_dead_reckoning_is_uncertain(body: str) -> None:
    assert [s.quality for s in nmea(body) if s.metric == "position"] == [Quality.UNCERTAIN]


def test_speed_is_in_metres_per_second_and_vtg_repeats_nothing() -> None:
    vtg = "GPVTG,084.4,T,,M,022.4,N,041.5,K,A"
    assert [s.value for s in nmea(RMC, vtg) if s.metric == "speed"] == [pytest.approx(11.523556, abs=1e-6)]
    assert [s.value for s in nmea(vtg) if s.metric == "speed"] == [pytest.approx(11.523556, abs=1e-6)]


def test_garbage_between_sentences_is_counted_and_costs_nothing_else() -> None:
    line = line_codec({"*": NMEA})
    items = line.feed(b"\x00\xa0\xa2binary" + sentence(RMC)[:20] + sentence(RMC) + b"$GPRMC,nonsense*00\r\n", 0)
    assert [type(item) for item in items] == [Refused, Refused, Heard, Refused]
    assert "check sum" in str(items[3].error if isinstance(items[3], Refused) else "")


def radio(data: bytes, **devices: str) -> list[Heard | Refused]:
    profiles = {"fleetsync": FLEETSYNC, "nexedge": NEXEDGE}
    line = line_codec({address: profiles[kind] for kind, address in devices.items()})
    return [*line.feed(data, 0), *line.settle(0)]


def told(items: list[Heard | Refused]) -> list[object]:
    return [
        (item.address, {s.metric: s.value for s in item.samples}) if isinstance(item, Heard) else item.error.reason
        for item in items
    ]


def test_begin_and_end_of_a_call() -> None:
    assert told(radio(b"\x02I110040021004002\x03", fleetsync="100-4002")) == [("100-4002", {"transmitting": True})]
    assert told(radio(b"\x02gI0U03001U03001\x03", nexedge="U03001")) == [("U03001", {"transmitting": False})]


def test_a_bump_of_the_key_says_only_that_the_radio_is_there() -> None:
    bump = b"\x02I110040021004002\x03\x02I010040021004002\x03"
    assert told(radio(bump, fleetsync="100-4002")) == [("100-4002", {})]


def test_two_callers_in_one_burst_are_garbled() -> None:
    garbled = b"\x02I110040021004002\x03\x02I110010011001001\x03"
    assert told(radio(garbled, fleetsync="100-4002")) == ["caller ids of 2 units at once: garbled"]


@pytest.mark.parametrize("address", ["100-4002", "1004002", "100:4002", "*"])
def test_a_fleetsync_unit_is_written_in_several_ways(address: str) -> None:
    assert told(radio(b"\x02I110040021004002\x03", fleetsync=address)) == [(address, {"transmitting": True})]


@pytest.mark.parametrize("address", ["U00002", "00002", "2", "*"])
def test_a_nexedge_unit_is_known_with_and_without_its_u(address: str) -> None:
    for unit in ("U00002", "00002"):
        body = f"PKNSH,4954.1450,N,11923.6043,W,114400,A,{unit},"
        assert [item.address for item in radio(sentence(body), nexedge=address)] == [address]


def test_a_line_that_never_falls_quiet_is_judged_all_the_same() -> None:
    line = line_codec({"100-1001": FLEETSYNC})
    heard = line.feed(b"\x02I110010011001001\x03" * 1000, 0)
    assert len(heard) == 20
    assert line.settle(0) == []


def test_a_unit_that_is_not_configured_is_refused_by_its_name() -> None:
    assert told(radio(b"\x02gI0U03001U03001\x03", nexedge="U00002")) == ["unit U03001 is not configured on this line"]


def test_both_systems_share_a_line_and_each_unit_has_its_own_emergencies() -> None:
    both = b"\x02gE0000000020000009990007\x03" + sentence(
        "PKLDS,122434,A,4954.1474,N,11923.6044,W,001.1,194.9,130223,19.20,W00,100,1001,80,00,"
    )
    first, second = radio(both, fleetsync="100-1001", nexedge="U00002")
    assert told([first]) == [("U00002", {"status": "7", "emergency": True})]
    assert isinstance(second, Heard)
    values = {s.metric: s.value for s in second.samples}
    assert (values["status"], values["emergency"]) == ("80", True)


@pytest.mark.parametrize(("validity", "expected"), [("A", Quality.GOOD), ("V", Quality.UNCERTAIN), ("Z", None)])
def test_validity_is_quality(validity: str, expected: Quality | None) -> None:
    (item,) = radio(sentence(f"PKNSH,4954.1450,N,11923.6043,W,114400,{validity},U00002,"), nexedge="U00002")
    assert isinstance(item, Heard)
    assert [s.quality for s in item.samples] == ([expected] if expected else [])


@pytest.mark.parametrize(
    "frame",
    [
        b"\x020\x03", b"\x021\x03", b"\x02F1001001meet me at the gate\x03", b"\x02G1001001it costs $5\x03",
        b"\x02gFU00002$5\x03", b"\x02gFG00000$\x03",
        b"\x02F1001001" + sentence("PKLSH,3412.0000,N,10854.0000,E,120000,A,100,1001,").strip() + b"\x03",
    ],
)  # fmt: skip
def test_results_and_texts_are_not_ours_to_read(frame: bytes) -> None:
    assert radio(frame, fleetsync="100-1001") == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("PKLSH,4954.1474,N,11923.6044,W,122434,A,099,1001,", "from 100-1000 to 349-4999"),
        ("PKNSH,4954.1450,N,11923.6043,W,114400,A,U00000,", "is not U00001"),
        ("PKNSH,4954.1450,N,11923.6043,W,114400,X,U00002,", "validity 'X'"),
        ("PKNDS,114400,A,4954.1450,N,11923.6043,W,001.4,356.8,310223,19.20,W00,U00002,207,00,", "ddmmyy"),
        ("PKNSH,4954.1450,N", "has 3 fields"),
    ],
)
def test_wrong_radio_sentences_are_refused_in_words(body: str, reason: str) -> None:
    (item,) = radio(sentence(body), nexedge="*")
    assert isinstance(item, Refused)
    assert reason in str(item.error)


def test_a_binary_layout_is_found_again_after_garbage() -> None:
    line = line_codec({"*": METER})
    items = line.feed(b"\xaa\x07\xad\xaa\x08\x00\xaa\x0a\xa0", 0)
    values = [s.value for item in items if isinstance(item, Heard) for s in item.samples]
    assert values == [7.0, 10.0]
    assert [item.frame for item in items if isinstance(item, Refused)] == [b"\xaa\x08\x00"]


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ({"a": NMEA, "b": NMEA}, "test-device: codec.name: an NMEA line has room for one receiver"),
        ({"*": NMEA, "100-1001": FLEETSYNC}, "test-device: codec: cannot share a serial line with 'test-device'"),
        ({"unit 7": FLEETSYNC}, "test-device: address: fleet 'unit 7', id '' is not from 100-1000 to 349-4999"),
        ({"a": METER, "b": METER}, "test-device: codec: a line of frames without unit ids has room for one device"),
    ],
)
def test_devices_that_cannot_share_a_line_are_refused(devices: dict[str, object], message: str) -> None:
    with pytest.raises(ProfileError) as error:
        line_codec(devices)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_a_line_protocol_has_no_frames() -> None:
    with pytest.raises(ProfileError) as error:
        frame_decoder(NMEA)
    assert str(error.value) == "test-device: codec.name: 'nmea' needs a serial line"
