"""S4: nobody reads across the organisation tree, by any route, in any role. The requests are made from the routes."""

from __future__ import annotations

import contextlib
import html
import io
import itertools
import json
import re
import shutil
import zipfile
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request
from httpx import Client, Response

from cloud import stream
from cloud.config import Config
from cloud.devices import service as devices
from cloud.org import auth, tree
from cloud.org.rules import ROOT, SYSTEM, Role
from cloud.paging import View
from cloud.reports.hazards import service as hazards
from cloud.reports.hazards.models import HazardStep
from cloud.reports.hazards.rules import HazardAction
from cloud.state import now_ms
from tests.cloud.cloud_support import Event, Served, reading, serving, streaming
from tests.cloud.scope_cases import Case, about_of, case_of, places_of, query_names
from tests.cloud.scope_routes import SAFE, Things, UnknownNameError, routes_of
from tests.cloud.scope_world import FOREIGN, World, build, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cloud.scope_routes import Route
    from tests.cloud.scope_world import Side

_numbers = itertools.count()
NOBODY: Final = Things(None)
THOROUGH: Final = frozenset({Role.SUPERVISOR, Role.ADMINISTRATOR})
"""Between them they may everything, so each place by itself is tried by them."""
FORBIDDEN: Final = 403
REFUSED: Final = frozenset({FORBIDDEN, 404, 409, 422})


IMPERSONAL: Final = {
    "/healthz": "of nobody", "/readyz": "of nobody", "/metrics": "of nobody", "/favicon.ico": "of nobody",
    "/sign-in/oidc": "of nobody", "/sign-in/oidc/callback": "of nobody", "/more": "of nobody",
    "/session": "of nobody",
    "/map": "a page that is filled by the API", "/api/v1/me/looks": "of who asks", "/rosters/looks": "the same",
    "/api/v1/devices/counts": "figures", "/api/v1/alarms/counts": "figures", "/api/v1/audit/verify": "figures",
    "/api/v1/posts/{post_id}/history": "states", "/levels/hint": "a sentence", "/api/v1/levels/policies": "of the root",
    "/api/v1/releases": "of the root", "/releases": "the same",
}  # fmt: skip
"""What names nothing of a side whoever looks."""


class Asker(NamedTuple):
    """Somebody of side A. api: by token; console: by session."""

    role: Role
    api: Client
    console: Client
    csrf: str

    def ask(self, case: Case) -> Response:
        route = case.route
        if route.api:
            return self.api.request(route.method, case.url, params=case.query, json=case.body)
        data = None if route.method in SAFE else {**(case.body or {}), "csrf": self.csrf}
        return self.console.request(route.method, case.url, params=case.query, data=data)


@contextlib.contextmanager
def asking(served: Served, role: Role, node: str) -> Iterator[Asker]:
    """Somebody new of a role at a node, with a token and a session."""
    name = f"s4-{role}-{next(_numbers)}"
    with served.client(Role.ADMINISTRATOR) as root:
        password = root.post("/users", json={"name": name, "role": role, "node": node}).json()["password"]
    headers = {"Authorization": f"Bearer {served.token(role, node)}"}
    with (
        Client(base_url=served.url, timeout=30) as console,
        Client(base_url=served.url, headers=headers, timeout=30) as api,
    ):
        csrf = console.post("/api/v1/session", json={"user": name, "password": password}).json()["csrf"]
        yield Asker(role, api, console, csrf)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both sides, served; and beside it a copy that may be spoilt."""
    folder = tmp_path_factory.mktemp("scope")
    with serving(Config.model_validate({"data_dir": folder})) as served:
        yield build(served)


@pytest.fixture(scope="module")
def askers(world: World) -> Iterator[list[Asker]]:
    """One of each role at A's street."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(asking(world.served, role, world.a.ids["street"])) for role in Role]


@pytest.fixture
def spoilt(world: World, tmp_path: Path) -> Iterator[Served]:
    """A copy of the world that may be changed."""
    folder = tmp_path / "copy"
    shutil.copytree(world.served.app.state.patrol.config.data_dir, folder)
    with serving(Config.model_validate({"data_dir": folder})) as served:
        yield served


def is_print(route: Route) -> bool:
    """A review's print is slow to make; it is of the same figures as its workbook."""
    return route.path.endswith("/pdf")


def text_of(answer: Response) -> str:
    """What can be read in an answer; of a workbook too."""
    kind = answer.headers.get("content-type", "")
    if "spreadsheet" in kind:
        with zipfile.ZipFile(io.BytesIO(answer.content)) as book:
            return "\n".join(book.read(name).decode() for name in book.namelist())
    return f"{answer.text}{answer.headers.get('location', '')}"


def without(text: str, sent: tuple[str, ...]) -> str:
    """The text without what was sent, however it comes back."""
    for each in sorted(sent, key=len, reverse=True):
        for written in (each, json.dumps(each)[1:-1], html.escape(each), quote_plus(each), quote(each)):
            text = text.replace(written, "§")
    return text


def core(text: str) -> str:
    """What a page says beside what every page shows."""
    page = re.search(r"<main.*</main>", text, re.DOTALL)
    return re.sub(r"<[^>]*>|\s+", " ", page[0]) if page else text


def leaks(answer: Response, sent: tuple[str, ...] = ()) -> list[str]:
    """What an answer tells of side B beside what it was told."""
    return sorted(set(FOREIGN.findall(without(text_of(answer), sent))))[:5]


def difference(case: Case, answer: Response, missing: Case, expected: Response) -> str:
    """How what is foreign is answered otherwise than what is missing. Of pages that are shown the status counts."""
    told, due = core(without(answer.text, case.sent)), core(without(expected.text, missing.sent))
    compared = case.route.api or case.route.method not in SAFE
    if answer.status_code == expected.status_code and (told == due or not compared):
        return ""
    return f"{told[:300]} - but what is missing: {expected.status_code} {due[:300]}"


def wrongs(who: Asker, route: Route, side: Side, other: Side) -> tuple[int, list[str]]:
    """How many requests were made, and what is wrong with their answers."""
    asked, found = 0, []
    mine, theirs = Things(side), Things(other)

    def note(case: Case, answer: Response, what: object) -> None:
        found.append(f"{who.role} {route.label} [{case.about}] {answer.status_code}: {what}")

    if route.method in SAFE and not is_print(route):
        case = case_of(route, mine)
        answer = who.ask(case)
        asked += 1
        if told := leaks(answer):
            note(case, answer, told)
        if answer.status_code not in {200, 204, 303, 403, 404, 409}:
            note(case, answer, answer.text[:200])
    thorough = who.role in THOROUGH
    for about in about_of(route, one_by_one=thorough):
        case, missing = case_of(route, mine, theirs, about), case_of(route, mine, NOBODY, about)
        expected, answer = who.ask(missing) if thorough else None, who.ask(case)
        asked += 2 if thorough else 1
        if told := leaks(answer, case.sent):
            note(case, answer, told)
        if expected is not None and (otherwise := difference(case, answer, missing, expected)):
            note(case, answer, otherwise)
        if any(place.startswith("path.") for place in about) and answer.status_code not in REFUSED:
            note(case, answer, "done")
        if answer.status_code == FORBIDDEN and route.method not in SAFE:
            break  # a role that may not is not told more by other ids
    return asked, found


def test_no_route_tells_any_role_of_another_side_S4(world: World, askers: list[Asker]) -> None:
    before = rows_of(world.served.db, FOREIGN.search)
    cases: Counter[str] = Counter()
    found: list[str] = []
    for who in askers:
        for route in routes_of(world.served.app):
            asked, wrong = wrongs(who, route, world.a, world.b)
            cases.update(pairs=1, requests=asked)
            found += wrong
    after = rows_of(world.served.db, FOREIGN.search)
    assert not found, f"{len(found)}:\n" + "\n".join(found)
    assert after == before
    assert cases["pairs"] > 1200
    assert cases["requests"] > 2500


def test_who_is_above_both_sees_both_S4(world: World) -> None:
    """So that the test above looks for what there is: every list and every thing shows side B to the root."""
    blind: list[str] = []
    with asking(world.served, Role.ADMINISTRATOR, ROOT) as root:
        for route in routes_of(world.served.app):
            if route.method in SAFE and route.path not in IMPERSONAL and not is_print(route):
                answer = root.ask(case_of(route, Things(world.b)))
                if not leaks(answer):
                    blind.append(f"{route.label} {answer.status_code}")
    assert not blind, "\n".join(blind)


def test_the_requests_are_such_as_would_be_granted_S4(spoilt: Served, world: World) -> None:
    """The same bodies, sent from the root about side B, are valid and permitted: elsewhere the scope refuses them."""
    wrong: list[str] = []
    with contextlib.ExitStack() as stack:
        above = [stack.enter_context(asking(spoilt, role, ROOT)) for role in THOROUGH]
        routes = [route for route in routes_of(spoilt.app) if route.method not in SAFE and places_of(route)]
        for route in sorted(routes, key=lambda each: (each.method == "DELETE", "organisation" in each.path)):
            answers = [who.ask(case_of(route, Things(world.b))) for who in above]
            if all(answer.status_code in {FORBIDDEN, 422} for answer in answers):
                wrong += [f"{route.label} {answer.status_code} {core(answer.text)[:200]}" for answer in answers]
    assert not wrong, "\n".join(wrong)


def listed(api: Client, path: str) -> list[dict[str, Any]]:
    """Everything that a list gives, page by page."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get(path, params={"limit": 50, **cursor}).json()
        items += page["items"]
        if not page.get("next_cursor"):
            return items
        cursor = {"cursor": page["next_cursor"]}


def key_of(item: dict[str, Any]) -> str:
    return json.dumps([item.get(name) for name in ("id", "node", "path", "name", "gateway", "kind", "hash")])


def test_lists_of_two_sides_make_the_list_of_all_S4(world: World) -> None:
    """One predicate: what is in A's district and what is in B's is all there is below the root, and never both."""
    paths = [
        route.path for route in routes_of(world.served.app)
        if route.api and route.method == "GET" and "{" not in route.path and "cursor" in query_names(route)
        and route.path not in IMPERSONAL
    ]  # fmt: skip
    wrong: list[str] = []
    with contextlib.ExitStack() as stack:
        nodes = (ROOT, world.a.ids["district"], world.b.ids["district"])
        everybody, a, b = (
            stack.enter_context(world.served.client(Role.ADMINISTRATOR, node)) for node in nodes
        )  # fmt: skip
        for path in paths:
            short = path.removeprefix("/api/v1")
            whole, mine, theirs = (Counter(map(key_of, listed(who, short))) for who in (everybody, a, b))
            above = {key_of(each) for each in listed(everybody, short) if each.get("node", each.get("path")) == ROOT}
            both, left = mine & theirs, whole - mine - theirs
            if both or set(left) - above or (mine + theirs) - whole or not mine or not theirs:
                wrong.append(f"{path}: {len(mine)}, {len(theirs)}, both {both}, nobody's {set(left) - above}")
    assert len(paths) > 20
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("where", ["root", "street"])
def test_counts_and_maps_are_those_of_the_lists_S4(world: World, where: str) -> None:
    node = ROOT if where == "root" else world.a.ids["street"]
    with world.served.client(Role.SUPERVISOR, node) as api:
        alarms = [each for each in listed(api, "/alarms") if each["folded_into"] is None]
        counts = api.get("/alarms/counts").json()
        states = Counter(each["state"] for each in alarms)
        assert (counts["open"], counts["acknowledged"]) == (states["open"], states["acknowledged"])
        standing = Counter(each["severity"] for each in alarms if each["state"] != "cleared")
        assert {name: count for name, count in counts["by_severity"].items() if count} == standing
        told = api.get("/devices/counts").json()
        found = Counter(each["state"] for each in listed(api, "/devices"))
        assert {name: count for name, count in told["devices"].items() if count} == found
        online = Counter(each["online"] for each in listed(api, "/gateways"))
        assert (told["gateways_online"], told["gateways_offline"]) == (online[True], online[False])
        shown = api.get("/map", params={"members": True}).json()
        carried = {(each["gateway"], each["device"]) for each in listed(api, "/equipment") if each["kind"] != "door"}
        still = [each for each in listed(api, "/devices") if (each["gateway"], each["id"]) not in carried]
        assert sum(each["count"] for each in shown["devices"]) == len(still)
        shapes = Counter(each["kind"] for each in shown["shapes"])
        assert shapes == {kind: len(listed(api, f"/{kind}s")) for kind in ("post", "route", "area")}
        board = Counter(each["id"] for each in listed(api, "/presence"))
        assert board == Counter(each["id"] for each in listed(api, "/posts"))
        known = {each["path"] for each in listed(api, "/nodes")} | ({ROOT} if node == ROOT else set())
        assert {each["node"] for each in listed(api, "/levels")} == known
        duty = {each["call_sign"] for each in listed(api, "/members") if each["on_duty"]}
        assert {each["call_sign"] for each in shown["members"]} <= duty
        assert shown["members"]


class Told(View):
    """Something to send."""

    id: str


def test_the_stream_tells_a_side_nothing_of_the_other_S4(world: World) -> None:
    """Every kind that there is, on resuming and live."""
    db = world.served.db
    with db.read() as tx:
        rows = tx.execute(sa.select(stream.events.c.kind, stream.events.c.node)).all()
    kinds = {row.kind for row in rows if row.node.startswith(world.b.ids["district"])}
    assert kinds == {row.kind for row in rows if row.node.startswith(world.a.ids["street"])}
    assert {"alarm", "gateway", "incident", "presence", "level", "hazard", "drill"} <= kinds
    token = world.served.token(Role.DISPATCHER, world.a.ids["street"])
    above = world.served.token(Role.DISPATCHER, ROOT)
    with streaming(world.served, 0, token=token) as source, streaming(world.served, 0, token=above) as all_of_it:
        with db.begin() as tx:
            for side in (world.b, world.a):
                for kind in sorted(kinds):
                    stream.append(tx, kind, Told(id=side.text("live")), at=now_ms(), node=side.ids["community"])
        everything = until_heard(world, all_of_it, world.b)
        mine = until_heard(world, source, world.a)
    assert {event.kind for event in mine} >= {*kinds, "device"}
    assert FOREIGN.findall(str([event.data for event in mine])) == []
    theirs = {event.kind for event in everything if FOREIGN.search(str(event.data))}
    assert theirs >= {*kinds, "device"}


def until_heard(world: World, source: Iterator[Event], side: Side) -> list[Event]:
    """What a stream tells until it tells a new live value of a side's device."""
    now, found = now_ms(), list[Event]()
    with world.served.db.begin() as tx:
        fresh = reading(side.ids["device"], "smoke", 0.25, now)
        devices.apply_readings(tx, side.ids["gateway"], "e", [(90, fresh)], now)
    for event in source:
        found.append(event)
        if event.kind == "device" and event.data["id"] == side.ids["device"]:
            return found
    raise AssertionError("the stream ended")


def test_a_route_that_forgets_the_scope_is_found_S4(spoilt: Served, world: World) -> None:
    """The harness itself: a list, a thing and an act without the predicate, and a name that nobody explained."""

    def everything(request: Request) -> list[str]:
        auth.signed_in(request)
        with spoilt.db.read() as tx:
            return [each.path for each in tree.list_nodes(tx, SYSTEM)]

    def one(request: Request, hazard_id: int) -> dict[str, Any]:
        auth.signed_in(request)
        with spoilt.db.read() as tx:
            return hazards.get_hazard(tx, SYSTEM, hazard_id).model_dump(mode="json")

    def act(request: Request, hazard_id: int) -> str:
        who = auth.signed_in(request)
        with spoilt.db.begin() as tx:
            hazards.act(tx, SYSTEM, hazard_id, HazardStep(action=HazardAction.NOTE, note=who.name), now_ms())
        return "done"

    added = FastAPI()
    added.get("/api/v1/forgetful")(everything)
    added.get("/api/v1/forgetful/{hazard_id}")(one)
    added.post("/api/v1/forgetful/{hazard_id}")(act)
    spoilt.app.include_router(added.router)
    routes = [route for route in routes_of(spoilt.app) if "forgetful" in route.path]
    with asking(spoilt, Role.PROPERTY, world.a.ids["street"]) as who:
        found = {route.label: wrongs(who, route, world.a, world.b)[1] for route in routes}
    assert len(routes) == 3
    assert all(found.values()), found
    added.get("/api/v1/forgetful/{riddle}/more")(everything)
    with pytest.raises(UnknownNameError, match=r"riddle.*is new here; say in .*scope_cases.py, PARAMETERS"):
        about_of(next(route for route in routes_of(added) if "riddle" in route.path), one_by_one=True)
