"""The tree: nodes over the service, files and HTTP; what is wrong is named, nobody reaches beside their own part."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud import importing
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import node_files, service, tree
from cloud.org.node_models import NodeEntry
from cloud.org.outlines import outline_of
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.org.tree import Kind
from firmware_specs.errors import ConfigError
from tests.cloud.cloud_support import NOW, Served, know

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from cloud.db import Database

SQUARE = {
    "type": "Polygon",
    "coordinates": [[[108.9, 34.2], [109.0, 34.2], [109.0, 34.3], [108.9, 34.3], [108.9, 34.2]]],
}


def node(tx: Connection, code: str, parent: str = ROOT, kind: Kind = Kind.DISTRICT, actor: Principal = SYSTEM) -> str:
    return tree.add_node(tx, actor, parent, kind, (f"{code} 区", code), now_ms=NOW, code=code).path


def administrator(path: str) -> Principal:
    return Principal("user", 99, "boss", Role.ADMINISTRATOR, path)


def ring(*positions: list[float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [list(positions)]}


def test_an_outline_gets_a_point_inside_and_loses_its_altitudes() -> None:
    horseshoe = ring([0, 0, 5], [3, 0, 5], [3, 3, 5], [2, 3, 5], [2, 1, 5], [1, 1, 5], [1, 3, 5], [0, 3, 5], [0, 0, 5])
    made = outline_of(horseshoe)
    assert json.loads(made.text)["coordinates"][0][1] == [3.0, 0.0]
    assert not (1 < made.lon < 2 and made.lat > 1), "the middle of the box lies outside"
    assert made.box == (0, 0, 3, 3)


@pytest.mark.parametrize(
    ("geometry", "said"),
    [
        ("circle", "outline: 'None' is neither Polygon nor MultiPolygon"),
        ({"type": "Point", "coordinates": [1, 2]}, "outline: 'Point' is neither Polygon nor MultiPolygon"),
        ({"type": "Polygon", "coordinates": []}, "outline: polygon 1: not a list of rings"),
        ({"type": "MultiPolygon", "coordinates": {}}, "outline: coordinates: not a list of polygons"),
        ({"type": "MultiPolygon", "coordinates": [[]]}, "outline: polygon 1: not a list of rings"),
        (ring([0, 0], [1, 0], [0, 0]), "polygon 1, ring 1: fewer than 4 positions"),
        (ring([0, 0], [1, 0], [1, 1], [0, 1]), "polygon 1, ring 1: not closed, its last position is not its first"),
        (ring([0, 0], [1, 0], [1, 91], [0, 0]), r"ring 1, position 3: \[1, 91\] is not within longitude ±180"),
        (ring([0, 0], [1, 0], [1, float("nan")], [0, 0]), "position 3"),
        (ring([0, 0], [1, 0], [1, True], [0, 0]), "position 3: not numbers"),
        (ring([0, 0], [1, 0], [1], [0, 0]), r"position 3: not \[longitude, latitude\]"),
        (ring([0, 0], [1, 1], [1, 0], [0, 1], [0, 0]), r"outline: Self-intersection"),
        (ring([0, 0], [1, 1], [2, 2], [0, 0]), "outline: "),
        ({"type": "Polygon", "coordinates": [[[0, 0]] * 20_001]}, "more than 20000 positions in all"),
    ],
)
def test_what_is_no_outline_is_refused_with_its_cause(geometry: object, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        outline_of(geometry)


Json = st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=4))


@given(st.sampled_from(["Polygon", "MultiPolygon"]), Json)
@settings(max_examples=200, deadline=None)
def test_arbitrary_coordinates_are_an_outline_or_refused(kind: str, coordinates: object) -> None:
    try:
        made = outline_of({"type": kind, "coordinates": coordinates})
    except Invalid as e:
        assert str(e).startswith("outline")  # noqa: PT017 - one of two outcomes
    else:
        assert outline_of(json.loads(made.text)).text == made.text


def test_a_node_is_made_renamed_and_archived(db: Database) -> None:
    with db.begin() as tx:
        top = node(tx, "QX")
        street = node(tx, "QX-1", top, Kind.STREET)
        assert tree.parent_of(street) == top
        again = {"name_en": "First street", "population": 1000}
        assert tree.change_node(tx, SYSTEM, street, again, NOW).name_en == "First street"
        tree.change_node(tx, SYSTEM, top, {"settlement": "rural", "time_zone": "Asia/Urumqi"}, NOW)
        assert tree.inherited(tx, street, "settlement") == "rural"
        with pytest.raises(Conflict, match="node QX: holds 1 nodes"):
            tree.archive_node(tx, SYSTEM, top, NOW)
        tree.archive_node(tx, SYSTEM, street, NOW)
        with pytest.raises(NotFound):
            tree.get_node(tx, SYSTEM, street)
        assert tree.names(tx, [street]) == {street: ("QX-1 区", "First street")}, "what is past keeps its name"
        node(tx, "QX-1", top, Kind.STREET)
        with pytest.raises(Invalid, match="a district cannot be below a district"):
            node(tx, "QX-2", top, Kind.DISTRICT)
        with pytest.raises(Conflict, match="node QX: exists already"):
            node(tx, "QX")


def test_a_node_that_holds_devices_or_users_stays(db: Database) -> None:
    with db.begin() as tx:
        top = node(tx, "QX")
        service.add_user(tx, SYSTEM, "li", Role.PROPERTY, NOW, node=top)
        service.add_token(tx, SYSTEM, "t", Role.PROPERTY, now_ms=NOW, expires_at=NOW + 1, node=top)
    know(db, "gw-1", node=top)
    with db.begin() as tx:
        with pytest.raises(Conflict, match="node QX: holds 1 gateways, 1 tokens, 1 users"):
            tree.archive_node(tx, SYSTEM, top, NOW)
        with pytest.raises(Conflict, match="node QX: holds 1 gateways, 1 users"):
            tree.archive_node(tx, SYSTEM, top, NOW + 1)
        with pytest.raises(Invalid, match="the root is not archived"):
            tree.archive_node(tx, SYSTEM, ROOT, NOW)


def test_administrators_reach_their_own_part_only_S4(db: Database) -> None:
    with db.begin() as tx:
        mine, beside = node(tx, "A"), node(tx, "B")
        child = node(tx, "A-1", mine, Kind.STREET)
        boss = administrator(mine)
        assert [each.path for each in tree.list_nodes(tx, boss)] == [mine, child]
        assert [each.path for each in tree.page_nodes(tx, boss, below=beside)] == []
        for act in (
            lambda: tree.get_node(tx, boss, beside),
            lambda: tree.get_node(tx, boss, ROOT),
            lambda: tree.find_code(tx, boss, "B"),
            lambda: tree.change_node(tx, boss, beside, {"name_en": "x"}, NOW),
            lambda: tree.archive_node(tx, boss, beside, NOW),
            lambda: node(tx, "B-1", beside, Kind.STREET, boss),
        ):
            with pytest.raises(NotFound):
                act()
        with pytest.raises(Conflict, match="nobody archives their own node"):
            tree.archive_node(tx, administrator(child), child, NOW)
        with pytest.raises(Forbidden, match="role supervisor may not administer"):
            node(tx, "A-2", mine, Kind.STREET, Principal("user", 1, "s", Role.SUPERVISOR, mine))


def entry(code: str, parent: str | None = None, kind: Kind = Kind.STREET, **more: object) -> tuple[str, NodeEntry]:
    return f"entry {code}", NodeEntry(code=code, parent=parent, kind=kind, name_zh=code, **more)


@given(st.permutations(["d", "s1", "s2", "c1", "c2", "b1"]))
def test_parents_come_before_their_children_whatever_the_order_of_the_file(order: list[str]) -> None:
    parents = {"d": None, "s1": "d", "s2": "d", "c1": "s1", "c2": "s2", "b1": "c1"}
    sorted_ = [each.code for _, each in node_files.in_order([entry(code, parents[code]) for code in order])]
    assert sorted(sorted_) == sorted(parents)
    for code, parent in parents.items():
        assert parent is None or sorted_.index(parent) < sorted_.index(code)


def test_a_ring_of_parents_and_a_code_twice_are_named() -> None:
    with pytest.raises(Invalid, match="entry a: parent: a is below itself"):
        node_files.in_order([entry("a", "b"), entry("b", "a")])
    with pytest.raises(Invalid, match="entry a: code: entry a has it too"):
        node_files.in_order([entry("a"), entry("a")])


SECTION: list[dict[str, Any]] = [
    {
        "code": "Y-1",
        "parent": "Y",
        "kind": "community",
        "name_zh": "幸福里",
        "lat": 34.2,
        "lon": 108.9,
        "population": 9,
    },
    {
        "code": "Y",
        "kind": "street",
        "name_zh": "玉泉街道",
        "name_en": "Yuquan",
        "outline": SQUARE,
        "settlement": "urban",
    },
]


def test_a_file_is_brought_in_once_and_brings_up_to_date(db: Database) -> None:
    with db.begin() as tx:
        assert importing.apply(tx, SYSTEM, {"nodes": SECTION}, NOW) == {"nodes": 2}
    with db.begin() as tx:
        assert importing.apply(tx, SYSTEM, {"nodes": SECTION}, NOW + 1) == {"nodes": 0}
        assert not tx.info["work"].buffers, "the same file twice changes nothing"
        changed = [SECTION[0] | {"population": 10}, SECTION[1]]
        assert importing.apply(tx, SYSTEM, {"nodes": changed}, NOW + 2) == {"nodes": 1}
        street, community = (tree.find_code(tx, SYSTEM, code) for code in ("Y", "Y-1"))
    assert (community.population, community.name_en, tree.parent_of(community.path)) == (10, "幸福里", street.path)
    assert (street.lat, street.lon) == (34.25, 108.95)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ([{"code": "a"}], r"nodes\[1\] \(a\): kind: field required"),
        ([{"code": "a", "kind": "planet", "name_zh": "x"}], r"nodes\[1\] \(a\): kind: input should be 'district'"),
        ([{"code": "a", "kind": "street", "name_zh": "x", "colour": 1}], r"\(a\): colour: extra inputs"),
        ([{"code": "a", "kind": "street", "name_zh": "x", "parent": "b"}], r"nodes\[1\] \(a\): node b: not known"),
        ([{"code": "a", "kind": "street", "name_zh": "x", "time_zone": "Mars"}], "time_zone: .*no such time zone"),
        (
            [{"code": "a", "kind": "street", "name_zh": "x", "outline": ring([0, 0])}],
            r"\(a\): outline: polygon 1, ring 1",
        ),
        ([SECTION[1] | {"kind": "town"}], r"nodes\[1\] \(Y\): kind: it is a street and stays one"),
        (
            [SECTION[0] | {"parent": "Z"}, {"code": "Z", "kind": "street", "name_zh": "z"}],
            r"\(Y-1\): parent: it belongs",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(db: Database, tables: list[dict[str, Any]], said: str) -> None:
    with db.begin() as tx:
        importing.apply(tx, SYSTEM, {"nodes": SECTION}, NOW)
        with pytest.raises(Invalid if "not known" not in said else NotFound, match=said):
            importing.apply(tx, SYSTEM, {"nodes": tables}, NOW)


def feature(code: str, geometry: object = SQUARE, **properties: object) -> dict[str, Any]:
    named = {"code": code, "kind": "street", "name_zh": code, "OBJECTID": 7, **properties}
    return {"type": "Feature", "geometry": geometry, "properties": named, "id": 3}


def test_a_file_of_features_is_a_file_of_nodes(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "streets.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature("S-1", parent="S"), feature("S")]}))
    wrong = r"feature 1 \(S-1\): kind: a street cannot be below a street"
    with db.begin() as tx, pytest.raises(Invalid, match=wrong):
        importing.apply(tx, SYSTEM, importing.read(file), NOW)
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature("T", kind="town")]}))
    for changed in (1, 0):
        with db.begin() as tx:
            assert importing.apply(tx, SYSTEM, importing.read(file), NOW) == {"features": changed}
    file.write_text('{"type": "FeatureCollection", "features": 7}')
    with pytest.raises(ConfigError, match="features: not a list of tables"):
        importing.read(file)


def test_nodes_over_http(service: Served) -> None:
    with service.client(Role.ADMINISTRATOR) as api:
        made = api.post("/nodes", json={"kind": "district", "code": "D", "name_zh": "区", "time_zone": "Asia/Urumqi"})
        assert made.status_code == 201, made.text
        top = made.json()
        collection = {
            "type": "FeatureCollection", "name": "x",
            "features": [feature("C", parent="S", kind="community", population=5), feature("S", parent="D")],
        }  # fmt: skip
        assert api.post("/nodes/import", json=collection).json() == {"added": 2, "changed": 0, "same": 0}
        assert api.post("/nodes/import", json=collection).json() == {"added": 0, "changed": 0, "same": 2}
        pages, cursor = [], None
        while True:
            page = api.get("/nodes", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            pages.append([each["code"] for each in page["items"]])
            if not (cursor := page["next_cursor"]):
                break
        assert pages == [["D", "S"], ["C"]]
        community = api.get("/nodes", params={"search": "C", "kind": "community"}).json()["items"][0]
        detail = api.get(f"/nodes/{community['id']}").json()
        assert detail["outline"] == SQUARE | {"coordinates": SQUARE["coordinates"]}
        assert detail["time_zone_in_force"] == "Asia/Urumqi"
        path = f"/nodes/{top['id']}"
        assert api.patch(path, json={"name_zh": "新区", "time_zone": None}).json()["time_zone"] is None
        assert api.get(path).json()["time_zone_in_force"] == "Asia/Shanghai"
        assert api.delete(path).status_code == 409
        assert api.patch(path, json={"name_zh": ""}).status_code == 422
        assert api.patch(path, json={"kind": "town"}).status_code == 422
        broken = {"type": "FeatureCollection", "features": [feature("E"), feature("F", ring([0, 0], [1, 1]))]}
        answer = api.post("/nodes/import", json=broken)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("feature 2 (F): outline: polygon 1, ring 1: fewer than 4")
        assert api.get("/nodes", params={"search": "E"}).json()["items"] == [], "all of it or none"
        assert api.delete(f"/nodes/{community['id']}").status_code == 204
        assert api.get(f"/nodes/{community['id']}").status_code == 404
    with service.client(Role.ADMINISTRATOR, "/777/") as api:
        assert api.get("/nodes").json()["items"] == []
        for verb, url in (("GET", path), ("PATCH", path), ("DELETE", path)):
            body = {"name_en": "x"} if verb == "PATCH" else None
            assert api.request(verb, url, json=body).status_code == 404
        assert api.post("/nodes", json={"kind": "street", "name_zh": "x", "parent": top["path"]}).status_code == 404
    with service.client(Role.SUPERVISOR) as api:
        assert api.post("/nodes", json={"kind": "district", "name_zh": "x"}).status_code == 403
