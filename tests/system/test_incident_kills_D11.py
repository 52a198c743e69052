"""D11: deadlines survive `kill -9` at random: clocks, escalations and level changes fire once and on time.

Fifty incidents are opened through the API of a real cloud that is killed at random all the while; alarms escalate and
response levels begin and end meanwhile, and a real receiver hears of all of it. Afterwards whatever fired is held
against what was due: not twice, not early, late at most by the time away and two seconds.
`PATROL_INCIDENT_KILLS` sets the number of kills, `PATROL_SEED` repeats a run.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from cloud.alerts import chains
from cloud.alerts.notify import channels
from cloud.alerts.notify.models import ChannelIn
from cloud.alerts.ops_models import ChainBody
from cloud.db import open_database
from cloud.incidents import service
from cloud.incidents.models import PlanGiven
from cloud.incidents.verify_timeline import verify
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Role
from tests.notify.receivers import Hooks
from tests.support import wait_for
from tests.system.due_alarms import STEPS_S, Alarms
from tests.system.due_levels import Levels
from tests.system.fakegateway import FakeGateway
from tests.system.harness import ms_of, now_ms
from tests.system.killing import Killer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from tests.system.harness import Json, Stack

KILLS = int(os.environ.get("PATROL_INCIDENT_KILLS", "8"))
pytestmark = [pytest.mark.system, pytest.mark.timeout(180 + 10 * KILLS)]
INCIDENTS = max(50, 5 * KILLS)
EVERY_ALARM, EVERY_LEVEL = 2, 4
"""One alarm after so many incidents, and one level."""
TARGETS = {"on_scene": 2, "reinforcement": 3, "area": 4}
WAIT_S = 1
"""Between two levels up, and until somebody should have taken it."""
DEADLINES = frozenset({"breached", "escalated", "untaken"})
TOLD = DEADLINES | {"opened"}
TIMEOUT_S = 1
"""Of a channel: what was being sent when the cloud was killed is sent again four times that and 5 s later."""
CLOUD = '[liveness]\ntick_s = 0.1\n[notify]\nallow_hosts = ["{host}"]\ntimeout_s = {timeout}\n'


def build(stack: Stack, hooks: Hooks) -> tuple[str, list[str]]:
    """A street with a quick plan, a chain and a channel; the community of incidents, and those of levels."""
    db = open_database("sqlite", stack.folder / "cloud")
    with db.begin() as tx:
        street = _node(tx, ROOT, tree.Kind.STREET, 0)
        made = _node(tx, street, tree.Kind.COMMUNITY, 1)
        others = [_node(tx, street, tree.Kind.COMMUNITY, 2 + n) for n in range(INCIDENTS // EVERY_LEVEL)]
        plan = {
            "category": "fire", "name_zh": "快", "name_en": "Quick", "targets": TARGETS, "receive_s": WAIT_S,
            "escalate_s": WAIT_S,
        }  # fmt: skip
        service.put_plan(tx, SYSTEM, street, PlanGiven.model_validate(plan), now_ms())
        roles = (["dispatcher"], ["supervisor"], ["dispatcher", "supervisor"])
        steps = [
            {"after_s": after_s, "roles": who, "up": step // 2}
            for step, (after_s, who) in enumerate(zip(STEPS_S, roles, strict=True))
        ]
        chains.add_chain(tx, SYSTEM, ChainBody.model_validate({"name": "quick", "steps": steps}), now_ms())
        channel = {"name": "desk", "target": hooks.url, "audience": [role.value for role in Role]}
        allowed = channels.hosts_of([hooks.host])
        channels.add_channel(tx, SYSTEM, ChannelIn.model_validate(channel), now_ms=now_ms(), allowed=allowed)
    db.close()
    return made, others


def _node(tx: Connection, above: str, kind: tree.Kind, number: int) -> str:
    return tree.add_node(tx, SYSTEM, above, kind, (f"点{number}", f"Place {number}"), now_ms=now_ms()).path


def open_all(stack: Stack, node: str, killer: Killer, alarms: Alarms, levels: Levels) -> None:
    """Open incidents until enough were confirmed, some after each kill, with alarms and levels between them.

    Some incidents are taken, some are reached in time.
    """
    pause = threading.Event()
    confirmed = 0
    while confirmed < INCIDENTS:
        if confirmed > (killer.done + 1 / KILLS) * INCIDENTS:
            pause.wait(0.02)
            continue
        made = stack.try_post("/incidents", {"node": node, "category": "fire", "title": "冒烟"})
        if made is None:
            pause.wait(0.05)
            continue
        confirmed += 1
        if confirmed % 3 == 0:
            stack.try_post(f"/incidents/{made['id']}/take", {})
            stack.try_post(f"/incidents/{made['id']}/clocks/on_scene/stop", {"reason": "到场"})
        if confirmed % EVERY_ALARM == 0:
            alarms.raise_one()
        if confirmed % EVERY_LEVEL == 0:
            levels.declare()


def incidents_settled(stack: Stack) -> bool:
    """Whether all clocks have stopped, or were told at the top."""
    listed = stack.try_get("/incidents?limit=1000")
    if listed is None:
        return False
    clocks = [clock for incident in listed["items"] for clock in incident["clocks"]]
    return all(clock["how"] or clock["escalated_to"] == ROOT for clock in clocks)


def sent(stack: Stack) -> bool:
    """Whether no delivery waits."""
    waiting = stack.try_get("/deliveries?status=waiting")
    return waiting is not None and not waiting["items"]


def judge(rows: list[Json], clocks: list[Json], killer: Killer) -> Counter[str]:
    """Hold one timeline against what was due; what fired."""
    deadlines = [row for row in rows if row["action"] in DEADLINES]
    fired = Counter(
        (row["action"], row["detail"].get("clock", ""), row["detail"].get("step", 1)) for row in deadlines
    )  # fmt: skip
    assert set(fired.values()) <= {1}, fired
    for row in deadlines:
        assert killer.on_time(row["at"], row["recorded_at"]), (row, killer.down)
    opened = rows[0]["at"]
    for clock in clocks:
        due = ms_of(clock["due_at"])
        assert due - opened == TARGETS[clock["name"]] * 1000
        late = clock["stopped_at"] is None or ms_of(clock["stopped_at"]) > due
        assert fired["breached", clock["name"], 1] == late, (clock, fired)
        if clock["stopped_at"] is None:
            assert fired["escalated", clock["name"], 2] == 1, (clock, fired)
    if not any(row["action"] == "taken" for row in rows):
        assert (fired["untaken", "", 1], fired["untaken", "", 2]) == (1, 1), fired
    return Counter(row["action"] for row in deadlines)


def judge_incidents(stack: Stack, killer: Killer) -> Counter[str]:
    """Every incident's timeline, and that each row of it that tells somebody was told once. What fired."""
    total: Counter[str] = Counter()
    for incident in stack.items("/incidents"):
        whole = stack.get(f"/incidents/{incident['id']}")
        rows = [{**row, "at": ms_of(row["at"]), "recorded_at": ms_of(row["recorded_at"])} for row in whole["timeline"]]
        total += judge(rows, whole["clocks"], killer)
        told = stack.items(f"/deliveries?subject=incident&subject_id={incident['id']}")
        assert len(told) == sum(row["action"] in TOLD for row in rows), (rows, told)
    return total


def judge_receiver(stack: Stack, hooks: Hooks) -> tuple[int, int]:
    """The receiver heard of every delivery, and a repeat said the same. How many there were, and how many repeats."""
    heard: dict[int, list[Json]] = {}
    # What was cut off by a kill is no message.
    whole = [got for got in hooks.got if len(got.body) == int(got.headers["Content-Length"])]
    for got in whole:
        body = got.data
        assert got.headers["X-PatrolGrid-Delivery"] == body["delivery"]
        heard.setdefault(int(body["delivery"].partition("-")[0]), []).append(body)
    listed = {each["id"]: each for each in stack.items("/deliveries")}
    assert {each["status"] for each in listed.values()} == {"sent"}, "each went, none as part of a digest"
    assert set(heard) == set(listed)
    for number, bodies in heard.items():
        first = {key: value for key, value in bodies[0].items() if key != "attempt"}
        assert all({**first, "attempt": body["attempt"]} == body for body in bodies), bodies
        assert (first["subject"], first["subject_id"], first["title"]) == tuple(
            listed[number][key] for key in ("subject", "subject_id", "title")
        )
    return len(heard), len(whole) - len(heard)


def verify_all(stack: Stack, ids: list[int]) -> None:
    """The offline tool finds the chains whole."""
    db = open_database("sqlite", stack.folder / "cloud")
    with db.read() as tx:
        for incident in ids:
            count, _ = verify(service.export_timeline(tx, SYSTEM, incident).encode())
            assert count > 3
    db.close()


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    """A receiver of webhooks on loopback."""
    with contextlib.closing(Hooks()) as made:
        yield made


def test_D11_clocks_escalations_and_levels_fire_once_and_on_time_through_kills(
    make_stack: Callable[..., Stack], hooks: Hooks
) -> None:
    seed = int(os.environ.get("PATROL_SEED", str(random.SystemRandom().randrange(10**6))))
    print(f"PATROL_SEED={seed} PATROL_INCIDENT_KILLS={KILLS}")
    dice = random.Random(seed)
    stack = make_stack(cloud_lines=CLOUD.format(host=hooks.host, timeout=TIMEOUT_S))
    stack.init_cloud()
    node, others = build(stack, hooks)
    stack.cloud_verb("gateway", "add", "gw-alarms", "--node", node)
    chief = stack.cloud_verb("token", "add", "chief", "--role", "supervisor").split()[-1]
    stack.start(stack.north, stack.cloud)
    levels = Levels(stack, others, chief, dice)
    began = time.monotonic()
    with FakeGateway(stack.north_port, "gw-alarms") as gateway:
        alarms = Alarms(stack, gateway, INCIDENTS // EVERY_ALARM)
        with Killer(stack.cloud, KILLS, random.Random(seed)) as killer:
            open_all(stack, node, killer, alarms, levels)
        alarms.deliver()
    assert stack.cloud.kills == KILLS
    for what in (lambda: incidents_settled(stack), alarms.settled, levels.settled, lambda: sent(stack)):
        wait_for(what, 30, "every deadline fired")
    total = judge_incidents(stack, killer) + alarms.judge(killer) + levels.judge(killer)
    deliveries, repeats = judge_receiver(stack, hooks)
    found = [incident["id"] for incident in stack.items("/incidents")]
    assert len(found) >= INCIDENTS, "what was confirmed is there"
    print(f"{len(found)} incidents, {dict(total)}, {KILLS} kills in {time.monotonic() - began:.1f} s")
    print(f"{deliveries} deliveries, {repeats} of them again; away {sorted(b - a for a, b in killer.down)} ms")
    verify_all(stack, found[:5])
