"""S4: nobody reads across the organisation tree, by any route, in any role. The requests are made from the routes."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import zipfile
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, quote_plus

import pytest
from httpx import Client, Response

from cloud import stream
from cloud.config import Config
from cloud.devices import service as devices
from cloud.org.rules import Permission, Role, PERMISSIONS
from cloud.paging import View
from cloud.state import now_ms
from tests.cloud.cloud_support import Served, events, reading, serving
from tests.cloud.scope_cases import SAFE, Case, Route, Things, UnknownNameError, about_of, case_of, places_of, routes_of
from tests.cloud.scope_world import FOREIGN, World, build, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cloud.scope_world import Side

NOBODY: Final = Things(None)
THOROUGH: Final = frozenset({Role.SUPERVISOR, Role.ADMINISTRATOR})
"""Between them they may everything, so each place by itself is tried by them."""
FORBIDDEN: Final = 403
REFUSED: Final = frozenset({FORBIDDEN, 404, 409, 422})


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


def asker(served: Served, root: Client, role: Role, node: str, name: str) -> Asker:
    password = root.post("/users", json={"name": name, "role": role, "node": node}).json()["password"]
    console = Client(base_url=served.url, timeout=30)
    csrf = console.post("/api/v1/session", json={"user": name, "password": password}).json()["csrf"]
    headers = {"Authorization": f"Bearer {served.token(role, node)}"}
    return Asker(role, Client(base_url=served.url, headers=headers, timeout=30), console, csrf)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both sides, served; and beside it a copy that may be spoilt."""
    folder = tmp_path_factory.mktemp("scope")
    with serving(Config.model_validate({"data_dir": folder})) as served:
        yield build(served)


@pytest.fixture(scope="module")
def askers(world: World) -> Iterator[list[Asker]]:
    """One of each role at A's street."""
    with world.served.client(Role.ADMINISTRATOR) as root:
        made = [asker(world.served, root, role, world.a.ids["street"], f"s4-{role}") for role in Role]
    yield made
    for each in made:
        each.api.close()
        each.console.close()


@pytest.fixture
def spoilt(world: World, tmp_path: Any) -> Iterator[Served]:
    """A copy of the world that may be changed."""
    source = world.served.db
    with source.begin() as tx:
        tx.exec_driver_sql("SELECT 1")
    folder = tmp_path / "copy"
    shutil.copytree(world.served.app.state.patrol.config.data_dir, folder)
    with serving(Config.model_validate({"data_dir": folder})) as served:
        yield served


def text_of(answer: Response) -> str:
    """What can be read in an answer; of a workbook too."""
    kind = answer.headers.get("content-type", "")
    if "spreadsheet" in kind:
        with zipfile.ZipFile(io.BytesIO(answer.content)) as book:
            return "\n".join(book.read(name).decode() for name in book.namelist())
    return "" if kind.startswith("application/pdf") else answer.text + answer.headers.get("location", "")


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


def wrongs(who: Asker, route: Route, side: Side, other: Side) -> tuple[int, list[str]]:
    """How many requests were made, and what is wrong with their answers."""
    asked, found = 0, []
    mine, theirs = Things(side), Things(other)

    def note(case: Case, answer: Response, what: object) -> None:
        found.append(f"{who.role} {route.label} [{case.about}] {answer.status_code}: {what}")

    if route.method in SAFE and not (route.path.endswith("/pdf") and who.role is not Role.SUPERVISOR):
        case = case_of(route, mine)
        answer = who.ask(case)
        asked += 1
        if told := leaks(answer):
            note(case, answer, told)
        if answer.status_code not in {200, 204, 303, 403, 404, 409}:
            note(case, answer, answer.text[:200])
    for about in about_of(route, one_by_one=who.role in THOROUGH):
        case, missing = case_of(route, mine, theirs, about), case_of(route, mine, NOBODY, about)
        expected, answer = who.ask(missing), who.ask(case)
        asked += 2
        if told := leaks(answer, case.sent):
            note(case, answer, told)
        alike = core(without(answer.text, case.sent)) == core(without(expected.text, missing.sent))
        compared = route.api or route.method not in SAFE
        if answer.status_code != expected.status_code or (compared and not alike):
            note(case, answer, f"{core(answer.text)[:300]} - but what is missing: {expected.status_code} {core(expected.text)[:300]}")
        named = any(place.startswith("path.") for place in about)
        if named and answer.status_code not in REFUSED:
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
    print(dict(cases))
    assert not found, f"{len(found)}:\n" + "\n".join(found)
    assert after == before
