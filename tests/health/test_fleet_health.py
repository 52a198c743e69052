"""The health of gateways as it is told, kept, judged by timers, summed up by node, and seen in scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest

from cloud import timers
from cloud.alerts import service as alerts
from cloud.devices import liveness
from cloud.devices import service as devices
from cloud.devices.health import judging, service
from cloud.devices.health.rules import DAY_MS, HOUR_MS, State
from cloud.errors import NotFound
from cloud.ingest import hooks
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from firmware_specs.readings import Clock, Reading
from firmware_specs.wire import Reported, ReportedDevice, Status
from firmware_specs.wire_vitals import Start, StartReason, Vitals
from tests.cloud.cloud_support import NOW, know

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.db import Database
    from tests.cloud.cloud_support import Served

GB = 1_000_000_000
DAY = NOW // DAY_MS
FINE = Vitals(
    disk_free=8 * GB, disk_size=16 * GB, written=((DAY - 1, GB // 4), (DAY, 5)), written_by="disk", written_budget=GB,
    starts=(Start(NOW - DAY_MS, StartReason.STOP),),
)  # fmt: skip


def tell(
    tx: Connection, gateway: str = "gw-1", at: int = NOW, *, clock: Clock = Clock.SYNCED, vitals: Vitals = FINE
) -> None:
    """A status as ingest hands it on."""
    status = Status(True, "0.1.0", "boot", "hash", at, clock, connectors={"a": "up"}, vitals=vitals)
    devices.apply_status(tx, gateway, status, at)
    for listener in hooks.STATUS:
        listener(tx, gateway, status, at)


def state_of(db: Database, gateway: str = "gw-1", at: int = NOW) -> State:
    with db.read() as tx:
        return service.of_gateway(tx, SYSTEM, gateway, at).state


def open_kinds(db: Database) -> set[str]:
    with db.read() as tx:
        return set(alerts.active_kinds(tx, ["gw-1"]).get(("gw-1", ""), []))


def test_a_status_makes_a_gateway_known_and_the_look_goes_on(db: Database) -> None:
    know(db, "gw-1")
    assert state_of(db) is State.UNKNOWN
    with db.begin() as tx:
        tell(tx)
        tell(tx)
        due = timers.due_of(tx, judging.LOOK, "gw-1") or 0
        assert NOW < due <= NOW + judging.SOON_MS
    with db.begin() as tx:
        timers.tick(tx, due)
        assert due < (timers.due_of(tx, judging.LOOK, "gw-1") or 0) <= due + judging.EVERY_MS
    assert state_of(db) is State.GOOD
    with db.read() as tx:
        assert service.healthy(tx, "gw-1", NOW) == (True, "", None)
        assert service.counts(tx, SYSTEM)[State.GOOD] == 1
        view = service.of_gateway(tx, SYSTEM, "gw-1", NOW)
        assert [each.written for each in view.written] == [GB // 4, 5]
        assert [each.reason for each in view.starts] == ["stop"]
    with db.begin() as tx:
        devices.remove_gateway(tx, SYSTEM, "gw-1", NOW)
        timers.tick(tx, NOW + DAY_MS)
        assert timers.due_of(tx, judging.LOOK, "gw-1") is None


def test_a_clock_out_of_sync_for_an_hour_alarms_and_clears_late_D11(db: Database) -> None:
    know(db, "gw-1")
    with db.begin() as tx:
        tell(tx, clock=Clock.UNSYNCED)
        tell(tx, at=NOW + HOUR_MS, clock=Clock.UNSYNCED)
        timers.tick(tx, NOW + HOUR_MS)
    assert open_kinds(db) == set()
    with db.begin() as tx:
        late = NOW + 5 * HOUR_MS  # the look comes late: the deadline is judged and not lost
        tell(tx, at=late, clock=Clock.UNSYNCED)
        timers.tick(tx, late)
        timers.tick(tx, late)
    assert open_kinds(db) == {"gateway-clock"}
    with db.begin() as tx:
        tell(tx, at=late + 1)
        timers.tick(tx, late + 1)
    assert open_kinds(db) == {"gateway-clock"}
    with db.begin() as tx:
        tell(tx, at=late + HOUR_MS)
        timers.tick(tx, late + HOUR_MS)
    assert open_kinds(db) == set()


def test_a_disk_that_is_nearly_full_alarms_once(db: Database) -> None:
    know(db, "gw-1")
    with db.begin() as tx:
        tell(tx, vitals=msgspec.structs.replace(FINE, disk_free=GB // 2))
        timers.tick(tx, NOW + judging.SOON_MS)
        judging.look(tx, "gw-1", NOW + judging.SOON_MS)
    assert open_kinds(db) == {"gateway-disk-full"}
    with db.begin() as tx:
        tell(tx)
        judging.look(tx, "gw-1", NOW)
    assert open_kinds(db) == set()


def test_what_a_clock_put_into_the_future_counts_for_nothing_D8(db: Database) -> None:
    know(db, "gw-1")
    ahead = msgspec.structs.replace(
        FINE, written=(*FINE.written, (DAY + 30, 1)),
        starts=(*FINE.starts, *(Start(NOW + n * DAY_MS, StartReason.POWER) for n in (2, 3, 26_000))),
    )  # fmt: skip
    with db.begin() as tx:
        tell(tx, vitals=ahead)
    with db.read() as tx:
        view = service.of_gateway(tx, SYSTEM, "gw-1", NOW)
    measures = {each.measure: each for each in view.measures}
    assert (measures["restarts"].value, measures["wear"].value) == (0, 0.25)
    assert [each.reason for each in view.starts] == ["stop"]


def test_the_share_online_is_of_what_is_known(db: Database) -> None:
    know(db, "gw-1")
    with db.begin() as tx:
        tell(tx, at=NOW - 4 * HOUR_MS)
        liveness.went_offline(tx, "gw-1", at_ms=NOW - 2 * HOUR_MS, now_ms=NOW - 2 * HOUR_MS + 90_000)
    with db.begin() as tx:
        tell(tx, at=NOW - HOUR_MS)
    with db.read() as tx:
        view = service.of_gateway(tx, SYSTEM, "gw-1", NOW)
    shares = {each.measure: each.value for each in view.measures if each.measure.startswith("online_")}
    assert shares == {"online_day": 0.75, "online_week": 0.75, "online_month": 0.75}


def test_batteries_and_signals_are_found_by_their_units(db: Database) -> None:
    know(db, "gw-1")
    profile = "generic-temperature-json"
    with db.begin() as tx:
        tell(tx)
        devices.apply_reported(tx, "gw-1", Reported(1, "h", (ReportedDevice("t-1", profile),)), NOW)
        low = Reading("t-1", "battery", 8.0, "%EL", NOW, NOW)
        devices.apply_readings(tx, "gw-1", "e", [(1, low)], NOW)
    with db.read() as tx:
        measures = {each.measure: each for each in service.of_gateway(tx, SYSTEM, "gw-1", NOW).measures}
    assert (measures["battery"].state, measures["battery"].value, measures["battery"].detail) == (State.WATCH, 8.0, "1")
    assert measures["silent"].state is State.GOOD


def test_the_fleet_by_node_in_scope_S4(db: Database) -> None:
    know(db, "gw-1", "gw-2", node="/3/4/")
    know(db, "gw-3", node="/5/")
    with db.begin() as tx:
        tell(tx, "gw-1")
        tell(tx, "gw-3", vitals=msgspec.structs.replace(FINE, disk_free=1))
        timers.tick(tx, NOW + judging.SOON_MS)
    here = Principal("user", 1, "here", Role.PROPERTY, "/3/")
    with db.read() as tx:
        assert [row.gateway for row in service.list_health(tx, SYSTEM).items] == ["gw-3", "gw-2", "gw-1"]
        page = service.list_health(tx, here, limit=1)
        rest = service.list_health(tx, here, limit=1, cursor=page.next_cursor)
        assert [row.gateway for row in [*page.items, *rest.items]] == ["gw-2", "gw-1"]
        assert service.list_health(tx, here, state=State.GOOD).items[0].gateway == "gw-1"
        whole, *below = service.by_node(tx, SYSTEM, ROOT)
        assert (whole.gateways, whole.states[State.BAD]) == (3, 1)
        assert [(each.node, each.gateways) for each in below] == [("/5/", 1), ("/3/", 2)]
        with pytest.raises(NotFound):
            service.of_gateway(tx, here, "gw-3", NOW)
        assert sum(service.counts(tx, here).values()) == 2


def test_the_api_and_the_figures(service: Served) -> None:
    know(service.db, "gw-1")
    with service.db.begin() as tx:
        tell(tx)
        timers.tick(tx, NOW + judging.SOON_MS)
    with service.client(Role.PROPERTY) as client:
        assert client.get("/fleet/health").json()["items"][0]["state"] == "good"
        assert client.get("/fleet/health", params={"state": "bad"}).json()["items"] == []
        assert client.get("/fleet/health/nodes").json()["items"][0]["gateways"] == 1
        measures = client.get("/gateways/gw-1/health").json()["measures"]
        assert measures[0]["measure"] == "line"
        assert client.get("/gateways/gw-9/health").status_code == 404
        assert client.get("/gateways/gw-1/ledger", params={"days": 7}).json()["reconciled"] is True
    assert 'patrol_gateway_health{state="good"} 1.0' in httpx.get(f"{service.url}/metrics").text


def test_words_that_a_column_refuses_are_kept_as_they_can_be(db: Database) -> None:
    know(db, "gw-1")
    starts = (Start(NOW, StartReason.CRASH, "nul \x00 and \ud800".encode("utf-8", "replace").decode()),)
    with db.begin() as tx:
        tell(tx, vitals=msgspec.structs.replace(FINE, starts=starts, renewal="\x00"))
        tell(tx, vitals=msgspec.structs.replace(FINE, starts=starts, renewal="again"))
    with db.read() as tx:
        (start,) = service.of_gateway(tx, SYSTEM, "gw-1", NOW).starts
    assert "\x00" not in start.detail
