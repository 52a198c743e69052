"""D11: response clocks survive `kill -9` at random: breaches and escalations fire once, late at most by the downtime.

Fifty incidents are opened through the API of a real cloud that is killed at random all the while. Afterwards each
timeline is exported, checked by the offline tool, and its rows are held against what was due.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest

from cloud.db import open_database
from cloud.incidents import service
from cloud.incidents.models import PlanGiven
from cloud.incidents.verify_timeline import verify
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM
from tests.support import wait_for
from tests.system.harness import ms_of, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Json, Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
KILLS = 10
INCIDENTS = 50
TARGETS = {"on_scene": 2, "reinforcement": 3, "area": 4}
WAIT_S = 1
"""Between two levels up, and until somebody should have taken it."""
SLACK_MS = 2500
"""What a busy machine may add to a tick of 0.1 s, or to the first one after a start."""
SEED = 20261126


class Down(NamedTuple):
    """From a kill until the cloud served again."""

    since: int
    until: int


def build(stack: Stack) -> str:
    """A street and a community in it, three levels with the root, and a quick plan; the community's path."""
    plan = {
        "category": "fire", "name_zh": "快", "name_en": "Quick", "targets": TARGETS, "receive_s": WAIT_S,
        "escalate_s": WAIT_S,
    }  # fmt: skip
    db = open_database("sqlite", stack.folder / "cloud")
    with db.begin() as tx:
        street = tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, ("长街", "Long Street"), now_ms=now_ms())
        made = tree.add_node(tx, SYSTEM, street.path, tree.Kind.COMMUNITY, ("和园", "Peace"), now_ms=now_ms())
        service.put_plan(tx, SYSTEM, street.path, PlanGiven.model_validate(plan), now_ms())
    db.close()
    return made.path


def keep_killing(stack: Stack, rng: random.Random, down: list[Down], failed: list[BaseException]) -> None:
    """Kill and start the cloud, each time after a random while."""
    pause = threading.Event()
    try:
        for _ in range(KILLS):
            pause.wait(rng.uniform(0.2, 0.9))
            since = now_ms()
            stack.cloud.kill()
            stack.cloud.start()
            stack.cloud.wait_ready()
            down.append(Down(since, now_ms()))
    except BaseException as e:  # noqa: BLE001 - told to the test, which fails by it
        failed.append(e)


def try_post(stack: Stack, path: str, body: Json) -> Json | None:
    """A POST, None when the cloud was killed under it or is away; whether it took effect is then unknown."""
    with contextlib.suppress(OSError, ValueError):
        answer: Json = stack.request("POST", path, body, 3)
        return answer
    return None


def open_all(stack: Stack, node: str, down: list[Down]) -> None:
    """Open incidents until enough were confirmed, some after each kill; some are taken, some are reached in time."""
    pause = threading.Event()
    confirmed = 0
    while confirmed < INCIDENTS:
        if confirmed > (len(down) + 1) * INCIDENTS / KILLS:
            pause.wait(0.02)
            continue
        made = try_post(stack, "/incidents", {"node": node, "category": "fire", "title": "冒烟"})
        if made is None:
            pause.wait(0.05)
            continue
        confirmed += 1
        if confirmed % 3 == 0:
            try_post(stack, f"/incidents/{made['id']}/take", {})
            try_post(stack, f"/incidents/{made['id']}/clocks/on_scene/stop", {"reason": "到场"})


def settled(stack: Stack) -> bool:
    """Whether everything that will happen has happened: all clocks stopped, or told at the top."""
    listed = stack.try_get("/incidents?limit=1000")
    if listed is None:
        return False
    clocks = [clock for incident in listed["items"] for clock in incident["clocks"]]
    return all(clock["how"] or clock["escalated_to"] == ROOT for clock in clocks)


def allowed(due: int, down: list[Down]) -> int:
    """By when a deadline must have fired: at once, or when the cloud was back for long enough to look."""
    at = due
    for each in down:
        if each.since - SLACK_MS <= at <= each.until:
            at = each.until
    return at + SLACK_MS


def judge(rows: list[Json], clocks: list[Json], down: list[Down]) -> int:
    """Hold one timeline against what was due; how many deadlines fired."""
    fired = Counter(
        (row["action"], row["detail"].get("clock", ""), row["detail"].get("step", 1))
        for row in rows if row["action"] in {"breached", "escalated", "untaken"}
    )  # fmt: skip
    assert set(fired.values()) <= {1}, fired
    for row in rows:
        if row["action"] in {"breached", "escalated", "untaken"}:
            due, recorded = row["at"], row["recorded_at"]
            assert due <= recorded <= allowed(due, down), (row, down)
    opened = rows[0]["at"]
    for clock in clocks:
        due = ms_of(clock["due_at"])
        assert due - opened == TARGETS[clock["name"]] * 1000
        late = clock["stopped_at"] is None or ms_of(clock["stopped_at"]) > due
        assert fired["breached", clock["name"], 1] == late, (clock, fired)
        if clock["stopped_at"] is None:
            assert fired["escalated", clock["name"], 2] == 1, (clock, fired)
    taken = [row["recorded_at"] for row in rows if row["action"] == "taken"]
    if not taken:
        assert (fired["untaken", "", 1], fired["untaken", "", 2]) == (1, 1), fired
    return sum(fired.values())


def test_D11_every_clock_and_escalation_fires_once_and_on_time_through_kills(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(cloud_lines="[liveness]\ntick_s = 0.1\n")
    stack.init_cloud()
    node = build(stack)
    stack.start(stack.north, stack.cloud)
    down: list[Down] = []
    failed: list[BaseException] = []
    killer = threading.Thread(target=keep_killing, args=(stack, random.Random(SEED), down, failed), name="killer")
    began = time.monotonic()
    killer.start()
    try:
        open_all(stack, node, down)
    finally:
        killer.join(120)
    assert not failed, failed
    assert stack.cloud.kills == KILLS
    wait_for(lambda: settled(stack), 20, "every deadline fired")
    found = stack.items("/incidents")
    total = 0
    for incident in found:
        whole = stack.get(f"/incidents/{incident['id']}")
        rows = [{**row, "at": ms_of(row["at"]), "recorded_at": ms_of(row["recorded_at"])} for row in whole["timeline"]]
        total += judge(rows, whole["clocks"], down)
    assert len(found) >= INCIDENTS, "what was confirmed is there"
    print(f"{len(found)} incidents, {total} deadlines, {KILLS} kills in {time.monotonic() - began:.1f} s")
    print(f"down: {sorted(each.until - each.since for each in down)} ms")
    verify_all(stack, [incident["id"] for incident in found[:5]])


def verify_all(stack: Stack, ids: list[int]) -> None:
    """The offline tool finds the chains whole."""
    db = open_database("sqlite", stack.folder / "cloud")
    with db.read() as tx:
        for incident in ids:
            count, _ = verify(service.export_timeline(tx, SYSTEM, incident).encode())
            assert count > 3
    db.close()
