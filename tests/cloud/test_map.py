"""The map: what a window shows, marks and clusters, datums of tiles, and scope (S4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.config import Config
from cloud.devices import service as devices
from cloud.errors import Invalid
from cloud.http import headers_with
from cloud.maps import rules
from cloud.maps import service as maps
from cloud.maps.datum import Datum, from_datum, to_datum
from cloud.maps.rules import Spot, Window, window_of
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.org.tree import Kind
from firmware_specs.wire import Reported, ReportedDevice
from tests.cloud.cloud_support import NOW, Served, know

if TYPE_CHECKING:
    from pathlib import Path

CHINA = st.tuples(st.floats(18, 53), st.floats(74, 134))
METRE = 1 / 111_320

GCJ = [
    ((31.1774276, 121.5272106), (31.17530398364597, 121.531541859215)),
    ((22.543847, 113.912316), (22.540796131694766, 113.9171764808363)),
    ((39.911954, 116.377817), (39.91334545536069, 116.38404722455657)),
]
"""WGS-84 and GCJ-02 of places in Shanghai, Shenzhen and Beijing: the test values of googollee/eviltransform."""
BD = [((30.517411, 114.363089), (30.521392123098003, 114.3750500836037))]
"""WGS-84 and BD-09 of a place in Wuhan: the test value of a Go library that goes the usual way, by GCJ-02."""
SHIFTS = [*((Datum.GCJ02, *pair) for pair in GCJ), *((Datum.BD09, *pair) for pair in BD)]


@pytest.mark.parametrize(("datum", "here", "there"), SHIFTS)
def test_datums_shift_as_is_known(datum: Datum, here: tuple[float, float], there: tuple[float, float]) -> None:
    assert to_datum(*here, datum) == pytest.approx(there, abs=1e-6)
    assert from_datum(*there, datum) == pytest.approx(here, abs=1e-6)


@given(CHINA, st.sampled_from(Datum))
def test_there_and_back_is_within_a_centimetre(place: tuple[float, float], datum: Datum) -> None:
    assert from_datum(*to_datum(*place, datum), datum) == pytest.approx(place, abs=METRE / 100)


@pytest.mark.parametrize("place", [(48.85, 2.35), (-27.47, 153.03), (0.0, 0.0), (90.0, 180.0)])
def test_outside_of_china_gcj02_is_wgs84(place: tuple[float, float]) -> None:
    assert to_datum(*place, Datum.GCJ02) == place


@pytest.mark.parametrize(
    "bbox", ["1,2,3", "a,b,c,d", "3,0,1,2", "0,3,1,2", "0,0,1,91", "nan,0,1,2", "0,0,inf,1", "0,0,1,2,3", ","]
)
def test_a_window_that_is_none_is_refused(bbox: str) -> None:
    with pytest.raises(Invalid, match="bbox: not west"):
        window_of(bbox)


def spots(count: int, width: float) -> list[Spot]:
    """Devices in a square grid, from longitude 108, latitude 34 on."""
    side = int(count**0.5)
    places = ((34 + width * (n // side) / side, 108 + width * (n % side) / side) for n in range(count))
    return [Spot("gw", f"d{n}", "/", "normal", *place) for n, place in enumerate(places)]


def test_devices_at_one_point_are_one_mark_and_many_points_become_cells() -> None:
    window = Window(107.9, 33.9, 108.2, 34.2)
    same = [Spot("gw", f"x{n}", "/", "normal", 34.0, 108.0) for n in range(1000)]
    marks, clustered = rules.marks(same, window)
    assert (len(marks), len(marks[0].spots), clustered) == (1, 1000, False)
    few = rules.marks(spots(484, 0.1), window)
    assert (len(few[0]), few[1]) == (484, False)
    many, clustered = rules.marks(spots(10_000, 0.1), window)
    assert clustered
    assert sum(len(mark.spots) for mark in many) == 10_000
    assert len(many) <= rules.MAX_MARKS
    assert rules.marks(spots(100, 0.1), Window(0, 0, 1, 1)) == ([], False)


@given(st.floats(0.01, 40_000))
def test_cells_are_no_finer_than_a_fortieth_of_the_window(width_km: float) -> None:
    resolution = rules.cell_resolution(width_km)
    assert 0 <= resolution <= 15
    assert resolution >= rules.cell_resolution(width_km * 2)


def test_a_device_is_drawn_where_the_nearest_node_above_it_is() -> None:
    points = {"/1/": (1.0, 1.0), "/1/2/": (2.0, 2.0), "/": (0.0, 0.0)}
    assert rules.nearest_point("/1/2/3/", points) == (2.0, 2.0)
    assert rules.nearest_point("/1/9/", points) == (1.0, 1.0)
    assert rules.nearest_point("/7/", {"/1/": (1.0, 1.0)}) is None


def square(lon: float, lat: float, size: float) -> dict[str, Any]:
    east, north = lon + size, lat + size
    return {"type": "Polygon", "coordinates": [[[lon, lat], [east, lat], [east, north], [lon, north], [lon, lat]]]}


def test_outlines_are_drawn_when_they_can_be_seen() -> None:
    outlines = {"big": json.dumps(square(108, 34, 1)), "small": json.dumps(square(108.1, 34.1, 0.001))}
    assert list(rules.seen(outlines, Window(107, 33, 110, 36))) == ["big"]
    assert list(rules.seen(outlines, Window(108.09, 34.09, 108.11, 34.11))) == ["big", "small"]
    assert rules.seen(outlines, Window(0, 0, 1, 1)) == {}


def fleet(served: Served) -> tuple[str, str]:
    """Two districts with an outline each; a gateway with three devices in the first, one of them at its own point."""
    paths = []
    know(served.db, "gw-1")
    with served.db.begin() as tx:
        for code, lon in (("A", 108.0), ("B", 109.0)):
            outline = {"outline": json.dumps(square(lon, 34, 0.5)), "lat": 34.25, "lon": lon + 0.25}
            made = tree.add_node(tx, SYSTEM, ROOT, Kind.DISTRICT, (code, code), now_ms=NOW, code=code, **outline)
            paths.append(made.path)
        reported = tuple(ReportedDevice(f"d{n}", "generic-smoke-senml", "c", f"d{n}", "") for n in range(3))
        devices.apply_reported(tx, "gw-1", Reported(1, "h", reported), NOW)
        devices.place(tx, SYSTEM, "gw-1", None, paths[0], NOW)
        devices.place(tx, SYSTEM, "gw-1", "d2", paths[1], NOW, devices.Point(34.1, 109.1))
    return paths[0], paths[1]


def test_the_map_over_http_is_scoped_S4(service: Served) -> None:
    first, second = fleet(service)
    with service.client() as api:
        assert api.get("/map").json()["nodes"] == [], "too small to be seen on a map of the world"
        whole = api.get("/map", params={"bbox": "107,33,110,35"}).json()
        assert [node["path"] for node in whole["nodes"]] == [first, second]
        assert [(d["count"], d["device"], d["lat"], d["lon"]) for d in whole["devices"]] == [
            (1, "d2", 34.1, 109.1), (2, None, 34.25, 108.25),
        ]  # fmt: skip
        assert whole["devices"][1]["states"] == {"unknown": 2}
        assert whole["members"] is None
        part = api.get("/map", params={"bbox": "107.9,33.9,108.6,34.6"}).json()
        assert [node["path"] for node in part["nodes"]] == [first]
        assert [d["count"] for d in part["devices"]] == [2]
        moved = api.get("/map", params={"bbox": "107.9,33.9,108.6,34.6", "datum": "gcj02"}).json()["devices"][0]
        assert (moved["lat"], moved["lon"]) == pytest.approx(to_datum(34.25, 108.25, Datum.GCJ02))
        assert api.get("/map", params={"bbox": "1,2"}).status_code == 422
    for path, other in ((first, second), (second, first)):
        with service.client(node=path) as api:
            text = api.get("/map", params={"bbox": "107,33,110,35"}).text
            assert path in text
            assert other not in text


def test_the_map_opens_where_work_is_done_S4(service: Served) -> None:
    first, second = fleet(service)
    whole = Principal("user", 1, "li", Role.DISPATCHER)
    with service.db.begin() as tx:
        assert maps.extent(tx, whole) == (108.0, 34.0, 109.5, 34.5)
        place = {"lat": 34.3, "lon": 108.1}
        tree.add_node(tx, SYSTEM, first, Kind.COMMUNITY, ("c", "c"), now_ms=NOW, code="C", **place)
        assert maps.extent(tx, whole) == (108.1, 34.3, 108.1, 34.3)
        there = maps.extent(tx, Principal("user", 1, "li", Role.DISPATCHER, second))
        assert there == (109.0, 34.0, 109.5, 34.5), "who sees no community sees the outline of what is theirs"
        none = tree.add_node(tx, SYSTEM, ROOT, Kind.DISTRICT, ("n", "n"), now_ms=NOW, code="N").path
        assert maps.extent(tx, Principal("user", 1, "li", Role.DISPATCHER, none)) is None


def test_members_are_for_who_may_locate_P5(service: Served) -> None:
    with service.client(Role.PROPERTY) as api:
        answer = api.get("/map", params={"members": True})
        assert answer.status_code == 403
        assert "role property may not locate" in answer.json()["detail"]
    with service.client(Role.DISPATCHER) as api:
        assert api.get("/map", params={"members": True}).json()["members"] == []


@pytest.mark.parametrize(
    ("tiles_url", "host"),
    [
        ("https://{s}.tiles.example/{z}/{x}/{y}.png?v=1", "https://*.tiles.example"),
        ("https://tiles.example:8443/{z}/{y}/{x}", "https://tiles.example:8443"),
        ("http://127.0.0.1:9/{z}/{y}/{x}", "http://127.0.0.1:9"),
    ],
)
def test_tiles_are_allowed_from_their_host_only(tmp_path: Path, tiles_url: str, host: str) -> None:
    config = Config.model_validate({"data_dir": tmp_path, "map": {"tiles_url": tiles_url, "datum": "gcj02"}})
    policy = dict(headers_with(config.map.host))[b"content-security-policy"].decode()
    assert f"img-src 'self' data: {host};" in policy
    assert "unsafe" not in policy
    assert b"img-src 'self' data:;" in dict(headers_with(""))[b"content-security-policy"]


@pytest.mark.parametrize(
    "tiles_url",
    ["https://tiles.example/", "http://tiles.example/{z}/{x}/{y}", "https://a;script-src */{z}/{x}/{y}",
     "https://{z}.example/{z}/{x}/{y}", "ftp://x/{z}/{x}/{y}", "https://user@x/{z}/{x}/{y}"],
)  # fmt: skip
def test_tiles_from_anywhere_else_are_refused(tmp_path: Path, tiles_url: str) -> None:
    with pytest.raises(ValueError, match=r"tiles_url|not https"):
        Config.model_validate({"data_dir": tmp_path, "map": {"tiles_url": tiles_url}})
