"""The rule of a device's state in SQL: the same as the pure one, for filters and counts (S4, fleets of any size)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from cloud.alerts import service as alerts
from cloud.devices import service
from cloud.devices.models import DeviceState, DeviceView
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from firmware_specs.readings import Quality
from firmware_specs.wire import Reported, ReportedDevice, Status
from tests.cloud.cloud_support import NOW, Served, know, raised, reading

if TYPE_CHECKING:
    from cloud.db import Database

KINDS = (
    (),
    ("fire",),
    ("device-silent",),
    ("battery-low",),
    ("x-fault",),
    ("Battery-low",),
    ("fault", "device-silent"),
)
PROFILES = ("generic-smoke-senml", "generic-temperature-json", "", "not-known-here")


def fill(db: Database) -> None:
    """Devices in every combination of what a state is judged by, on a gateway that is there and one that is not."""
    know(db, "gw-1")
    know(db, "gw-2", node="/3/")
    cases = list(itertools.product((False, True), (False, True), KINDS))
    for gateway in ("gw-1", "gw-2"):
        report = Reported(1, "h", tuple(ReportedDevice(f"d{n}", PROFILES[n % 4]) for n in range(len(cases))))
        with db.begin() as tx:
            service.apply_status(
                tx, gateway, Status(online=True, agent_version="", boot="b", config_hash="", at_ms=1), NOW
            )
            service.apply_reported(tx, gateway, report, NOW)
            for n, (heard, bad, kinds) in enumerate(cases):
                quality = Quality.BAD if bad else Quality.GOOD
                if heard:
                    one = reading(f"d{n}", "smoke", 1.0, quality=quality)
                    service.apply_readings(tx, gateway, "e", [(n + 1, one)], NOW)
                for kind in kinds:
                    event = raised(f"{gateway}-{n}-{kind}", f"d{n}", kind=kind, rule=f"p/{kind}")
                    alerts.apply_events(tx, gateway, "e", [(n + 1, event)], NOW)
    with db.begin() as tx:
        service.apply_status(tx, "gw-2", Status(online=False, agent_version="", boot="b", config_hash="", at_ms=1), NOW)


def everything(db: Database, who: Principal = SYSTEM, **asked: object) -> list[DeviceView]:
    with db.read() as tx:
        return list(service.list_devices(tx, who, NOW, limit=1000, **asked).items)  # type: ignore[arg-type]


@pytest.mark.parametrize("node", [ROOT, "/3/"])
def test_filters_and_counts_agree_with_the_views(db: Database, node: str) -> None:
    fill(db)
    who = Principal("user", 1, "u", Role.DISPATCHER, node)
    views = everything(db, who)
    assert {view.state for view in views} == (
        set(DeviceState) if node == ROOT else {DeviceState.ALARM, DeviceState.UNKNOWN}
    )
    for state in DeviceState:
        assert everything(db, who, state=[state]) == [view for view in views if view.state is state]
    for category in sorted({view.category for view in views}):
        assert everything(db, who, category=category) == [view for view in views if view.category == category]
    counted: dict[str, dict[DeviceState, int]] = {}
    for view in views:
        states = counted.setdefault(view.category, {})
        states[view.state] = states.get(view.state, 0) + 1
    with db.read() as tx:
        counts = service.state_counts(tx, who)
    assert counts.kinds == counted
    assert sum(counts.devices.values()) == len(views)


def test_the_api_filters_by_state_and_category_page_by_page(service: Served) -> None:
    fill(service.db)
    with service.client() as client:
        found, cursor = [], ""
        while cursor is not None:
            query = {"state": ["alarm", "fault"], "category": "other", "limit": "3"}
            page = client.get("/devices", params=query | ({"cursor": cursor} if cursor else {})).json()
            assert len(page["items"]) == 3 or page["next_cursor"] is None
            found += page["items"]
            cursor = page["next_cursor"]
        kinds = client.get("/devices/counts").json()["kinds"]["other"]
        assert len(found) == kinds["alarm"] + kinds["fault"] > 3
        assert {item["category"] for item in found} == {"other"}
        assert client.get("/devices", params={"state": "broken"}).status_code == 422
