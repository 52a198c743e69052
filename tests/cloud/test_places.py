"""Where devices belong: by their gateway, or by a place of their own that outlives what the gateway reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cloud import importing
from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter
from cloud.devices import service as devices
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.org.tree import Kind
from firmware_specs.wire import Reported, ReportedDevice
from tests.cloud.cloud_support import NOW, Served, cleared, know, raised, reading

if TYPE_CHECKING:
    from cloud.db import Database


def report(db: Database, *names: str, version: int = 1) -> None:
    with db.begin() as tx:
        served = tuple(ReportedDevice(name, "generic-smoke-senml", "c", name, "") for name in names)
        devices.apply_reported(tx, "gw-1", Reported(version, f"h{version}", served), NOW)


def nodes_of(db: Database) -> dict[str, str]:
    with db.read() as tx:
        return {each.id: each.node for each in devices.list_devices(tx, SYSTEM, NOW).items}


@pytest.fixture
def paths(db: Database) -> tuple[str, str]:
    """Two nodes, of codes A and B, and a gateway at the root with two devices."""
    with db.begin() as tx:
        made = tuple(
            tree.add_node(tx, SYSTEM, ROOT, Kind.STREET, (code, code), now_ms=NOW, code=code).path for code in "AB"
        )
    know(db, "gw-1")
    report(db, "smk-1", "smk-2")
    return made[0], made[1]


def put(db: Database, device: str | None, node: str | None, actor: Principal = SYSTEM) -> bool:
    with db.begin() as tx:
        return devices.place(tx, actor, "gw-1", device, node, NOW)


def test_a_gateway_takes_its_devices_along_but_not_those_with_a_place_of_their_own(
    db: Database, paths: tuple[str, str]
) -> None:
    a, b = paths
    assert put(db, "smk-2", b)
    assert put(db, None, a)
    assert nodes_of(db) == {"smk-1": a, "smk-2": b}
    assert not put(db, None, a), "the same again changes nothing"
    assert put(db, "smk-2", None)
    assert nodes_of(db) == {"smk-1": a, "smk-2": a}


def test_places_survive_what_the_gateway_reports_later(db: Database, paths: tuple[str, str]) -> None:
    a, b = paths
    put(db, "smk-2", b)
    put(db, "new-1", b)
    put(db, None, a)
    report(db, "smk-1", version=2)
    assert nodes_of(db) == {"smk-1": a}
    report(db, "smk-1", "smk-2", "new-1", "new-2", version=3)
    assert nodes_of(db) == {"smk-1": a, "smk-2": b, "new-1": b, "new-2": a}
    put(db, "heard", b)
    with db.begin() as tx:
        devices.apply_readings(tx, "gw-1", "e", [(1, reading("heard", "smoke", 0.1))], NOW)
    assert nodes_of(db)["heard"] == b


def test_open_alarms_move_along_and_what_is_over_stays(db: Database, paths: tuple[str, str]) -> None:
    a, b = paths
    with db.begin() as tx:
        events = [raised("o1"), raised("o2", "smk-2"), cleared("o2", "smk-2"), raised("o3", "smk-2", kind="heat")]
        alerts.apply_events(tx, "gw-1", "e", list(enumerate(events, 1)), NOW)
    put(db, None, a)
    put(db, "smk-2", b)
    seen = {}
    for path in (a, b):
        with db.read() as tx:
            viewer = Principal("user", 1, "v", Role.DISPATCHER, path)
            listed = alerts.list_alarms(tx, viewer, AlarmFilter()).items
            seen[path] = sorted(alarm.occurrence for alarm in listed)
    assert seen == {a: ["o1"], b: ["o3"]}


def test_administrators_place_within_their_own_part_S4(db: Database, paths: tuple[str, str]) -> None:
    a, b = paths
    boss = Principal("user", 1, "boss", Role.ADMINISTRATOR, a)
    with pytest.raises(NotFound, match="gateway gw-1: not found"):
        put(db, None, a, boss)
    put(db, "smk-1", a)
    with pytest.raises(NotFound, match="node"):
        put(db, "smk-1", b, boss)
    with pytest.raises(NotFound, match="gateway gw-1: not found"):
        put(db, "smk-2", a, boss)
    with pytest.raises(Invalid, match="its gateway belongs to nobody here"):
        put(db, "smk-1", None, boss)
    put(db, None, a)
    put(db, "smk-2", b)
    with pytest.raises(NotFound, match="device gw-1/smk-2: not found"):
        put(db, "smk-2", a, boss)
    with pytest.raises(Forbidden, match="may not administer"):
        put(db, "smk-1", a, Principal("user", 1, "x", Role.TECHNICIAN))


def test_the_places_of_a_file(db: Database, paths: tuple[str, str]) -> None:
    a, b = paths
    tables: list[dict[str, Any]] = [
        {"gateway": "gw-1", "device": "smk-2", "node": "B", "lat": 34.2, "lon": 108.9},
        {"gateway": "gw-1", "node": "A"},
    ]
    for moved in (2, 0):
        with db.begin() as tx:
            assert importing.apply(tx, SYSTEM, {"places": tables}, NOW) == {"places": moved}
    assert nodes_of(db) == {"smk-1": a, "smk-2": b}
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"gateway": "gw-9", "node": "A"}, r"places\[1\]: gateway gw-9: not found"),
        ({"gateway": "gw-1", "node": "Z"}, r"places\[1\]: node Z: not known"),
        ({"gateway": "gw-1"}, r"places\[1\]: node: field required"),
        ({"gateway": "gw-1", "node": "A", "lat": 1}, r"places\[1\]: lat and lon come together"),
    )
    for table, said in wrong:
        with db.begin() as tx, pytest.raises((Invalid, NotFound), match=said):
            importing.apply(tx, SYSTEM, {"places": [table]}, NOW)


def test_places_over_http(service: Served) -> None:
    know(service.db, "gw-1")
    report(service.db, "smk-1")
    with service.client(Role.ADMINISTRATOR) as api:
        node = api.post("/nodes", json={"kind": "street", "name_zh": "街"}).json()["path"]
        body = {"gateway": "gw-1", "device": "smk-1", "node": node, "lat": 34.2, "lon": 108.9}
        assert [api.post("/places", json=body).json() for _ in range(2)] == [{"changed": True}, {"changed": False}]
        assert api.get("/devices/gw-1/smk-1").json()["node"] == node
        assert api.post("/places", json=body | {"lat": None}).status_code == 422
        assert api.post("/places", json={"gateway": "gw-1", "node": None}).status_code == 422
        assert api.post("/places", json={"gateway": "gw-1", "node": "/999/"}).status_code == 404
        assert api.post("/places", json={"gateway": "gw-1", "node": node}).json() == {"changed": True}
        assert api.get("/gateways/gw-1").json()["node"] == node
    with service.client(Role.TECHNICIAN) as api:
        assert api.post("/places", json=body).status_code == 403
