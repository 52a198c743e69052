"""The cloud's own alarms: late deadlines, lagging ingest, failing messages; with hysteresis."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from cloud import timers
from cloud.alerts import selfwatch, service
from cloud.alerts.models import AlarmFilter, AlarmState
from cloud.alerts.selfwatch import INGEST_LAG, NOTIFY_FAILING, SERIES_AWAY, TIMER_LATE
from cloud.devices import service as fleet
from cloud.org.rules import SYSTEM, Principal, Role
from tests.cloud.cloud_support import NOW, know, wait_for, waits

if TYPE_CHECKING:
    from cloud.db import Database

MINUTE = 60_000


@pytest.fixture(autouse=True)
def handled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of timer whose handler does nothing."""
    monkeypatch.setitem(timers.HANDLERS, "nothing", lambda _tx, _timer, _now: None)


def open_kinds(db: Database, who: Principal = SYSTEM) -> list[str]:
    with db.read() as tx:
        page = service.list_alarms(tx, who, AlarmFilter(state=(AlarmState.OPEN,)))
    assert all((alarm.gateway, alarm.device) == ("", "cloud") for alarm in page.items)
    return sorted(alarm.kind for alarm in page.items)


def look(db: Database, now: int, watched: int = NOW) -> None:
    with db.begin() as tx:
        selfwatch.look(tx, now, watched)


def fire(db: Database, due: int, now: int, watched: int = NOW) -> None:
    with db.begin() as tx:
        timers.set_timer(tx, "nothing", "x", due)
        timers.tick(tx, now, watched)


def test_a_late_deadline_is_an_alarm_until_five_good_minutes_D11(db: Database) -> None:
    fire(db, NOW + MINUTE, NOW + MINUTE + 9_000)
    look(db, NOW + MINUTE + 9_000)
    assert open_kinds(db) == []
    fire(db, NOW + 2 * MINUTE, NOW + 2 * MINUTE + 11_000)
    for _ in range(2):
        look(db, NOW + 3 * MINUTE)
        assert open_kinds(db) == ["self-timer-late"]
    look(db, NOW + 8 * MINUTE)
    assert open_kinds(db) == []
    assert open_kinds(db, Principal("user", 1, "li", Role.DISPATCHER, "/1/")) == []


def test_a_deadline_that_nobody_takes_is_late_as_well(db: Database) -> None:
    with db.begin() as tx:
        timers.set_timer(tx, "nothing", "x", NOW + MINUTE)
    look(db, NOW + 2 * MINUTE)
    assert open_kinds(db) == ["self-timer-late"]


def test_what_was_due_while_nobody_watched_is_nobodys_lateness(db: Database) -> None:
    fire(db, NOW - 600_000, NOW + 1_000, watched=NOW)
    look(db, NOW + 1_000)
    assert open_kinds(db) == []


def lags(db: Database) -> bool:
    return "self-ingest-lag" in open_kinds(db)


def test_ingest_lags_when_many_online_gateways_are_not_heard(db: Database) -> None:
    know(db, "gw-1", "gw-2")
    for gateway in ("gw-1", "gw-2"):
        with db.begin() as tx:
            fleet.heard(tx, gateway, NOW)
    look(db, NOW + MINUTE)
    assert not lags(db)
    look(db, NOW + MINUTE + 1)
    assert lags(db)
    with db.begin() as tx:
        fleet.heard(tx, "gw-2", NOW + 2 * MINUTE)
    look(db, NOW + 2 * MINUTE + 40_000)
    assert lags(db), "between the limits it stays"
    look(db, NOW + 2 * MINUTE + 20_000)
    assert not lags(db)
    look(db, NOW + 9 * MINUTE, NOW + 9 * MINUTE - 5_000)
    assert not lags(db), "after a start nothing lags yet"


def test_one_silent_gateway_is_no_lag_of_ingest_but_its_deadline_is_late(db: Database) -> None:
    know(db, "gw-1")
    with db.begin() as tx:
        fleet.heard(tx, "gw-1", NOW)
    look(db, NOW + 5 * MINUTE)
    assert open_kinds(db) == ["self-timer-late"], "nobody judges the gateway's silence"


def test_one_failing_channel_is_an_alarm_until_none_fails(db: Database) -> None:
    states = []
    for channels in (0, 1, 2, 0):
        with db.begin() as tx:
            selfwatch.judge(tx, NOTIFY_FAILING, channels, NOW)
        states.append(open_kinds(db))
    assert states == [[], ["self-notify-failing"], ["self-notify-failing"], []]


@pytest.mark.parametrize("limit", [TIMER_LATE, INGEST_LAG, SERIES_AWAY], ids=lambda limit: limit.kind)
def test_each_has_hysteresis_words_and_one_alarm_at_a_time(db: Database, limit: selfwatch.Limit) -> None:
    states = []
    for measured in (limit.high, limit.high + 1, limit.high + 9, limit.low, limit.low - 1, limit.low, limit.high + 1):
        with db.begin() as tx:
            selfwatch.judge(tx, limit, measured, NOW)
        states.append(bool(open_kinds(db)))
    assert states == [False, True, True, True, False, False, True]
    with db.read() as tx:
        alarm = service.list_alarms(tx, SYSTEM, AlarmFilter()).items[0]
        assert alarm.title_zh != alarm.kind
        assert service.explain(tx, SYSTEM, alarm.id, NOW).rule.text_en


def test_two_workers_that_look_at_once_raise_one_alarm(db: Database) -> None:
    with db.begin() as tx:
        timers.set_timer(tx, "nothing", "x", NOW + MINUTE)
    other = threading.Thread(target=look, args=(db, NOW + 2 * MINUTE))
    with db.begin() as tx:
        selfwatch.look(tx, NOW + 2 * MINUTE, NOW)
        other.start()
        wait_for(lambda: waits(db), 10, "the other worker's transaction")
    other.join(10)
    assert open_kinds(db) == ["self-timer-late"]
    with db.read() as tx:
        assert len(service.list_alarms(tx, SYSTEM, AlarmFilter()).items) == 1
