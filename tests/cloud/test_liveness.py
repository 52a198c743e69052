"""Silence becomes a state: by deadline rows, after restarts, once for a whole gateway (D2, D11)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloud import catalogue
from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter, AlarmState, AlarmView
from cloud.devices import liveness, service
from cloud.devices.models import DeviceState
from cloud.devices.rules import allowed_silence_ms
from cloud.devices.store import deadlines
from cloud.org.rules import SYSTEM
from firmware_specs.readings import Severity
from firmware_specs.wire import Reported, ReportedDevice, Status
from tests.cloud.cloud_support import NOW, know, raised, reading

if TYPE_CHECKING:
    from cloud.db import Database

ALLOWED = liveness.Allowed(90_000, 15_000)
PROFILE = "generic-smoke-senml"
ONLINE = Status(online=True, agent_version="1", boot="b", config_hash="h", at_ms=NOW)
WILL = Status(online=False, agent_version="1", boot="b", config_hash="h", at_ms=NOW)


def start(db: Database, *names: str) -> None:
    """A gateway with devices, online at NOW."""
    know(db, "gw-1")
    report = Reported(1, "h", tuple(ReportedDevice(name, PROFILE) for name in names))
    with db.begin() as tx:
        service.apply_reported(tx, "gw-1", report, NOW)
        service.apply_status(tx, "gw-1", ONLINE, NOW)
        service.apply_readings(tx, "gw-1", "e", [(n, reading(d, "smoke", 0.1)) for n, d in enumerate(names, 1)], NOW)


def look(db: Database, now: int) -> None:
    """What the worker does at a time: attend, then every deadline that is due."""
    with db.begin() as tx:
        liveness.attend(tx, now)
    while True:
        with db.begin() as tx:
            if liveness.tick(tx, now, ALLOWED) < liveness.BATCH:
                return


def watch(db: Database, until: int, since: int = NOW) -> None:
    for now in (*range(since, until, 5000), until):
        look(db, now)


def hear(db: Database, now: int) -> None:
    with db.begin() as tx:
        service.heard(tx, "gw-1", now)


def open_alarms(db: Database) -> list[AlarmView]:
    with db.read() as tx:
        return list(alerts.list_alarms(tx, SYSTEM, AlarmFilter(state=(AlarmState.OPEN,))).items)


def states(db: Database) -> list[tuple[DeviceState, str]]:
    with db.read() as tx:
        return [(d.state, d.reason) for d in service.list_devices(tx, SYSTEM, NOW).items]


def silence_ms() -> int:
    profile = catalogue.profile(PROFILE)
    assert profile
    return allowed_silence_ms(profile, ALLOWED.device_grace_ms)


def test_a_gateway_is_offline_90_s_after_its_last_word_D2(db: Database) -> None:
    start(db, "smk-1", "smk-2")
    watch(db, NOW + 89_000)
    assert not open_alarms(db)
    look(db, NOW + 90_000)
    (alarm,) = open_alarms(db)
    assert (alarm.kind, alarm.device, alarm.severity) == ("gateway-offline", None, Severity.MAJOR)
    assert states(db) == [(DeviceState.UNKNOWN, "gateway-offline")] * 2


def test_every_word_renews_the_lease(db: Database) -> None:
    start(db)
    for second in range(10, 301, 10):
        hear(db, NOW + second * 1000)
        look(db, NOW + second * 1000)
    assert not open_alarms(db)


def test_the_will_counts_at_once_and_the_return_clears(db: Database) -> None:
    start(db, "smk-1")
    with db.begin() as tx:
        service.apply_status(tx, "gw-1", WILL, NOW + 500)
    assert [a.kind for a in open_alarms(db)] == ["gateway-offline"]
    hear(db, NOW + 9000)
    assert not open_alarms(db)
    assert states(db) == [(DeviceState.NORMAL, "")]
    with db.begin() as tx:
        service.apply_status(tx, "gw-1", WILL, NOW + 10_000)
        assert len(alerts.list_alarms(tx, SYSTEM, AlarmFilter()).items) == 2


def test_a_retained_status_proves_no_life(db: Database) -> None:
    start(db)
    look(db, NOW + 1000)
    with db.begin() as tx:
        service.apply_status(tx, "gw-1", ONLINE, NOW + 60_000, retained=True)
    watch(db, NOW + 91_000, NOW + 2000)
    assert [a.kind for a in open_alarms(db)] == ["gateway-offline"]
    with db.begin() as tx:
        service.apply_status(tx, "gw-1", ONLINE, NOW + 100_000, retained=True)
        assert not service.get_gateway(tx, SYSTEM, "gw-1").online


def test_a_gateways_outage_raises_no_alarm_for_its_devices(db: Database) -> None:
    start(db, *(f"smk-{n}" for n in range(20)))
    watch(db, NOW + silence_ms() + 60_000)
    assert [a.kind for a in open_alarms(db)] == ["gateway-offline"]


def test_silent_devices_are_folded_into_the_outage_and_back(db: Database) -> None:
    start(db, "smk-1")
    silent = raised("o1", kind="device-silent", severity=Severity.MINOR)
    with db.begin() as tx:
        alerts.apply_events(tx, "gw-1", "e", [(1, silent)], NOW)
        service.apply_status(tx, "gw-1", WILL, NOW + 1)
        folded = alerts.list_alarms(tx, SYSTEM, AlarmFilter(kind="device-silent")).items[0]
        outage = alerts.list_alarms(tx, SYSTEM, AlarmFilter(kind="gateway-offline")).items[0]
        assert (folded.folded_into, outage.folded) == (outage.id, 1)
        assert alerts.open_counts(tx, SYSTEM, NOW).open == 1
        service.heard(tx, "gw-1", NOW + 2)
        assert alerts.open_counts(tx, SYSTEM, NOW).open == 1
        assert alerts.list_alarms(tx, SYSTEM, AlarmFilter(kind="device-silent")).items[0].folded_into is None


def test_a_silent_device_is_noticed_and_its_word_clears_D2(db: Database) -> None:
    start(db, "smk-1")
    for now in range(NOW, NOW + silence_ms() + 1, 5000):
        hear(db, now)
        look(db, now)
    hear(db, NOW + silence_ms())
    look(db, NOW + silence_ms())
    (alarm,) = open_alarms(db)
    assert (alarm.kind, alarm.device) == ("device-silent", "smk-1")
    assert states(db) == [(DeviceState.OFFLINE, "silent")]
    with db.begin() as tx:
        service.apply_readings(tx, "gw-1", "e", [(9, reading("smk-1", "smoke", 0.1))], NOW + silence_ms() + 1)
    assert not open_alarms(db)
    assert states(db) == [(DeviceState.NORMAL, "")]


def test_the_gateways_own_word_for_silence_is_not_doubled(db: Database) -> None:
    start(db, "smk-1")
    with db.begin() as tx:
        alerts.apply_events(tx, "gw-1", "e", [(1, raised("o1", kind="device-silent"))], NOW)
    for now in range(NOW, NOW + silence_ms() + 10_000, 5000):
        hear(db, now)
        look(db, now)
    assert [a.occurrence for a in open_alarms(db)] == ["o1"]


def test_after_a_return_devices_have_their_full_time(db: Database) -> None:
    start(db, "smk-1")
    back = NOW + silence_ms() + 500_000
    look(db, NOW + 1000)
    with db.begin() as tx:
        service.apply_status(tx, "gw-1", WILL, NOW + 2000)
    watch(db, NOW + 10_000, NOW + 2000)
    hear(db, back)
    look(db, back + 1000)
    assert not open_alarms(db)


def test_overdue_deadlines_fire_after_a_restart_less_the_time_nobody_watched_D11(db: Database) -> None:
    start(db)
    watch(db, NOW + 30_000)
    down = 3_600_000
    look(db, NOW + 30_000 + down)
    assert not open_alarms(db), "the cloud was away: no word could be heard"
    watch(db, NOW + 89_000 + down, NOW + 31_000 + down)
    assert not open_alarms(db)
    look(db, NOW + 90_000 + down)
    assert [a.kind for a in open_alarms(db)] == ["gateway-offline"]


def test_a_clock_set_back_does_not_stop_deadlines_D8(db: Database) -> None:
    start(db)
    look(db, NOW)
    back = NOW - 10 * 365 * 86_400_000
    watch(db, back + 89_000, back)
    assert not open_alarms(db)
    look(db, back + 90_000)
    assert [a.kind for a in open_alarms(db)] == ["gateway-offline"]


def test_workers_at_the_same_time_raise_one_alarm(db: Database) -> None:
    start(db)
    watch(db, NOW + 89_000)

    def work(_: int) -> int:
        with db.begin() as tx:
            return liveness.tick(tx, NOW + 95_000, ALLOWED)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert [a.kind for a in open_alarms(db)] == ["gateway-offline"]


def test_deadlines_are_rows(db: Database) -> None:
    start(db, "smk-1")
    with db.read() as tx:
        rows = tx.execute(sa.select(deadlines.c.kind, deadlines.c.device).order_by(deadlines.c.kind)).all()
    assert [tuple(row) for row in rows] == [("device", "smk-1"), ("gateway", "")]


def test_an_outage_of_many_holds_up_nobody_for_long_D1(db: Database) -> None:
    """Each transaction of a storm of silences is short: the alarms of others come between them."""
    names = [f"gw-{n}" for n in range(2 * liveness.FALLEN + 1)]
    know(db, *names)
    with db.begin() as tx:
        for name in names:
            service.apply_status(tx, name, ONLINE, NOW)
    left: list[int] = []
    while not left or left[-1]:
        with db.begin() as tx:
            more = liveness.tick(tx, NOW + 95_000, ALLOWED)
            left.append(service.state_counts(tx, SYSTEM).gateways_online)
            assert more < liveness.BATCH or left[-1]
    assert left == [liveness.FALLEN + 1, 1, 0]
