"""How a gateway is judged: limits, reasons, what is unknown, what a gate lets pass, what raises an alarm."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.devices.health.alarms import ALARMS, STEADY_MS, Want, alarms
from cloud.devices.health.rules import (
    DAY_MS,
    FRESH_MS,
    HOUR_MS,
    Facts,
    Finding,
    Lost,
    State,
    gate,
    judge,
    over_budget,
    overall,
    share_online,
    turn,
)
from firmware_specs.wire_vitals import Start, StartReason, Vitals

NOW = 1_800_000_000_000
DAY = NOW // DAY_MS
GB = 1_000_000_000
FINE = Vitals(
    uptime_s=9, clock_offset_ms=1.0, disk_free=8 * GB, disk_size=16 * GB, written_by="disk", written_budget=GB,
    certificate_from_ms=NOW - 10 * DAY_MS, certificate_until_ms=NOW + 80 * DAY_MS, under_voltage=False,
    starts=(Start(NOW - 9 * DAY_MS, StartReason.POWER), Start(NOW - DAY_MS // 2, StartReason.STOP)),
)  # fmt: skip
GOOD = Facts(
    online=True, heard_at=NOW, told_at=NOW - 30_000, vitals=FINE, connectors={"a": "up", "b": "up"},
    shares={"day": 1.0, "week": 0.9, "month": None}, latest={"memory_used": 40, "temperature": 50}, devices=10,
    gauges=(("battery", 80.0), ("signal", -70.0)), written=((DAY - 1, GB // 2), (DAY, 3 * GB)),
)  # fmt: skip


def vitals(**more: object) -> dict[str, Any]:
    fields = {name: getattr(FINE, name) for name in FINE.__struct_fields__} | more
    return {"vitals": Vitals(**fields)}


def found(facts: Facts, measure: str) -> Finding:
    return next(each for each in judge(facts, NOW) if each.measure == measure)


def test_a_gateway_in_good_order_is_good() -> None:
    findings = judge(GOOD, NOW)
    assert overall(findings) is State.GOOD
    assert [each.measure for each in findings if each.state is not State.GOOD] == ["online_month"]
    assert gate(findings) == (True, "", None)


CASES: list[tuple[str, dict[str, Any], State, str]] = [
    ("line", {"online": False, "changed_at": NOW - HOUR_MS}, State.BAD, "offline"),
    ("line", {"heard_at": None}, State.UNKNOWN, "never"),
    ("online_day", {"shares": {"day": 0.98}}, State.WATCH, "low"),
    ("online_day", {"shares": {"day": 0.5}}, State.BAD, "low"),
    ("fault", {"degraded": "outbox: disk full"}, State.BAD, "degraded"),
    ("connectors", {"connectors": {"a": "up", "b": "refused"}}, State.WATCH, "down"),
    ("connectors", {"connectors": {"a": "refused"}}, State.BAD, "down"),
    ("outbox", {"oldest_at": NOW - 6 * 60_000}, State.WATCH, "old"),
    ("outbox", {"oldest_at": NOW - 2 * HOUR_MS}, State.BAD, "old"),
    ("clock", {"unsynced_since": NOW - 60_000}, State.WATCH, "unsynced"),
    ("clock", {"unsynced_since": NOW - 2 * HOUR_MS}, State.BAD, "unsynced"),
    ("clock", vitals(clock_offset_ms=-900.0), State.WATCH, "off"),
    ("disk", vitals(disk_free=3 * GB), State.WATCH, "low"),
    ("disk", vitals(disk_free=GB), State.BAD, "low"),
    ("disk", {"vitals": None}, State.UNKNOWN, "not-told"),
    ("wear", {"written": ((DAY - 1, 9 * GB // 10), (DAY, 0))}, State.WATCH, "near"),
    ("wear", {"written": ((DAY - 1, 2 * GB), (DAY, 0))}, State.WATCH, "over"),
    ("wear", {"written": tuple((DAY - n, 2 * GB) for n in range(7, -1, -1))}, State.BAD, "over"),
    ("wear", {"written": ((DAY, 5 * GB),)}, State.UNKNOWN, "no-day"),
    ("certificate", vitals(certificate_from_ms=NOW - 70 * DAY_MS, certificate_until_ms=NOW + 20 * DAY_MS),
     State.WATCH, "overdue"),
    ("certificate", vitals(certificate_from_ms=NOW - 80 * DAY_MS, certificate_until_ms=NOW + 10 * DAY_MS),
     State.BAD, "overdue"),
    ("certificate", vitals(renewal="refused"), State.WATCH, "overdue"),
    ("certificate", vitals(certificate_until_ms=NOW - 1), State.BAD, "expired"),
    ("memory", {"latest": {"memory_used": 97}}, State.BAD, "high"),
    ("temperature", {"latest": {"temperature": 80}}, State.WATCH, "high"),
    ("power", vitals(under_voltage=True), State.BAD, "weak"),
    ("restarts", vitals(starts=(Start(NOW - 9, StartReason.CRASH, "KeyError"),)), State.WATCH, "crash"),
    ("restarts", vitals(starts=(Start(NOW - 9, StartReason.POWER),) * 3), State.BAD, "power"),
    ("silent", {"silent": 1}, State.WATCH, "silent"),
    ("silent", {"silent": 5}, State.BAD, "silent"),
    ("silent", {"online": False}, State.UNKNOWN, "offline"),
    ("battery", {"gauges": (("battery", 5.0), ("battery", 90.0))}, State.WATCH, "weak"),
    ("signal", {"gauges": (("signal", -105.0),)}, State.WATCH, "weak"),
    ("lost", {"loss": Lost(3, 0)}, State.BAD, "some"),
    ("thinned", {"loss": Lost(0, 3)}, State.WATCH, "some"),
]  # fmt: skip


@pytest.mark.parametrize(("measure", "facts", "state", "reason"), CASES)
def test_each_measure_by_its_limits(measure: str, facts: dict[str, Any], state: State, reason: str) -> None:
    each = found(GOOD._replace(**facts), measure)
    assert (each.state, each.reason) == (state, reason)


def test_what_was_told_long_ago_is_unknown_and_not_good() -> None:
    for facts in (GOOD._replace(online=False), GOOD._replace(told_at=NOW - FRESH_MS - 1)):
        assert found(facts, "disk").state is State.UNKNOWN
        assert gate(judge(facts, NOW))[0] is False
    assert overall(judge(GOOD._replace(told_at=None), NOW)) is State.UNKNOWN


def test_a_gate_says_what_stands_against_it() -> None:
    assert gate(judge(GOOD._replace(online=False, changed_at=NOW - 9), NOW)) == (False, "line: offline", NOW - 9)
    ok, why, _ = gate(judge(GOOD._replace(degraded="outbox: disk full"), NOW))
    assert (ok, why) == (False, "fault: degraded (outbox: disk full)")
    assert gate(judge(GOOD._replace(silent=9, loss=Lost(1, 1)), NOW))[0]


@given(
    changes=st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=12, unique_by=lambda each: each[0]),
    begin=st.integers(0, 500), length=st.integers(1, 500),
)  # fmt: skip
def test_the_share_of_a_time_is_what_counting_its_moments_gives(
    changes: list[tuple[int, bool]], begin: int, length: int
) -> None:
    changes.sort()
    known = [state for at in range(begin, begin + length) if (state := last(changes, at)) is not None]
    share = share_online(changes, begin, begin + length)
    assert share == (sum(known) / len(known) if known else None)


def last(changes: list[tuple[int, bool]], moment: int) -> bool | None:
    return next((state for at, state in reversed(changes) if at <= moment), None)


@given(gateway=st.text(), every=st.integers(1, DAY_MS), after=st.integers(0, 10 * DAY_MS))
def test_a_gateways_turn_comes_once_in_each_period(gateway: str, every: int, after: int) -> None:
    due = turn(gateway, every, after)
    assert after < due <= after + every
    assert turn(gateway, every, due - 1) == due
    assert turn(gateway, every, due) == due + every


def test_a_fleet_that_comes_at_once_is_judged_evenly() -> None:
    turns = Counter(turn(f"gw-{n}", 60_000, NOW) // 1000 for n in range(10_000))
    assert len(turns) >= 60
    assert max(turns.values()) < 250


def test_seven_days_in_a_row_are_seven_days_in_a_row() -> None:
    days = [(DAY - n, 2 * GB) for n in range(7, -1, -1)]
    assert over_budget(days, GB)
    assert not over_budget(days[1:], GB)
    assert not over_budget([*days[:3], (days[3][0], 1), *days[4:]], GB)
    assert not over_budget([(DAY - 30, 2 * GB), *days[2:]], GB)


def test_alarms_have_hysteresis_and_wait_for_a_gateway_that_is_heard() -> None:
    def of(kind: str, facts: Facts, synced_since: int | None = NOW - DAY_MS) -> Want:
        return alarms(facts, synced_since, NOW)[kind]

    for share, want in ((0.04, Want.RAISE), (0.06, Want.LEAVE), (0.09, Want.CLEAR)):
        assert of("gateway-disk-full", GOOD._replace(**vitals(disk_free=int(16 * GB * share)))) is want
    near = vitals(certificate_from_ms=NOW - 80 * DAY_MS, certificate_until_ms=NOW + 10 * DAY_MS)
    assert of("gateway-certificate", GOOD._replace(**near)) is Want.RAISE
    young = vitals(certificate_from_ms=NOW - DAY_MS, certificate_until_ms=NOW + 10 * DAY_MS)
    assert of("gateway-certificate", GOOD._replace(**young)) is Want.CLEAR
    assert of("gateway-clock", GOOD._replace(unsynced_since=NOW - 2 * HOUR_MS), None) is Want.RAISE
    assert of("gateway-clock", GOOD._replace(unsynced_since=NOW - HOUR_MS // 2), None) is Want.LEAVE
    assert of("gateway-clock", GOOD, NOW - STEADY_MS + 1) is Want.LEAVE
    assert of("gateway-clock", GOOD, NOW - STEADY_MS) is Want.CLEAR
    worn = tuple((DAY - n, 2 * GB) for n in range(7, -1, -1))
    assert of("gateway-wear", GOOD._replace(written=worn)) is Want.RAISE
    assert of("gateway-wear", GOOD._replace(written=((DAY - 1, GB), (DAY, 0)))) is Want.LEAVE
    away = GOOD._replace(online=False, written=worn, **near)
    assert set(alarms(away, None, NOW).values()) == {Want.LEAVE}
    assert set(alarms(away, None, NOW)) == set(ALARMS)
