"""Walk tests on a real database: what is held, for how long, and what becomes loud (D1, D11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from cloud.alerts import hooks
from cloud.alerts.hooks import Happening
from cloud.devices import service as devices
from cloud.devices.field import rules, service
from cloud.devices.field.models import MaintenanceBody, MarkBody, NewWalk, ShownBody
from cloud.devices.field.rules import Mark
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org.rules import ROOT, Principal, Role
from firmware_specs.readings import Clock
from tests.cloud.cloud_support import NOW, know, raised, reading
from tests.field.field_support import _sequence, alarms, press, release, site, technician, tick, value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from cloud.alerts.facts import Facts
    from cloud.db import Database
    from cloud.devices.field.models import WalkDetail

TECH = technician()
S = 1000


@pytest.fixture
def loud() -> Iterator[list[int]]:
    """The alarms that call somebody out, as they do."""
    told: list[int] = []

    def listen(_tx: Connection, happening: Happening, alarm: Facts, _now: int) -> None:
        if happening is Happening.RAISED and not alarm.quiet:
            told.append(alarm.id)

    hooks.LISTENERS.append(listen)
    yield told
    hooks.LISTENERS.remove(listen)


def start(db: Database, now: int = NOW, **more: object) -> WalkDetail:
    with db.begin() as tx:
        return service.start_walk(tx, TECH, NewWalk.model_validate({"gateway": "gw-1", **more}), now)


def get(db: Database, walk: int) -> WalkDetail:
    with db.read() as tx:
        return service.get_walk(tx, TECH, walk)


def test_a_press_ticks_the_device_off_and_calls_nobody_out(db: Database, loud: list[int]) -> None:
    site(db, "smk-1", "smk-2")
    value(db, "smk-1", "battery", 87.0, NOW)
    value(db, "smk-1", "rssi", -71.0, NOW)
    walk = start(db)
    assert [each.mark for each in walk.devices] == [Mark.WAITING, Mark.WAITING]
    press(db, "smk-1", NOW + 60 * S)
    found = {each.device: each for each in get(db, walk.id).devices}
    tested = found["smk-1"]
    assert (tested.mark, tested.what, tested.latency_ms) == (Mark.PASSED, "fire", 300)
    assert (tested.battery, tested.signal, tested.held) == (87.0, -71.0, True)
    assert found["smk-2"].mark is Mark.WAITING
    assert loud == []
    (alarm,) = alarms(db)
    assert (alarm.quiet, alarm.state.value) == ("maintenance", "open"), "it is on record all the same"


def test_a_fire_of_any_other_device_stays_loud(db: Database, loud: list[int]) -> None:
    site(db, "smk-1", "smk-2", "smk-3")
    start(db, devices=["smk-1"])
    press(db, "smk-2", NOW + 10 * S)
    assert len(loud) == 1


def test_an_alarm_that_stays_becomes_loud_three_minutes_after_the_press(db: Database, loud: list[int]) -> None:
    site(db, "smk-1", "smk-2")
    walk = start(db)
    press(db, "smk-1", NOW + 10 * S)
    tick(db, NOW + 10 * S + rules.HOLD_MS - 1)
    assert loud == []
    tick(db, NOW + 10 * S + rules.HOLD_MS + 2 * S)
    assert len(loud) == 1, "it still stands: somebody is called out"
    held = {each.device: each.held for each in get(db, walk.id).devices}
    assert held == {"smk-1": False, "smk-2": True}


def test_a_device_that_was_tested_is_loud_again_for_the_rest_of_the_walk(db: Database, loud: list[int]) -> None:
    site(db, "smk-1", "smk-2")
    walk = start(db)
    press(db, "smk-1", NOW + 10 * S)
    release(db, "smk-1", NOW + 40 * S)
    tick(db, NOW + 20 * S + rules.HOLD_MS)
    assert loud == []
    press(db, "smk-1", NOW + 30 * S + rules.HOLD_MS, "real")
    assert len(loud) == 1
    assert get(db, walk.id).active


def test_alarms_faster_than_anybody_walks_end_the_walk_and_are_all_loud(db: Database, loud: list[int]) -> None:
    names = [f"smk-{n}" for n in range(6)]
    site(db, *names)
    walk = start(db)
    for n, name in enumerate(names[:5]):
        press(db, name, NOW + 10 * S + 800 * n)
    tick(db, NOW + 16 * S)
    after = get(db, walk.id)
    assert after.storm
    assert not after.active
    assert len(loud) == 5


def test_a_walk_ends_by_itself_however_late_the_timer_D11(db: Database, loud: list[int]) -> None:
    site(db, "smk-1", "smk-2")
    walk = start(db, minutes=5)
    press(db, "smk-1", NOW + 290 * S)
    tick(db, NOW + 3600 * S)
    after = get(db, walk.id)
    assert (after.active, after.ended_by, after.waiting) == (False, "system:patrolgrid", 1)
    assert len(loud) == 1, "what still stands at its end is told"
    tick(db, NOW + 7200 * S)
    assert len(loud) == 1


def test_what_stood_before_the_walk_stays_loud(db: Database, loud: list[int]) -> None:
    site(db, "smk-1", "smk-2")
    press(db, "smk-1", NOW - 60 * S)
    walk = start(db)
    assert [each.quiet for each in alarms(db)] == [""]
    assert {each.device: each.held for each in walk.devices} == {"smk-1": False, "smk-2": True}


def test_an_alarm_from_before_that_comes_late_is_told(db: Database, loud: list[int]) -> None:
    site(db, "smk-1")
    walk = start(db)
    from cloud.alerts import service as alerts

    with db.begin() as tx:
        event = raised("old", "smk-1", NOW - 120 * S)
        alerts.apply_events(tx, "gw-1", "e1", [(next(_sequence), event)], NOW + 10 * S)
    assert loud == []
    tick(db, NOW + 12 * S)
    assert len(loud) == 1
    assert get(db, walk.id).waiting == 1, "and ticks nothing off"


def test_values_tick_off_what_has_no_button(db: Database) -> None:
    site(db, "door-1", profile="generic-door-opcua")
    value(db, "door-1", "open", False, NOW - 5 * S)
    walk = start(db)
    tick(db, NOW + 2 * S)
    assert get(db, walk.id).waiting == 1
    value(db, "door-1", "open", True, NOW + 3 * S)
    tick(db, NOW + 5 * S)
    (device,) = get(db, walk.id).devices
    assert (device.mark, device.what, device.latency_ms) == (Mark.PASSED, "open", 0)


def test_a_new_value_counts_though_the_gateways_clock_is_years_behind_D8(db: Database) -> None:
    site(db, "t-1", profile="generic-temperature-json")

    def tell(temperature: float, at: int, now: int) -> None:
        with db.begin() as tx:
            told = reading("t-1", "temperature", temperature, at, clock=Clock.UNSYNCED)
            devices.apply_readings(tx, "gw-1", "e1", [(next(_sequence), told)], now)

    tell(20.0, 1000, NOW - S)
    walk = start(db)
    tick(db, NOW + 3 * S)
    assert get(db, walk.id).waiting == 1, "that was before"
    tell(21.0, 9000, NOW + 4 * S)
    tick(db, NOW + 6 * S)
    assert get(db, walk.id).passed == 1


def test_a_fault_ticks_nothing_off(db: Database) -> None:
    site(db, "smk-1")
    walk = start(db)
    from cloud.alerts import service as alerts

    with db.begin() as tx:
        event = raised("b", "smk-1", NOW + S, kind="battery-low")
        alerts.apply_events(tx, "gw-1", "e1", [(next(_sequence), event)], NOW + S)
    assert get(db, walk.id).waiting == 1


def test_results_by_hand_and_once_more(db: Database, loud: list[int]) -> None:
    site(db, "smk-1", "smk-2")
    walk = start(db)

    def mark(device: str, how: Mark, now: int, note: str = "") -> WalkDetail:
        with db.begin() as tx:
            service.mark_device(tx, TECH, walk.id, device, MarkBody(mark=how, note=note), now)
        return get(db, walk.id)

    after = mark("smk-1", Mark.UNREACHABLE, NOW + S, "锁着")
    assert (after.unreachable, after.devices[-1].note, after.devices[-1].marked_by) == (1, "锁着", "tech")
    press(db, "smk-2", NOW + 2 * S)
    release(db, "smk-2", NOW + 3 * S)
    tick(db, NOW + 4 * S + rules.HOLD_MS)
    again = mark("smk-2", Mark.WAITING, NOW + 5 * S + rules.HOLD_MS)
    assert {each.device: each.held for each in again.devices}["smk-2"], "it is in hand once more"
    press(db, "smk-2", NOW + 6 * S + rules.HOLD_MS, "again")
    assert {each.device: each.mark for each in get(db, walk.id).devices}["smk-2"] is Mark.PASSED
    assert loud == []
    with pytest.raises(NotFound):
        mark("nobody", Mark.PASSED, NOW)


def test_a_large_walk_keeps_nobody_waiting_at_its_begin_and_end_D1(db: Database) -> None:
    """While it is written nothing else is: no alarm either."""
    site(db, *(f"smk-{n}" for n in range(100)))
    asked = 0

    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    sa.event.listen(db.engine, "before_cursor_execute", count)
    walk = start(db)
    assert all(each.held for each in walk.devices)
    with db.begin() as tx:
        service.end_walk(tx, TECH, walk.id, NOW + S)
    tick(db, NOW + 300 * 60 * S)
    assert asked < 150
    assert not any(each.held for each in get(db, walk.id).devices)


def test_what_appeared_on_the_phone_counts_once(db: Database) -> None:
    site(db, "smk-1")
    walk = start(db)
    press(db, "smk-1", NOW + 10 * S)
    for ago in (190 * S - 700, 5):
        with db.begin() as tx:
            service.show_devices(tx, TECH, walk.id, ShownBody(devices={"smk-1": ago}), NOW + 200 * S)
    (device,) = get(db, walk.id).devices
    assert device.shown_ms == 1000


def test_one_walk_at_a_time_and_only_what_is_there(db: Database) -> None:
    site(db, "smk-1")
    with pytest.raises(Invalid):
        start(db, part="building-9")
    with pytest.raises(NotFound):
        start(db, devices=["nobody"])
    first = start(db)
    with pytest.raises(Conflict):
        start(db)
    with db.begin() as tx:
        ended = service.end_walk(tx, TECH, first.id, NOW + S)
        assert service.end_walk(tx, TECH, first.id, NOW + 2 * S) == ended
    assert start(db, now=NOW + 3 * S).id != first.id


def test_only_who_provisions_starts_one_and_only_within_scope(db: Database) -> None:
    house = site(db, "smk-1")
    reader = Principal("user", 3, "wang", Role.DISPATCHER, ROOT)
    elsewhere = technician("/999/")
    walk = start(db)
    with db.begin() as tx:
        with pytest.raises(Forbidden):
            service.start_walk(tx, reader, NewWalk(gateway="gw-1"), NOW)
        with pytest.raises(NotFound):
            service.start_walk(tx, elsewhere, NewWalk(gateway="gw-1"), NOW)
        with pytest.raises(NotFound):
            service.get_walk(tx, elsewhere, walk.id)
        assert service.list_walks(tx, elsewhere).items == []
        assert len(service.list_walks(tx, technician(house), "gw-1").items) == 1


def test_maintenance_from_the_page_ends_by_itself(db: Database, loud: list[int]) -> None:
    site(db, "smk-1")
    with db.begin() as tx:
        body = MaintenanceBody(gateway="gw-1", device="smk-1", minutes=5, reason="换电池")
        assert service.maintain(tx, TECH, body, NOW).active
    press(db, "smk-1", NOW + S)
    assert loud == []
    tick(db, NOW + 301 * S)
    assert len(loud) == 1


def test_the_maintenance_in_force_is_listed_without_what_a_walk_holds_and_ended_S4(db: Database) -> None:
    site(db, "smk-1", "smk-2")
    start(db)
    body = MaintenanceBody(gateway="gw-1", device="smk-1", minutes=30, reason="new battery")
    with db.begin() as tx:
        made = service.maintain(tx, TECH, body, NOW)
        assert [each.id for each in service.maintained(tx, TECH, "gw-1", NOW + S)] == [made.id]
        with pytest.raises(NotFound):
            service.maintained(tx, technician("/999/"), "gw-1", NOW)
        with pytest.raises(NotFound):
            service.end_maintenance(tx, technician("/999/"), "gw-1", made.id, NOW)
    know(db, "gw-2")
    with db.begin() as tx:
        with pytest.raises(NotFound, match=f"maintenance {made.id}"):
            service.end_maintenance(tx, TECH, "gw-2", made.id, NOW)
        for _ in range(2):
            service.end_maintenance(tx, TECH, "gw-1", made.id, NOW + S)
        assert service.maintained(tx, TECH, "gw-1", NOW + S) == []
