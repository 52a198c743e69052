"""How the console's forms are sent: each with its session's token, once, and with nothing lost that was typed."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from cloud.console import nav
from cloud.console.pages import PageRoute
from cloud.org import tree
from cloud.org.rules import PERMISSIONS, ROOT, SYSTEM, Permission, Principal, Role
from tests.browser.consolesite import Watch
from tests.browser.consoleweb import Web, csrf, now_ms, post, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client
    from playwright.sync_api import Browser, Page

EXEMPT = {"/sign-in"}
"""Forms of somebody who has no session yet; they are checked by where they come from."""
FIELDS = {
    "text": "open it", "category": "fire", "severity": "major", "node": "/", "place": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A console with a street."""
    with serving(tmp_path_factory.mktemp("forms")) as made:
        with made.db.begin() as tx:
            tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, ("街", "Street"), now_ms=now_ms())
        yield made


@pytest.fixture(scope="module")
def admin(web: Web) -> Client:
    return web.user("adan", Role.ADMINISTRATOR)


def pages_of(web: Web) -> list[PageRoute]:
    """Every page and form of the console."""
    found: list[PageRoute] = []
    todo = list(web.app.routes)
    while todo:
        route = todo.pop()
        todo += getattr(getattr(route, "original_router", None), "routes", [])
        if isinstance(route, PageRoute):
            found.append(route)
    return found


def test_every_page_knows_the_types_of_what_it_is_given(web: Web) -> None:
    addresses = [(route.path, *(route.methods or ())) for route in pages_of(web)]
    assert len(addresses) == len(set(addresses)) > 120
    for route in pages_of(web):
        inspect.signature(route.endpoint, eval_str=True)


def test_no_form_is_taken_without_the_token_of_its_session(web: Web, admin: Client) -> None:
    addresses = {re.sub(r"\{[^}]*\}", "1", route.path) for route in pages_of(web) if "POST" in (route.methods or ())}
    forms = sorted(addresses - EXEMPT)
    assert len(forms) > 60
    for path in forms:
        for fields in ({}, {"csrf": "another session's"}):
            assert admin.post(path, data=fields).status_code == 403, path


def test_a_form_of_nobody_leads_to_the_sign_in_page(web: Web) -> None:
    answer = web.browser().post("/incidents", data=FIELDS)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")


def test_the_script_that_sends_forms_is_told_where_they_lead(admin: Client) -> None:
    fields = {**FIELDS, "csrf": csrf(admin.get("/incidents"))}
    answer = admin.post("/incidents", data=fields, headers={"Patrol-Form": "1", "HX-Request": "true"})
    assert answer.status_code == 204
    assert re.fullmatch(r"/incidents/\d+", answer.headers["patrol-to"])


def test_a_conflict_says_what_is_in_the_way(admin: Client) -> None:
    token = csrf(admin.get("/rosters/members"))
    member = {"call_sign": "雁-9", "node": "/"}
    assert post(admin, "/rosters/members", token, member).status_code == 303
    refused = post(admin, "/rosters/members", token, member)
    assert refused.status_code == 409
    assert "雁-9" in refused.text


@pytest.mark.parametrize("role", list(Role))
def test_the_menu_has_each_page_once_and_begins_with_what_the_role_needs(role: Role) -> None:
    who = Principal("user", 1, "anna", role)
    groups = nav.menu(who)
    listed = [entry.name for group in groups for entry in group.entries]
    every = [entry for group in nav.MENU for entry in group.entries]
    assert sorted(listed) == sorted(entry.name for entry in every if any(map(who.may, entry.needs)))
    first = [entry.name for entry in groups[0].entries]
    assert len(first) == 4
    assert first[:2] == ["overview", "alarms"]
    assert ("incidents" in first) == (Permission.RESPOND in PERMISSIONS[role])


@pytest.fixture
def page(web: Web, browser: Browser) -> Iterator[Page]:
    """A page of a dispatcher's chief whose browser may not complain, but for what the server refuses."""
    watch = Watch(expected=("status of 4",))
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.on("console", watch.console)
    context.on("weberror", lambda error: watch.complaints.append(str(error.error)))
    client = web.opened[0]
    context.add_cookies([{"name": name, "value": value, "url": web.url} for name, value in client.cookies.items()])
    yield context.new_page()
    context.close()
    assert not watch.complaints, watch.complaints


def test_what_was_typed_stays_when_a_form_is_refused(web: Web, admin: Client, page: Page) -> None:
    page.goto(f"{web.url}/rosters/members")
    form = page.locator("form[action='/rosters/members'][method=post]")
    form.locator("[name=call_sign]").fill("鹰-1")
    form.locator("[name=user]").fill("nobody-of-this-name")
    form.get_by_role("button").click()
    expect(form.get_by_role("alert")).to_contain_text("nobody-of-this-name")
    expect(form.locator("[name=call_sign]")).to_have_value("鹰-1")
    form.locator("[name=user]").fill("")
    form.get_by_role("button").click()
    expect(page.locator("#toast")).to_be_visible()
    expect(page.get_by_text("鹰-1")).to_be_visible()


def test_taking_away_is_asked_about(web: Web, admin: Client, page: Page) -> None:
    token = csrf(admin.get("/rosters/members"))
    assert post(admin, "/rosters/members", token, {"call_sign": "隼-1", "node": "/"}).status_code == 303
    page.goto(f"{web.url}/rosters/members")
    row = page.locator("tr", has_text="隼-1")
    page.once("dialog", lambda dialog: dialog.dismiss())
    row.get_by_role("button").click()
    expect(row).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button").click()
    expect(row).to_have_count(0)


def test_an_answer_that_is_a_page_takes_the_place_of_the_form(web: Web, admin: Client, page: Page) -> None:
    page.goto(f"{web.url}/audit")
    page.locator("main form[method=post]").get_by_role("button").click()
    expect(page.locator("#verdict")).to_be_visible()
    expect(page.locator("#line")).to_have_attribute("data-state", "on")
