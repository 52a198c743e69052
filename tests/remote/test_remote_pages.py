"""The page of remote help: what it asks, how answers fill in, whose file it gives; hostile answers are text (S5)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from cloud.devices.remote import service
from cloud.org.rules import Role
from firmware_specs.wire_fleet import Result, ResultPhase, encode
from tests.browser.consoleweb import GATEWAY, Web, csrf, now_ms, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client

HOSTILE = '"><script>hit()</script>{{7*7}}'
PAGE = f"/gateways/{GATEWAY}/help"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A console with a gateway that has a connector."""
    with serving(tmp_path_factory.mktemp("console")) as made:
        made.heard(connectors={"sensors": "up"})
        yield made


@pytest.fixture(scope="module")
def tech(web: Web) -> Client:
    """A technician."""
    return web.user("tech", Role.TECHNICIAN)


def ask(browser: Client, kind: str, name: str = "") -> str:
    """Press a button; the id of the command that it led to."""
    fields = {"csrf": csrf(browser.get(PAGE)), "back": PAGE, "kind": kind, "name": name}
    answer = browser.post(PAGE, data=fields)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].partition("command=")[2]


def told(web: Web, command: str, part: int, text: str = "", *, phase: str = "running", reason: str = "") -> None:
    with web.db.begin() as tx:
        result = Result(command, ResultPhase(phase), part, text, reason)
        service.taken(tx, GATEWAY, command, encode(result), now_ms())


def test_a_check_fills_in_and_hostile_words_are_text_S5(web: Web, tech: Client) -> None:
    command = ask(tech, "check")
    told(web, command, 0, json.dumps({"what": "clock", "state": "ok", "detail": HOSTILE}))
    told(web, command, 1, HOSTILE)
    page = tech.get(PAGE).text
    assert re.search(r'data-phase="running"', page)
    assert "<bdi>clock</bdi>" in page
    assert HOSTILE not in page
    told(web, command, 2, phase="failed", reason=HOSTILE)
    assert HOSTILE not in tech.get(f"{PAGE}?command={command}").text


def test_a_log_comes_in_and_is_stopped(web: Web, tech: Client) -> None:
    command = ask(tech, "log-tail")
    told(web, command, 0, f"one {HOSTILE}\ntwo\n")
    page = tech.get(PAGE).text
    assert "remote-log" in page
    assert HOSTILE not in page
    assert ask(tech, "stop", command) == command
    told(web, command, 1, phase="done", reason="stopped")
    assert 'name="kind" value="stop"' not in tech.get(f"{PAGE}?command={command}").text


def test_a_file_is_for_who_asked(web: Web, tech: Client) -> None:
    command = ask(tech, "diagnostics")
    told(web, command, 0, base64.b64encode(b"PK").decode())
    told(web, command, 1, phase="done", reason=f"sha256:{hashlib.sha256(b'PK').hexdigest()}")
    link = f"/api/v1/commands/{command}/file"
    assert link in tech.get(f"{PAGE}?command={command}").text
    assert tech.get(link).content == b"PK"
    other = web.user("other", Role.TECHNICIAN)
    assert link not in other.get(f"{PAGE}?command={command}").text
    assert other.get(link).status_code == 403


def test_who_may_not_and_what_is_not_there(web: Web, tech: Client) -> None:
    desk = web.user("desk", Role.DISPATCHER)
    assert desk.get(PAGE).status_code == 403
    assert "help" not in desk.get(f"/gateways/{GATEWAY}").text
    assert tech.get("/gateways/nothing/help").status_code == 404
    assert tech.get(f"{PAGE}?command=nothing").status_code == 404
    fields = {"csrf": csrf(tech.get(PAGE)), "kind": "shell", "name": "x"}
    assert tech.post(PAGE, data=fields).status_code == 422
    assert tech.post(PAGE, data={**fields, "kind": "check", "csrf": "no"}).status_code == 403
