"""A campaign over a real broker, a real cloud and 200 gateways of `patrol-sim fleet`, 5 % of which fail."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from cloud.db import open_database
from cloud.devices import service as devices
from cloud.org import service as org
from cloud.org.rules import SYSTEM, Role
from firmware_specs.release import Release, ReleaseKind
from tests.releases.release_support import World
from tests.support import Running, wait_for
from tests.system.harness import BIN, Json, Stack, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import StartProcess

GATEWAYS = 200
POLICY = {
    "waves": ["10", "30%", "100%"], "timeout_s": 15, "offline_s": 60, "soak_s": 1, "health": True,
    "pause_percent": 5, "pause_least": 3,
}  # fmt: skip
SEED = 109
"""By which four fail in the second wave, and six in the third of which three fall silent."""


class Desk:
    """Two administrators at the API."""

    def __init__(self, stack: Stack, tokens: dict[str, str]) -> None:
        self._stack, self._tokens = stack, tokens
        self.id = 0

    def get(self, path: str) -> Json:
        answer: Json = self._stack.get(path, token=self._tokens["other"])
        return answer

    def post(self, path: str, body: Json | None = None, who: str = "author") -> Json:
        answer: Json = self._stack.request("POST", path, body or {}, token=self._tokens[who])
        return answer

    def act(self, act: str, who: str = "author") -> Json:
        return self.post(f"/campaigns/{self.id}/{act}", who=who)

    def see(self) -> Json:
        return self.get(f"/campaigns/{self.id}")

    def tally(self) -> Json:
        found: Json = self.see()["tally"]
        return found

    def members(self) -> list[Json]:
        found: list[Json] = self.get(f"/campaigns/{self.id}/members?limit=1000")["items"]
        return found

    def wait(self, test: Callable[[Json], Any], seconds: float, what: str) -> Json:
        pause = threading.Event()

        def shown() -> Json | None:
            pause.wait(0.2)  # asking is work for the cloud, which has enough of it
            seen = self.see()
            return seen if test(seen) else None

        try:
            found = wait_for(shown, seconds, what)
        except AssertionError as e:
            seen = self.see()
            sick = sorted({each["reason"] for each in self.members() if each["unhealthy"]})
            told = [seen[part] for part in ("state", "reason", "detail", "tally", "reasons")]
            raise AssertionError(f"{e}: {told}, unhealthy: {sick}") from e
        assert found is not None
        return found


@pytest.fixture
def desk(make_stack: Callable[..., Stack], start_process: StartProcess) -> tuple[Desk, Stack, Running]:
    stack = make_stack(cloud_lines="[liveness]\ntick_s = 0.2\n")
    stack.start(stack.north)
    stack.cloud_verb("init")
    publish(stack.folder / "cloud")
    desk = Desk(stack, provision(stack.folder / "cloud"))
    stack.cloud.start()
    stack.cloud.wait_ready()
    fleet = start_process(
        BIN / "patrol-sim", "fleet", "--broker", f"mqtt://127.0.0.1:{stack.north_port}", "--gateways", str(GATEWAYS),
        "--failing", "5", "--delay", "0.3", "--seed", str(SEED), name="fleet",
    )  # fmt: skip
    wait_for(lambda: '"failing"' in fleet.text(), 20, f"the fleet; its log:\n{fleet.text()}")
    wait_for(lambda: desk.get("/devices/counts")["gateways_online"] == GATEWAYS, 20, "everybody online")
    return desk, stack, fleet


def publish(data_dir: Path) -> None:
    """Two signed releases of the agent; the gateways run the first."""
    world = World(data_dir)
    world.begin()
    for version in ("1.0.0", "2.0.0"):
        world.add(b"a bundle", f"agent/agent-{version}.zip", Release(ReleaseKind.AGENT, "agent", version))
    assert world.publish().installed


def provision(data_dir: Path) -> dict[str, str]:
    """Make the gateways known, and two administrators; their tokens."""
    db = open_database("sqlite", data_dir)
    with db.begin() as tx:
        for number in range(1, GATEWAYS + 2):
            devices.add_gateway(tx, SYSTEM, f"fleet-{number:04d}", now_ms())
        tokens = {
            name: org.add_token(tx, SYSTEM, name, Role.ADMINISTRATOR, now_ms=now_ms()) for name in ("author", "other")
        }
    db.close()
    return tokens


@pytest.mark.peer
def test_a_campaign_of_200_simulated_gateways_with_5_percent_failing_pauses_resumes_and_rolls_back_as_its_policy_says(
    desk: tuple[Desk, Stack, Running],
) -> None:
    """And `kill -9` of the cloud in the middle of its last wave: it goes on, and nobody is started twice."""
    at, stack, fleet = desk
    failing = json.loads(fleet.text().splitlines()[0])["failing"]
    assert len(failing) == GATEWAYS * 5 // 100
    new = {
        "kind": "agent", "title": "2.0.0", "subject": {"target": "agent/agent-2.0.0.zip"},
        "choice": {"without": [f"fleet-{GATEWAYS + 1:04d}"]}, "policy": POLICY,
    }  # fmt: skip
    preview = at.post("/campaigns/preview", new)
    assert (preview["members"], preview["waves"], preview["out"]) == (GATEWAYS, [10, 60, 130], {"left-out": 1})
    at.id = at.post("/campaigns", new)["id"]
    at.act("approve", "other")
    at.act("start")

    paused = at.wait(lambda c: c["state"] == "paused", 30, "the campaign to pause")
    assert (paused["reason"], paused["detail"], paused["wave"]) == ("failed-share", "4/70", 2), "3/70 is not 5 %"
    at.wait(lambda c: not c["tally"]["started"], 15, "those under way to end")
    assert at.tally()["pending"] == 130, "nobody is started while it is paused"

    at.act("resume")
    at.wait(lambda c: c["wave"] == 3 and c["tally"]["committed"] > 70, 20, "the middle of the last wave")
    stack.cloud.kill()
    stack.cloud.start()
    stack.cloud.wait_ready()
    ended = at.wait(lambda c: c["state"] == "ended", 40, "the campaign to end")
    assert (ended["tally"]["committed"], ended["tally"]["failed"]) == (GATEWAYS - len(failing), len(failing))
    assert {each["gateway"] for each in at.members() if each["state"] == "failed"} == set(failing)
    assert {each["attempt"] for each in at.members()} == {1}
    assert {each["reason"] for each in ended["reasons"]} == {
        "the signature does not fit", "the cloud did not answer within the trial", "timeout",
    }  # fmt: skip

    at.act("rollback")
    back = at.wait(lambda c: c["state"] == "rolled-back", 40, "everybody to go back")
    assert (back["tally"]["back"], back["tally"]["stuck"]) == (GATEWAYS - len(failing), 0)
    fleet.stop()
    told = json.loads(fleet.text().splitlines()[-1])
    assert set(told["versions"].values()) == {"1.0.0"}
    assert {name for name, count in told["installs"].items() if count != 2} == set(failing)
    assert {told["installs"][name] for name in failing} == {1}
