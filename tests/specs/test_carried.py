"""When positions of what a member carries may exist (P1, P2), and the document that tells a gateway."""

from __future__ import annotations

import contextlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_specs.carried import counts_at, is_track, lifted, merged, sos_at, within
from firmware_specs.errors import PackError
from firmware_specs.readings import AlarmEvent, AlarmPhase, Clock, Position, Quality, Reading, Severity, Value
from firmware_specs.wire import (
    MAX_DESIRED_BYTES,
    MAX_WINDOWS,
    Desired,
    Reported,
    decode_desired,
    decode_reported,
    encode_message,
)

HERE = Position(34.2, 108.9, 5.0)
TIMES = st.integers(0, 200)
WINDOWS = st.lists(st.tuples(TIMES, TIMES), max_size=8)


@pytest.mark.parametrize(
    ("metric", "value", "says"),
    [
        ("position", HERE, True), ("position", "nan", True), ("place", HERE, True), ("speed", 1.0, True),
        ("course", 90.0, True), ("note", "geo:34.2,108.9", True), ("battery", 50.0, False), ("sos", True, False),
        ("status", "5", False),
    ],
)  # fmt: skip
def test_what_says_where_somebody_is(metric: str, value: Value, says: bool) -> None:
    assert is_track(metric, value) is says


@pytest.mark.parametrize(
    ("quality", "clock", "at"),
    [
        (Quality.GOOD, Clock.DEVICE, 10), (Quality.GOOD, Clock.SYNCED, 10), (Quality.BAD, Clock.DEVICE, 10),
        (Quality.UNCERTAIN, Clock.DEVICE, 99), (Quality.GOOD, Clock.UNSYNCED, 99),
    ],
)  # fmt: skip
def test_P1_a_reading_counts_at_its_own_time_unless_that_is_in_doubt(quality: Quality, clock: Clock, at: int) -> None:
    assert counts_at(Reading("d", "position", HERE, "", 10, 99, quality=quality, clock=clock)) == at


@given(WINDOWS, TIMES)
def test_merged_windows_are_the_same_times(windows: list[tuple[int, int]], at: int) -> None:
    few = merged(windows)
    assert within(few, at) == within(windows, at)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(few))


@given(st.none() | st.tuples(TIMES, st.integers(1, 50)), TIMES, st.integers(1, 50))
def test_P2_an_sos_always_lifts_from_its_time_on_and_never_shortens(
    before: tuple[int, int] | None, at: int, lasts: int
) -> None:
    running = (before[0], before[0] + before[1]) if before else None
    after = lifted(running, at, lasts)
    if running and at + lasts < running[0]:
        assert after == running
    else:
        assert within((after,), at)
        assert after[1] >= at + lasts
    assert lifted(after, at, lasts) == after, "the same again changes nothing"


def test_P2_what_calls_an_sos() -> None:
    assert sos_at(Reading("d", "sos", True, "", 10, 99)) == 10
    assert sos_at(Reading("d", "sos", False, "", 10, 99)) is None
    assert sos_at(Reading("d", "alarm", True, "", 10, 99)) is None
    event = AlarmEvent("o", "d", "duress", Severity.CRITICAL, AlarmPhase.RAISED, "p/r", "1", 10, 99)
    assert sos_at(event) == 10
    cleared = AlarmEvent("o", "d", "sos", Severity.CRITICAL, AlarmPhase.CLEARED, "p/r", "1", 10, 99)
    drill = AlarmEvent("o", "d", "sos", Severity.CRITICAL, AlarmPhase.RAISED, "p/r", "1", 10, 99, drill=True)
    unsynced = AlarmEvent("o", "d", "sos", Severity.CRITICAL, AlarmPhase.RAISED, "p/r", "1", 10, 99, 0, Clock.UNSYNCED)
    assert (sos_at(cleared), sos_at(drill), sos_at(unsynced)) == (None, None, 99)


VECTOR = (
    b'{"version":7,"hash":"a1b2","carried":{"arm-1":[[1800000000000,1800028800000]],"rad-1":[]},'
    b'"reporting_s":{"*":60,"arm-1":10},"sos_s":900}'
)
DOCUMENT = Desired(
    7, "a1b2", {"arm-1": ((1_800_000_000_000, 1_800_028_800_000),), "rad-1": ()}, {"*": 60, "arm-1": 10}, 900
)


def test_the_desired_document_by_a_vector_written_by_hand() -> None:
    assert decode_desired(VECTOR) == DOCUMENT
    assert json.loads(encode_message(DOCUMENT)) == json.loads(VECTOR)
    assert decode_desired(b'{"version":1,"hash":"","of_tomorrow":[1]}') == Desired(1, "")


WRONG = [
    b"", b"[]", b"{", b'{"hash":"x"}', b'{"version":-1,"hash":""}', b'{"version":1,"hash":"","carried":{"a":[[2,1]]}}',
    b'{"version":1,"hash":"","carried":{"a":[[1]]}}', b'{"version":1,"hash":"","carried":{"no name":[]}}',
    b'{"version":1,"hash":"","reporting_s":{"a/b":1}}', b'{"version":1,"hash":"","reporting_s":{"*":0}}',
    b'{"version":1,"hash":"","sos_s":0}', b'{"version":1,"hash":"\xff"}', b"[" * 100_000,
    json.dumps({"version": 1, "hash": "", "carried": {"a": [[1, 2]] * (MAX_WINDOWS + 1)}}).encode(),
    b'{"version":1,"hash":"' + b" " * MAX_DESIRED_BYTES + b'"}',
]  # fmt: skip


@pytest.mark.parametrize("payload", WRONG, ids=range(len(WRONG)))
def test_a_wrong_desired_document_is_refused(payload: bytes) -> None:
    with pytest.raises(PackError, match=r"desired document"):
        decode_desired(payload)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_desired_document_or_refused(payload: bytes) -> None:
    with contextlib.suppress(PackError):
        assert isinstance(decode_desired(payload), Desired)


def test_a_report_says_which_document_is_in_force_and_one_of_before_says_none() -> None:
    assert decode_reported(b'{"version":1,"config_hash":"c","devices":[]}').desired_version == 0
    assert decode_reported(encode_message(Reported(1, "c", (), 7))).desired_version == 7
