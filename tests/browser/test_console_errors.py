"""Errors for browsers: a page in the site's look and both languages; for machines, a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud.console.i18n import WORDS
from cloud.http import CSP
from cloud.org.rules import Role
from tests.browser.consoleweb import BROWSER, GATEWAY, Web, csrf, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client

UNKNOWN = (
    "/no/such/page", "/alarms/999", "/alarms/none", "/devices/gw-0001/none-1", f"/devices/{'x' * 300}/y",
    "/gateways/none", "/static/none/none.css",
)  # fmt: skip


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The application, with a page that breaks."""

    def broken() -> None:
        raise RuntimeError("a secret of the inside")

    with serving(tmp_path_factory.mktemp("console")) as made:
        made.app.add_api_route("/broken", broken)
        made.app.add_api_route("/api/v1/broken", broken)
        yield made


@pytest.fixture(scope="module")
def anna(web: Web) -> Client:
    """An auditor's browser."""
    return web.user("anna", Role.AUDITOR)


@pytest.fixture
def viewer(anna: Client) -> Client:
    """The same, in no language yet."""
    anna.cookies.pop("patrol_lang", None)
    return anna


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_address_or_thing_is_a_page_in_either_language(viewer: Client, path: str, lang: str) -> None:
    answer = viewer.get(path, headers={"Cookie": f"{viewer_cookie(viewer)}; patrol_lang={lang}"})
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"] == CSP
    assert "app.css" in answer.text
    key = "error.not_found" if answer.status_code == 404 else "error.invalid_title"
    assert WORDS[lang](key) in answer.text


def viewer_cookie(browser: Client) -> str:
    """The session as a header, so that a test may add other cookies."""
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def test_an_error_page_switches_the_language_and_keeps_it(viewer: Client) -> None:
    answer = viewer.get("/no/such/page?lang=en")
    assert (answer.status_code, answer.headers["location"]) == (303, "/no/such/page")
    assert "Not found" in viewer.get("/no/such/page").text
    assert 'href="/alarms"' in viewer.get("/alarms/999").text


def test_a_break_of_ours_is_a_page_that_tells_nothing_of_the_inside_under_the_same_policy(web: Web) -> None:
    answer = web.browser().get("/broken")
    assert answer.status_code == 500
    assert WORDS["zh"]("error.broken") in answer.text
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["cache-control"] == "no-store"


def test_what_a_role_may_not_do_is_a_page_with_403(web: Web, viewer: Client) -> None:
    token = csrf(viewer.get("/alarms"))
    answer = viewer.post(f"/alarms/{web.alarm()}/ack", data={"csrf": token})
    assert answer.status_code == 403
    assert WORDS["zh"]("error.forbidden") in answer.text


@pytest.mark.parametrize(
    "path", ["/api/v1/none", "/api/v1/alarms/999", "/api/v1/gateways/none", "/api/v1/broken", "/api"]
)
def test_the_api_answers_with_problem_documents_whoever_asks(viewer: Client, path: str) -> None:
    # The server closes a connection on which something broke: the next test begins another.
    answer = viewer.get(path, headers={**BROWSER, "Connection": "close"})
    assert answer.status_code in {404, 500}
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_machine_gets_a_problem_document_outside_the_api_too(web: Web) -> None:
    answer = web.browser().get("/no/such/page", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_script_of_the_page_gets_one_line(web: Web, viewer: Client) -> None:
    token = csrf(viewer.get(f"/gateways/{GATEWAY}"))
    answer = viewer.post(f"/alarms/{web.alarm()}/ack", data={"csrf": token}, headers={"HX-Request": "true"})
    assert (answer.status_code, answer.text) == (403, WORDS["zh"]("error.forbidden"))
    assert answer.headers["content-type"].startswith("text/plain")
