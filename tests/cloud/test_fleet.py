"""The fleet on a real database: latest values, states, what a gateway reports."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.alerts import service as alerts
from cloud.devices import service
from cloud.devices.models import DeviceState, DeviceView, LatestView, PositionView
from cloud.devices.rules import Facts, device_state
from cloud.errors import Conflict, Invalid, NotFound
from cloud.ingest import outgoing
from cloud.org.rules import SYSTEM, Principal, Role
from firmware_specs.readings import Clock, NameRefused, Position, Quality, Value
from firmware_specs.wire import LaneStatus, Reported, ReportedDevice, Status
from tests.cloud.cloud_support import NOW, know, raised, reading

if TYPE_CHECKING:
    from cloud.db import Database
    from firmware_specs.readings import Reading

STATUS = Status(
    online=True,
    agent_version="0.1.0",
    boot="b1",
    config_hash="h1",
    at_ms=NOW,
    lanes={"telemetry": LaneStatus(waiting=3)},
)


def hear(db: Database, *items: tuple[int, Reading], gateway: str = "gw-1", epoch: str = "e1", now: int = NOW) -> None:
    with db.begin() as tx:
        service.heard(tx, gateway, now)
        service.apply_readings(tx, gateway, epoch, items, now)


def device(db: Database, name: str = "smk-1", gateway: str = "gw-1", now: int = NOW) -> DeviceView:
    with db.read() as tx:
        return service.get_device(tx, SYSTEM, gateway, name, now)


def value(db: Database, metric: str = "smoke", name: str = "smk-1") -> LatestView:
    return device(db, name).latest[metric]


def test_a_reading_makes_its_device_and_shows_its_value(db: Database) -> None:
    know(db, "gw-1")
    hear(db, (1, reading("smk-1", "smoke", 0.5, NOW - 2000)))
    shown = device(db)
    assert (shown.profile, shown.state) == ("", DeviceState.NORMAL)
    assert (shown.latest["smoke"].value, shown.latest["smoke"].age_s) == (0.5, 2.0)


def test_every_kind_of_value_comes_back_as_it_was(db: Database) -> None:
    know(db, "gw-1")
    values: list[Value] = [1.5, True, False, "text \x00 \U0001f525", "nan", 0.0]
    hear(db, *((n, reading("d", f"m{n}", v)) for n, v in enumerate(values)))
    hear(db, (99, reading("d", "position", Position(34.2, 108.7, 6.0))))
    shown = device(db, "d").latest
    assert [shown[f"m{n}"].value for n in range(len(values))] == values
    assert shown["position"].value == PositionView(lat=34.2, lon=108.7, accuracy_m=6.0)


@pytest.mark.parametrize("jump", [4_070_908_800_000, 0, NOW + 3_600_000, NOW - 3_600_000, 2**66, -(2**66)])
def test_a_clock_that_jumped_does_not_freeze_the_latest_value_D8(db: Database, jump: int) -> None:
    know(db, "gw-1")
    hear(db, (1, reading("smk-1", "smoke", 1.0)))
    hear(db, (2, reading("smk-1", "smoke", 2.0, jump, clock=Clock.UNSYNCED)))
    assert value(db).value == 2.0
    assert value(db).clock is Clock.UNSYNCED
    assert value(db).age_s >= 0
    hear(db, (3, reading("smk-1", "smoke", 3.0)))
    assert value(db).value == 3.0


_names = itertools.count()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 30), min_size=1, max_size=10, unique=True).flatmap(st.permutations))
def test_any_order_of_packs_gives_the_same_latest_value_D7(db: Database, order: list[int]) -> None:
    name = f"gw-{next(_names)}"
    know(db, name)
    for sequence in order * 2:
        hear(db, (sequence, reading("smk-1", "smoke", float(sequence), NOW - sequence)), gateway=name)
    assert device(db, gateway=name).latest["smoke"].value == max(order)


def test_a_new_epoch_is_newer_whatever_its_sequence(db: Database) -> None:
    know(db, "gw-1")
    hear(db, (500, reading("smk-1", "smoke", 1.0)))
    hear(db, (1, reading("smk-1", "smoke", 2.0)), epoch="e2")
    assert value(db).value == 2.0


def test_recorded_data_with_old_times_shows_its_last_value(db: Database) -> None:
    know(db, "gw-1")
    hear(db, (1, reading("gps", "speed", 1.0, 500_000_000_000)), (2, reading("gps", "speed", 2.0, 400_000_000_000)))
    assert value(db, "speed", "gps").value == 2.0


def test_status_fills_the_gateway(db: Database) -> None:
    know(db, "gw-1")
    with db.begin() as tx:
        service.apply_status(tx, "gw-1", STATUS, NOW)
        shown = service.get_gateway(tx, SYSTEM, "gw-1")
    assert (shown.online, shown.agent_version, shown.outbox["telemetry"].waiting) == (True, "0.1.0", 3)
    assert shown.last_seen_at is not None


REPORT = Reported(
    1,
    "h1",
    (ReportedDevice("smk-1", "generic-smoke-senml", "mqtt", "sensors/smk-1", "building-3"), ReportedDevice("d2", "x")),
)


def test_a_report_names_the_devices_and_forgets_those_that_went(db: Database) -> None:
    know(db, "gw-1")
    hear(db, (1, reading("smk-1", "smoke", 0.5)), (2, reading("old", "smoke", 0.5)))
    with db.begin() as tx:
        service.apply_reported(tx, "gw-1", REPORT, NOW)
        page = service.list_devices(tx, SYSTEM, NOW)
    assert [d.id for d in page.items] == ["d2", "smk-1"]
    smoke = page.items[1]
    assert (smoke.location, smoke.category, smoke.latest["smoke"].value) == ("building-3", "smoke", 0.5)
    assert (page.items[0].state, page.items[0].reason) == (DeviceState.UNKNOWN, "never-heard")


def test_the_same_report_again_changes_nothing(db: Database) -> None:
    know(db, "gw-1")
    with db.begin() as tx:
        service.apply_reported(tx, "gw-1", REPORT, NOW)
        before = service.touched_devices(tx, 0)
    with db.begin() as tx:
        service.apply_reported(tx, "gw-1", REPORT, NOW + 5000)
        assert service.touched_devices(tx, 0) == before


def test_gateways_are_added_once_and_removed(db: Database) -> None:
    know(db, "gw-1")
    with pytest.raises(Conflict, match="gateway gw-1: known already"):
        know(db, "gw-1")
    with pytest.raises(NameRefused, match="gateway 'a/b': 1 to 64 letters"):
        know(db, "a/b")
    hear(db, (1, reading("smk-1", "smoke", 0.5)))
    with db.begin() as tx:
        outgoing.put(tx, "gw-1", "desired/config", b"of before", NOW)
        service.remove_gateway(tx, SYSTEM, "gw-1", NOW)
        assert [each.payload for each in outgoing.waiting(tx)] == [b""], "what takes its name later must not get it"
        assert service.known_gateways(tx) == set()
        assert not service.list_devices(tx, SYSTEM, NOW).items
        with pytest.raises(NotFound, match="gateway gw-1: not known"):
            service.remove_gateway(tx, SYSTEM, "gw-1", NOW)


def test_lists_page_in_order_and_search(db: Database) -> None:
    know(db, "gw-1", "gw-2")
    for gateway in ("gw-2", "gw-1"):
        hear(db, *((n, reading(f"d{n}", "smoke", 1.0)) for n in range(5)), gateway=gateway)
    seen: list[tuple[str, str]] = []
    cursor = None
    with db.read() as tx:
        while True:
            page = service.list_devices(tx, SYSTEM, NOW, limit=3, cursor=cursor)
            seen += [(d.gateway, d.id) for d in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == [(g, f"d{n}") for g in ("gw-1", "gw-2") for n in range(5)]
        assert len(service.list_devices(tx, SYSTEM, NOW, search="D3").items) == 2
        assert not service.list_devices(tx, SYSTEM, NOW, search="%").items
        assert len(service.list_gateways(tx, SYSTEM, limit=1).items) == 1
        with pytest.raises(Invalid, match="cursor"):
            service.list_devices(tx, SYSTEM, NOW, cursor="zzzz")


def test_scope_holds_for_devices_gateways_and_counts_S4(db: Database) -> None:
    know(db, "gw-1", node="/1/")
    know(db, "gw-2", node="/10/")
    for gateway in ("gw-1", "gw-2"):
        hear(db, (1, reading("smk-1", "smoke", 1.0)), gateway=gateway)
    inside = Principal("user", 1, "li", Role.DISPATCHER, "/1/")
    with db.read() as tx:
        assert [d.gateway for d in service.list_devices(tx, inside, NOW).items] == ["gw-1"]
        assert [g.id for g in service.list_gateways(tx, inside).items] == ["gw-1"]
        assert sum(service.state_counts(tx, inside).devices.values()) == 1
        for call in (
            lambda: service.get_device(tx, inside, "gw-2", "smk-1", NOW),
            lambda: service.get_gateway(tx, inside, "gw-2"),
        ):
            with pytest.raises(NotFound):
                call()


def test_an_alarm_of_a_device_is_its_state_in_lists_and_counts(db: Database) -> None:
    know(db, "gw-1")
    hear(db, (1, reading("smk-1", "smoke", 9.0)), (2, reading("bad", "smoke", "nan", quality=Quality.BAD)))
    with db.begin() as tx:
        alerts.apply_events(tx, "gw-1", "e1", [(1, raised("o1"))], NOW)
        assert service.state_counts(tx, SYSTEM).devices[DeviceState.ALARM] == 1
        assert service.state_counts(tx, SYSTEM).devices[DeviceState.FAULT] == 1
    assert (device(db).state, device(db).reason, device(db).alarms) == (DeviceState.ALARM, "fire", 1)
    assert (device(db, "bad").state, device(db, "bad").reason) == (DeviceState.FAULT, "bad-value")


@pytest.mark.parametrize(
    ("facts", "state", "reason"),
    [
        (Facts(True, True, False, False), DeviceState.NORMAL, ""),
        (Facts(True, False, False, False), DeviceState.UNKNOWN, "never-heard"),
        (Facts(False, True, False, False), DeviceState.UNKNOWN, "gateway-offline"),
        (Facts(True, True, True, False), DeviceState.OFFLINE, "silent"),
        (Facts(True, True, False, False, ["device-silent"]), DeviceState.OFFLINE, "silent"),
        (Facts(False, True, True, False), DeviceState.UNKNOWN, "gateway-offline"),
        (Facts(False, True, True, True, ["fire"]), DeviceState.ALARM, "fire"),
        (Facts(True, True, False, False, ["battery-low"]), DeviceState.FAULT, "battery-low"),
        (Facts(True, True, False, True), DeviceState.FAULT, "bad-value"),
    ],
)
def test_states(facts: Facts, state: DeviceState, reason: str) -> None:
    assert device_state(facts) == (state, reason)
