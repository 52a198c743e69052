"""Posts, routes and areas: the API, the importer, coverage, overdue patrols, and scope."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from cloud import importing
from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter, AlarmState
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.presence import coverage, posts, rounds, views
from cloud.presence.geometry import Ground
from cloud.presence.judge import Judge
from cloud.presence.models import AreaIn, PostIn, RouteIn
from cloud.presence.store import judges, route_visits
from tests.cloud.cloud_support import NOW, Served
from tests.cloud.presence_support import (
    HOUR,
    LAT,
    LON,
    MINUTE,
    add_guard,
    add_post,
    at,
    fix,
    settle,
    stay,
    take,
)

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.db import Database


def square(east_m: float, side_m: float) -> dict[str, Any]:
    """A square whose south-west corner lies east of the middle of it all."""
    corners = [at(east_m, 0), at(east_m + side_m, 0), at(east_m + side_m, side_m), at(east_m, side_m), at(east_m, 0)]
    return {"type": "Polygon", "coordinates": [[[lon, lat] for lat, lon in corners]]}


def street(db: Database, name: str) -> str:
    with db.begin() as tx:
        return tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, (name, name), now_ms=NOW, code=name).path


def add_area(db: Database, node: str = ROOT, side_m: float = 200, **more: object) -> int:
    given = {"node": node, "name_zh": "片区", "name_en": "Area", "outline": square(0, side_m), **more}
    with db.begin() as tx:
        return rounds.add_area(tx, SYSTEM, AreaIn.model_validate(given), NOW).id


def route_in(node: str, more: dict[str, object], east_m: int = 0) -> RouteIn:
    places = [at(east_m + 100 * n) for n in range(3)]
    points = [{"name": f"P{n}", "lat": lat, "lon": lon} for n, (lat, lon) in enumerate(places)]
    given = {"node": node, "name_zh": "一号线", "name_en": "Line 1", "checkpoints": points, "revisit_s": 600, **more}
    return RouteIn.model_validate(given)


def add_route(db: Database, node: str = ROOT, **more: object) -> int:
    with db.begin() as tx:
        return rounds.add_route(tx, SYSTEM, route_in(node, more), NOW).id


def open_kinds(db: Database) -> list[tuple[str, str]]:
    with db.read() as tx:
        found = alerts.list_alarms(tx, SYSTEM, AlarmFilter(state=(AlarmState.OPEN,))).items
    return [(alarm.kind, alarm.location) for alarm in found]


# ---- the plan


def test_a_post_may_be_a_polygon(db: Database) -> None:
    post = add_post(db, lat=None, lon=None, outline=square(0, 60))
    ground = Ground(post.lat, post.lon, 0, str(post.outline).replace("'", '"'))
    assert ground.beyond(*at(30, 30)) == pytest.approx(-30, abs=0.1)
    assert ground.beyond(*at(80, 30)) == pytest.approx(20, abs=0.1)
    assert post.radius_m == pytest.approx(33.85, abs=0.1)


@pytest.mark.parametrize(
    ("outline", "what"),
    [
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]}, "Self-intersection"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [0, 0], [0, 0], [0, 0]]]}, "outline"),
        ({"type": "Polygon", "coordinates": [[[108, 34], [109, 34], [109, 35], [108, 34]]]}, "m² is not between"),
        ({"type": "Polygon", "coordinates": [[[34, 108], [34.001, 108], [34, 108.001], [34, 108]]]}, "in this order"),
    ],
)
def test_an_outline_that_is_none_is_refused(db: Database, outline: dict[str, Any], what: str) -> None:
    with pytest.raises(Invalid, match=what):
        add_post(db, lat=None, lon=None, outline=outline)


def test_a_post_needs_a_place(db: Database) -> None:
    with pytest.raises(ValidationError, match="lat and lon, or an outline"):
        PostIn(node="/", name_zh="岗", name_en="Post")


def test_a_code_is_used_once_and_free_again(db: Database) -> None:
    first = add_post(db, code="gate")
    with pytest.raises(Conflict, match="post gate: exists already"):
        add_post(db, code="gate")
    with db.begin() as tx:
        posts.archive(tx, SYSTEM, first.id, NOW)
        actions = tx.execute(sa.select(audit.audit.c.action)).scalars().all()
    assert actions == ["post.add"]
    assert add_post(db, code="gate").id != first.id
    with db.read() as tx, pytest.raises(NotFound, match=f"post {first.id}: not found"):
        posts.get(tx, SYSTEM, first.id)


def test_a_line_is_cut_into_checkpoints(db: Database) -> None:
    line = {"type": "LineString", "coordinates": [[at(0)[1], LAT], [at(450)[1], LAT]]}
    route = add_route(db, checkpoints=[], line=line, every_m=100)
    with db.read() as tx:
        view = rounds.get_route(tx, SYSTEM, route)
    assert [point.name for point in view.checkpoints] == ["1", "2", "3", "4", "5", "6"]
    assert view.checkpoints[-1].lon == pytest.approx(at(450)[1], abs=1e-6)
    assert view.kind == "line"


@pytest.mark.parametrize(("side_m", "resolution"), [(200, 11), (2_000, 10), (20_000, 7)])
def test_the_cells_of_an_area_are_bounded(db: Database, side_m: float, resolution: int) -> None:
    area = add_area(db, side_m=side_m)
    with db.read() as tx:
        view = rounds.get_area(tx, SYSTEM, area)
    assert view.resolution == resolution
    assert 20 < view.cells < 1000


@pytest.mark.parametrize("role", [Role.TECHNICIAN, Role.PROPERTY, Role.DISPATCHER, Role.AUDITOR])
def test_planning_is_for_those_who_may(db: Database, role: Role) -> None:
    who = Principal("user", 1, "zhao", role)
    given = PostIn(node="/", name_zh="岗", name_en="Post", lat=LAT, lon=LON)
    with db.begin() as tx, pytest.raises(Forbidden, match="may not patrol"):
        posts.add(tx, who, given, NOW)


def test_nothing_is_told_across_the_tree_S4(db: Database) -> None:
    mine, other = street(db, "one"), street(db, "two")
    inside = Principal("user", 1, "li", Role.SUPERVISOR, mine)
    foreign = add_post(db, node=other)
    route, area = add_route(db, node=other), add_area(db, node=other)
    own = add_post(db, node=mine)
    guard = add_guard(db, "A1", post=foreign.id, node=other, starts=NOW)
    take(db, stay(guard.device, NOW, NOW + MINUTE), NOW + MINUTE)
    settle(Judge(db), NOW + MINUTE)
    with db.begin() as tx:
        assert [each.id for each in posts.listed(tx, inside).items] == [own.id]
        assert [each.id for each in posts.board(tx, inside).items] == [own.id]
        assert sum(posts.counts(tx, inside).values()) == 1
        assert not rounds.list_routes(tx, inside).items
        assert not rounds.list_areas(tx, inside).items
        assert coverage.listed(tx, inside, NOW, from_ms=NOW - HOUR, to_ms=NOW).items == []
        assert coverage.visible(tx, inside, from_ms=NOW, to_ms=NOW + HOUR) == []
        assert [shape.id for shape in views.shapes(tx, inside, NOW)] == [own.id]
        with pytest.raises(NotFound):
            views.who(tx, inside, foreign.id, NOW)
        with pytest.raises(NotFound):
            posts.history(tx, inside, foreign.id)
        given = PostIn(node=mine, name_zh="岗", name_en="Post", lat=LAT, lon=LON)
        with pytest.raises(NotFound):
            posts.change(tx, inside, foreign.id, given, NOW)
        with pytest.raises(NotFound):
            posts.add(tx, inside, PostIn(node=other, name_zh="岗", name_en="Post", lat=LAT, lon=LON), NOW)
        with pytest.raises(NotFound):
            rounds.archive_route(tx, inside, route, NOW)
        with pytest.raises(NotFound):
            rounds.get_area(tx, inside, area)


def test_the_same_file_twice_changes_nothing(db: Database) -> None:
    street(db, "one")
    sections: dict[str, list[dict[str, Any]]] = {
        "posts": [{"code": "gate", "node": "one", "name_zh": "门", "name_en": "Gate", "lat": LAT, "lon": LON}],
        "routes": [
            {"code": "r1", "node": "one", "name_zh": "线", "name_en": "Line",
             "checkpoints": [{"name": "a", "lat": LAT, "lon": LON}]}
        ],
        "areas": [{"code": "a1", "node": "one", "name_zh": "区", "name_en": "Area", "outline": square(0, 100)}],
    }  # fmt: skip
    for changed in (1, 0):
        with db.begin() as tx:
            assert importing.apply(tx, SYSTEM, sections, NOW) == dict.fromkeys(sections, changed)
    with db.begin() as tx:
        sections["posts"][0]["headcount"] = 2
        importing.apply(tx, SYSTEM, sections, NOW)
    with db.read() as tx:
        (post,) = posts.listed(tx, SYSTEM).items
        actions = tx.execute(sa.select(audit.audit.c.action).order_by(audit.audit.c.id)).scalars().all()
    assert post.headcount == 2
    assert actions[1:] == ["post.add", "route.add", "area.add", "post.change"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"code": "gate", "node": "nowhere"}, "posts gate: node nowhere: not known"),
        ({"code": "gate", "node": "one", "colour": "red"}, "posts gate: name_zh: field required"),
        ({"node": "one"}, "posts 1: code and node are needed"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(db: Database, entry: dict[str, Any], message: str) -> None:
    street(db, "one")
    with db.begin() as tx, pytest.raises((Invalid, NotFound), match=message):
        importing.apply(tx, SYSTEM, {"posts": [entry]}, NOW)


@pytest.mark.parametrize("ending", ["toml", "json"])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"town.{ending}"
    file.write_text('[[nodes]]\ncode = "x"' if ending == "toml" else '{"nodes": [{"code": "x"}]}', encoding="utf-8-sig")
    assert importing.read(file) == {"nodes": [{"code": "x"}]}


# ---- patrols


def test_an_overdue_checkpoint_is_an_alarm_while_a_patrol_is_on_it(db: Database) -> None:
    route = add_route(db)
    judge = Judge(db)
    settle(judge, NOW + 20 * MINUTE)
    assert open_kinds(db) == []
    begins = NOW + 20 * MINUTE
    guard = add_guard(db, "A1", route=route, starts=begins, ends=begins + HOUR)
    for n in range(3):
        take(db, [fix(guard.device, begins + n * MINUTE, 100 * n)], begins + n * MINUTE)
    settle(judge, begins + 9 * MINUTE)
    assert open_kinds(db) == []
    settle(judge, begins + 11 * MINUTE)
    assert open_kinds(db) == [("patrol-overdue", "一号线 · P0")]
    take(db, [fix(guard.device, begins + (12 + n) * MINUTE, 100 * n) for n in range(3)], begins + 14 * MINUTE)
    settle(judge, begins + 14 * MINUTE)
    settle(judge, begins + 15 * MINUTE)
    assert open_kinds(db) == []
    settle(Judge(db), begins + 30 * MINUTE)
    assert len(open_kinds(db)) == 1
    settle(Judge(db), begins + 2 * HOUR)
    assert open_kinds(db) == []


def test_a_checkpoint_due_once_a_day_goes_overdue_over_shifts_without_a_gap(db: Database) -> None:
    route = add_route(db, revisit_s=86_400)
    for n in range(4):
        add_guard(db, f"A{n}", route=route, starts=NOW + 8 * n * HOUR, ends=NOW + 8 * (n + 1) * HOUR)
    settle(Judge(db), NOW + 23 * HOUR)
    assert open_kinds(db) == []
    settle(Judge(db), NOW + 24 * HOUR + MINUTE)
    assert [kind for kind, _ in open_kinds(db)] == ["patrol-overdue"]


def test_a_visit_that_comes_while_a_route_changes_is_not_one_of_its_new_checkpoints(db: Database) -> None:
    route = add_route(db)
    given = route_in(ROOT, {}, east_m=900)
    with ThreadPoolExecutor(1) as pool:
        with db.begin() as tx:
            tx.execute(sa.select(judges).with_for_update()).all()  # a judge's turn
            changing = pool.submit(_change, db, route, given)
            with pytest.raises(TimeoutError):
                changing.result(0.3)
            tx.execute(route_visits.insert().values(route=route, checkpoint=0, at=NOW))
        changing.result(10)
    with db.read() as tx:
        assert rounds.last_visits(tx, [route]) == {}


def _change(db: Database, route: int, given: RouteIn) -> None:
    with db.begin() as tx:
        rounds.change_route(tx, SYSTEM, route, given, NOW)


def test_coverage_counts_cells_and_checkpoints_and_lists_gaps_worst_first(db: Database) -> None:
    area, route = add_area(db, revisit_s=3600), add_route(db)
    guard = add_guard(db, "A1", starts=NOW)
    walk = [fix(guard.device, NOW + n * MINUTE, 100 * n) for n in range(3)]
    blind = fix(guard.device, NOW + 3 * MINUTE, 150, accuracy_m=200)
    take(db, [*reversed(walk), blind], NOW + 5 * MINUTE)
    settle(Judge(db), NOW + 5 * MINUTE)
    with db.read() as tx:
        by_area, by_route = coverage.listed(
            tx, SYSTEM, NOW + 11 * MINUTE, from_ms=NOW, to_ms=NOW + 10 * MINUTE
        ).items  # fmt: skip
        looks = coverage.visible(tx, SYSTEM, from_ms=NOW, to_ms=NOW + HOUR)
    assert (by_area.id, by_route.id) == (area, route)
    assert by_area.places > 10
    assert by_area.seen_share == pytest.approx(3 / by_area.places, abs=0.001)
    assert by_area.gaps[0].seen_at is None
    assert (by_route.seen_share, by_route.gaps[0].name, by_route.gaps[0].minutes) == (0.6667, "P0", 11)
    assert by_route.time_share == pytest.approx((10 + 9 + 8) / 30, abs=0.001)
    assert [(each.looks, each.seen) for each in looks] == [(1, 1)]
    with db.read() as tx, pytest.raises(Invalid, match="at most 31 days"):
        coverage.listed(tx, SYSTEM, NOW, from_ms=0, to_ms=NOW)


def test_shapes_for_a_map(db: Database) -> None:
    add_post(db)
    add_route(db)
    add_area(db)
    with db.read() as tx:
        found = views.shapes(tx, SYSTEM, NOW)
    assert [(shape.kind, shape.state) for shape in found] == [
        ("post", "unknown"),
        ("route", "normal"),
        ("area", "gaps"),
    ]
    assert all('"coordinates"' in shape.geojson for shape in found)


# ---- HTTP


def test_the_api_makes_lists_changes_and_archives(service: Served) -> None:
    node = street(service.db, "one")
    with service.client(Role.SUPERVISOR) as client:
        named = {"node": node, "name_zh": "门", "name_en": "Gate"}
        made = client.post("/posts", json={**named, "lat": LAT, "lon": LON, "headcounts": {"1": 4}})
        assert made.status_code == 201
        post = made.json()
        assert (post["state"], post["reason"], post["headcounts"]) == ("unknown", "no-roster", {"1": 4})
        assert client.put(f"/posts/{post['id']}", json={**named, "outline": square(0, 50)}).json()["outline"][
            "type"
        ] == ("Polygon")
        route = client.post("/routes", json={**named, "checkpoints": [{"lat": LAT, "lon": LON}]}).json()
        area = client.post("/areas", json={**named, "outline": square(0, 100)}).json()
        assert client.get("/posts").json()["items"][0]["id"] == post["id"]
        assert client.get("/presence", params={"state": ["unknown", "unmanned"]}).json()["items"][0]["id"] == post["id"]
        assert client.get("/presence", params={"state": "manned"}).json()["items"] == []
        first = client.get("/coverage", params={"limit": 1}).json()
        assert (first["items"][0]["kind"], first["items"][0]["id"]) == ("area", area["id"])
        rest = client.get("/coverage", params={"cursor": first["next_cursor"]}).json()
        assert [(each["kind"], each["id"]) for each in rest["items"]] == [("route", route["id"])]
        assert client.get(f"/posts/{post['id']}/members").json() == []
        assert client.get(f"/posts/{post['id']}/history").json()["items"] == []
        assert client.get("/visibility").json() == []
        for kind, one in (("posts", post), ("routes", route), ("areas", area)):
            assert client.delete(f"/{kind}/{one['id']}").status_code == 204
            assert client.get(f"/{kind}/{one['id']}").status_code == 404


def test_the_board_pages_worst_first(db: Database) -> None:
    made = [add_post(db, now=NOW - n).id for n in range(5)]
    with db.read() as tx:
        seen: list[int] = []
        cursor = None
        while True:
            page = posts.board(tx, SYSTEM, limit=2, cursor=cursor)
            seen += [each.id for each in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        with pytest.raises(Invalid, match="cursor"):
            posts.board(tx, SYSTEM, cursor="W10")
    assert seen == made[::-1]
