"""A gateway that is configured by the cloud: what it takes, refuses, leaves alone, and goes back from by itself."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import wait_for
from tests.system.harness import BIN, counter
from tests.system.managed import document, manage, put, served, settled, standing, technician, wrong_uplink

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def verb(stack: Stack, *words: str) -> tuple[int, Any]:
    argv = [BIN / "patrol-edge", "config", *words, "--json", "--config", stack.edge_toml]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_what_the_cloud_orders_is_tried_confirmed_refused_and_left(make_stack: Callable[..., Stack]) -> None:
    stack = manage(make_stack()).start()
    token = technician(stack)
    assert standing(stack)["phase"] == "unset"
    first = put(stack, token, document(stack, counter("a")))
    now = settled(stack, first)
    assert (now["running_version"], now["drift"], served(stack)) == (1, False, {"a"})

    # The same again, as text and as an order that comes once more: nothing moves.
    links = stack.edge.log.read_text().count('"link up"')
    losses = stack.get(f"/gateways/{stack.gateway}")["counters"]["uplink_losses"]
    assert put(stack, token, f"# a remark\n{document(stack, counter('a'))}") == first
    stack.north.kill()
    stack.north.start()
    stack.north.wait_ready()
    wait_for(lambda: stack.get(f"/gateways/{stack.gateway}")["counters"]["uplink_losses"] > losses, 40, "the uplink")
    wait_for(stack.online, 30, "the gateway to be back")
    assert standing(stack)["phase"] == "in-force"
    assert stack.edge.log.read_text().count('"link up"') == links
    assert stack.edge.log.read_text().count("configuration tried") == 1

    # A port that is not there: the gateway refuses nothing, but the connector that was up is not, so it goes back.
    broken = document(stack, counter("a")).replace(f":{stack.south_port}", ":1")
    now = settled(stack, put(stack, token, broken), ["reverted"])
    assert "connector sensors was up before and is not" in now["reason"]
    assert (now["running_version"], now["drift"]) == (1, True)

    # A better one is in force again, and a person on the spot may go back from it.
    assert put(stack, token, document(stack, counter("a"), counter("b"))) == 3
    settled(stack, 3)
    assert served(stack) == {"a", "b"}

    code, shown = verb(stack, "show")
    assert (code, shown["committed"]["version"], shown["previous"]["version"]) == (0, 3, 1)
    assert verb(stack, "revert") == (0, {"ok": True, "reason": ""})
    now = settled(stack, 3, ["reverted"])
    assert (now["reason"], now["running_version"]) == ("gone back by hand, on the gateway", 1)
    wait_for(lambda: served(stack) == {"a"}, 10, "the devices of before")
    assert verb(stack, "revert")[0] == 1

    # So may a person while it is tried, also when the way back begins all parts of the agent anew.
    version = put(stack, token, broken + "[outbox]\nbudget_mb = 50\n", 600)
    settled(stack, version, ["trial"])
    assert verb(stack, "revert") == (0, {"ok": True, "reason": ""})
    now = settled(stack, version, ["reverted"])
    assert (now["reason"], now["running_version"]) == ("gone back by hand, on the gateway", 1)
    wait_for(lambda: stack.edge.log.read_text().count("gateway running") == 3, 10, "the agent to begin anew")
    wait_for(lambda: served(stack) == {"a"} and stack.online(), 20, "the devices of before")


def test_a_wrong_broker_comes_back_by_itself_and_outbox_and_metrics_are_taken(make_stack: Callable[..., Stack]) -> None:
    stack = manage(make_stack()).start()
    token = technician(stack)
    settled(stack, put(stack, token, document(stack, counter("a"))))
    version = put(stack, token, document(stack, counter("a"), head=wrong_uplink()))
    wait_for(lambda: not stack.online(), 20, "the gateway to be away")
    now = settled(stack, version, ["reverted"], 40)
    assert "the cloud did not answer" in now["reason"]
    assert (now["running_version"], stack.online()) == (1, True)
    settled(stack, put(stack, token, document(stack, counter("a"), head="[outbox]\nbudget_mb = 50\n"), 20))
    assert stack.edge.log.read_text().count("gateway running") == 2, "in the same process"
    assert stack.edge.running.alive


def test_a_gateway_with_a_file_of_its_own_takes_none(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([counter("a")]).start()
    token = technician(stack)
    put(stack, token, document(stack, counter("b")))
    now = settled(stack, 1, ["local"])
    assert "`managed` is not set" in now["reason"]
    wait_for(lambda: "configuration refused" in stack.edge.tail(), 10, "the refusal")
    assert served(stack) == {"a"}
