"""The API and the pages of configurations: what they answer to whom, with the error at its line, all of it inert."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from cloud.org import service as org
from cloud.org.rules import Role
from firmware_specs.wire_fleet import ConfigPhase
from tests.configs.configs_support import LINE, LOBBY, OWN, ordered, propose, tell, town

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client

    from tests.cloud.cloud_support import Served

HOSTILE = "<script>alert(1)</script>"


@contextlib.contextmanager
def signed_in(service: Served, role: Role) -> Iterator[tuple[Client, str]]:
    password = service.user("somebody", role)
    with service.anonymous() as client:
        assert client.post("/sign-in", data={"user": "somebody", "password": password}).status_code == 303
        yield client, org.csrf_of(client.cookies["patrolgrid_session"])


def test_the_api_takes_a_text_and_tells_its_history_and_its_fault(service: Served) -> None:
    town(service.db, "gw-1")
    url = "/gateways/gw-1/config"
    with service.client(Role.TECHNICIAN) as tech:
        _follow(tech, url)
    with service.client(Role.DISPATCHER) as other:
        assert other.get(url).status_code == 403
        assert other.get("/config-templates").status_code == 403


def _follow(tech: Client, url: str) -> None:
    assert tech.get(url).json()["document"] is None
    made = tech.put(url, json={"text": OWN, "comment": HOSTILE, "expected_version": 0})
    assert (made.status_code, made.json()["version"], made.json()["comment"]) == (200, 1, HOSTILE)
    assert tech.put(url, json={"text": LINE, "expected_version": 0}).status_code == 409
    assert tech.put(url, json={"text": LINE, "trial_s": 60}).json()["trial_s"] == 60
    wrong = tech.put(url, json={"text": OWN.replace("smoke", "smok")})
    assert wrong.status_code == 422
    assert "line 8: devices[0].profile: no profile" in wrong.json()["detail"]
    assert [each["version"] for each in tech.get(f"{url}/history").json()["items"]] == [2, 1]
    assert tech.get(f"{url}/history/1").json()["own"] == OWN
    assert '-id = "lobby"' in tech.get(f"{url}/diff?from=1&to=2").json()["diff"]
    assert tech.post(f"{url}/history/1/restore").json()["version"] == 3
    assert tech.get(url).json()["parts"] == [
        {"part": part, "sources": ["own"], "left_out": False} for part in ("connectors.mqtt", "devices.lobby")
    ]  # fmt: skip
    standings = {each["gateway"]: each["phase"] for each in tech.get("/configs").json()["items"]}
    assert standings == {"gw-1": "waiting", "gw-far": "unset"}


def test_the_editor_shows_a_fault_at_its_line_and_keeps_the_text(service: Served) -> None:
    town(service.db, "gw-1")
    with signed_in(service, Role.TECHNICIAN) as (client, csrf):
        form: dict[str, Any] = {"csrf": csrf, "text": f"# {HOSTILE}\n{LINE}[outbox]\nbudget = 3\n", "expected": 0}
        wrong = client.post("/configs/gw-1?lang=en", data=form)
        assert wrong.status_code == 422
        assert "outbox.budget" in wrong.text
        assert '<span class="wrong"><b>6</b>budget = 3</span>' in wrong.text
        assert HOSTILE not in wrong.text
        assert "&lt;script&gt;" in wrong.text, "the text is kept"
        form["text"] = OWN.replace("\n", "\r\n")
        assert client.post("/configs/gw-1", data=form).status_code == 303
        order = ordered(service.db, "gw-1")
        assert order is not None
        assert client.post("/configs/gw-1", data=form | {"text": LINE}).status_code == 409, "another one came between"
        assert client.post("/configs/gw-1", data=form | {"csrf": "x"}).status_code == 403


def test_the_pages_say_how_each_gateway_stands_in_both_languages(service: Served) -> None:
    town(service.db, "gw-1")
    first = propose(service.db, "gw-1")
    tell(service.db, "gw-1", ConfigPhase.IN_FORCE, first)
    second = propose(service.db, "gw-1", OWN + LOBBY.replace("lobby", "hall"))
    tell(service.db, "gw-1", ConfigPhase.REVERTED, second, HOSTILE, running=first)
    with signed_in(service, Role.TECHNICIAN) as (client, csrf):
        for lang, word in (("en", "Gone back"), ("zh", "已退回")):
            client.cookies.set("patrol_lang", lang)
            for path in ("/configs", "/configs/gw-1", "/gateways/gw-1"):
                page = client.get(path)
                assert (page.status_code, word in page.text, HOSTILE in page.text) == (200, True, False), path
        page = client.get("/configs/gw-1?version=1")
        assert 'class="plus"' in page.text
        assert client.post("/configs/gw-1/restore/1", data={"csrf": csrf}).status_code == 303
        order = ordered(service.db, "gw-1")
        assert order is not None
        assert (order[0].version, order[0].hash) == (3, first.hash)
        put = {"csrf": csrf, "kind": "type", "key": "generic-smoke-senml", "text": "[device]\ndrill = true\n"}
        assert client.post("/config-templates", data=put).status_code == 303
        assert "generic-smoke-senml" in client.get("/config-templates?kind=type&key=generic-smoke-senml").text
        change = {"csrf": csrf, "kind": "render", "node": "/"}
        seen = client.post("/config-changes", data=change)
        assert (seen.status_code, "+drill = true" in seen.text) == (200, True)
        assert client.post("/config-changes", data=change | {"kind": "set"}).status_code == 422
        out = client.post("/config-changes", data=change | {"kind": "leave-out", "key": "devices.lobby"})
        assert '<span class="plus">+# left out: devices.lobby</span>' in out.text
        propose(service.db, "gw-1", f'without = ["devices.hall"]\n{OWN}')
        assert "<s>devices.hall</s>" in client.get("/configs/gw-1").text


def test_a_change_to_many_becomes_a_campaign(service: Served) -> None:
    town(service.db, "gw-1", "gw-2")
    for gateway in ("gw-1", "gw-2"):
        propose(service.db, gateway)
    with signed_in(service, Role.ADMINISTRATOR) as (client, csrf):
        form = {"csrf": csrf, "kind": "set", "key": "outbox.budget_mb", "value": "200", "node": "/", "waves": "1 100%",
                "gateways": "gw-1, gw-2"}  # fmt: skip
        seen = client.post("/config-changes?lang=en", data=form)
        assert ("Gateways alike: 2" in seen.text or "2 台网关相同" in seen.text, "+budget_mb = 200" in seen.text) == (
            True,
            True,
        )
        made = client.post("/config-changes", data=form | {"go": "campaign"})
        assert made.status_code == 303
        assert made.headers["location"].startswith("/campaigns/")
