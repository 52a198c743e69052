"""`patrol-edge install`: strangers by every connector, and a walk test beside the running agent (real processes)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.publish as mqtt_publish
import pytest

from edge.binding import make_plan
from edge.control import ask
from edge.install import Guide, Ticked, WalkTest
from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable

EDGE = str(Path(sys.executable).with_name("patrol-edge"))
SMOKE = json.dumps([{"n": "smoke", "v": 0.7}, {"n": "alarm", "vb": False}])
PRESSED = json.dumps([{"n": "smoke", "v": 0.7}, {"n": "alarm", "vb": True}])


def write_config(folder: Path, south: int, north: int, coap: int = 0) -> Path:
    path = folder / "gateway.toml"
    posting = f'[[connectors]]\nkind = "coap"\nbind = "127.0.0.1:{coap}"\n' if coap else ""
    path.write_text(
        f"""gateway = "gw-1"
state_dir = "{folder / "state"}"
[uplink]
url = "mqtt://127.0.0.1:{north}"
[[connectors]]
name = "sensors"
kind = "mqtt"
url = "mqtt://127.0.0.1:{south}"
discover = ["sensors/#"]
{posting}[[devices]]
id = "smk-1"
profile = "generic-smoke-senml"
connector = "sensors"
address = "sensors/smk-1"
[[devices]]
id = "door-1"
profile = "generic-checkin-terminal"
connector = "sensors"
address = "doors/1"
"""
    )
    return path


def heard(state: Path) -> dict[str, list[str]]:
    async def collect() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        async for line in ask(state, "discovered"):
            found |= {each["address"]: each["profiles"] for each in line["devices"]}
        return found

    return asyncio.run(collect())


def publish_until(port: int, topic: str, payload: str, test: Callable[[], object]) -> None:
    def once() -> object:
        mqtt_publish.single(topic, payload, qos=1, port=port, hostname="127.0.0.1")
        return test()

    support.wait_for(once, 20, topic)


def test_strangers_on_a_broker_and_on_coap_are_heard(
    tmp_path: Path, mosquitto: support.StartMosquitto, start_process: support.StartProcess
) -> None:
    south, coap = mosquitto(), support.free_port()
    config = write_config(tmp_path, south.port, support.free_port(), coap)
    start_process(EDGE, "run", "--config", config, name="agent")
    support.wait_for((tmp_path / "state" / "agent.sock").exists, 20, "the agent")
    publish_until(south.port, "sensors/new", SMOKE, lambda: "sensors/new" in heard(tmp_path / "state"))
    mqtt_publish.single("sensors/smk-1", SMOKE, qos=1, port=south.port, hostname="127.0.0.1")

    async def post() -> str:
        from aiocoap.message import Message
        from aiocoap.numbers.codes import Code
        from aiocoap.protocol import Context

        client = await Context.create_client_context(transports=["udp6"])
        uri = f"coap://127.0.0.1:{coap}/s/smk-9"
        answer = await client.request(Message(code=Code.POST, uri=uri, payload=SMOKE.encode())).response
        await client.shutdown()
        return str(answer.code)

    assert asyncio.run(post()).startswith("4.04"), "it is noted, and still told that no device posts there"
    found = heard(tmp_path / "state")
    assert found["sensors/new"][0] == "generic-smoke-senml"
    assert found["s/smk-9"][0] == "generic-smoke-coap"
    assert "sensors/smk-1" not in found


def test_a_filter_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    config = write_config(tmp_path, 1, 1)
    config.write_text(config.read_text().replace("sensors/#", "sensors/#/x"))
    done = subprocess.run([EDGE, "check", "-c", str(config)], capture_output=True, text=True, timeout=60, check=False)
    assert "connectors[0].discover" in done.stdout
    assert "is not a topic filter" in done.stdout


def test_a_walk_test_ticks_off_by_alarms_and_by_changes(tmp_path: Path) -> None:
    walk = WalkTest(make_plan(write_config(tmp_path, 1, 1)))
    assert set(walk.waiting) == {"smk-1", "door-1"}
    assert walk.take({"n": "smk-1/smoke", "v": 0.4}) is None
    assert walk.take({"n": "smk-1", "alarm_": {"kind": "battery-low", "phase": "raised"}}) is None
    assert walk.take({"n": "smk-1", "alarm_": {"kind": "fire", "phase": "raised"}}) == Ticked("smk-1", "fire")
    assert walk.take({"n": "smk-1", "alarm_": {"kind": "fire", "phase": "raised"}}) is None
    assert walk.take({"n": "door-1/checkin", "vs": "k1"}) == Ticked("door-1", "checkin")
    assert walk.waiting == {}


def test_the_guide_goes_to_the_end_at_a_terminal(
    tmp_path: Path, mosquitto: support.StartMosquitto, start_process: support.StartProcess
) -> None:
    south, north = mosquitto(), mosquitto()
    config = write_config(tmp_path, south.port, north.port)
    start_process(EDGE, "run", "--config", config, name="agent")
    support.wait_for((tmp_path / "state" / "agent.sock").exists, 20, "the agent")
    publish_until(south.port, "sensors/new", SMOKE, lambda: "sensors/new" in heard(tmp_path / "state"))
    reading, writing = os.pipe()
    log = tmp_path / "guide.log"
    with log.open("wb") as out:
        guide = subprocess.Popen([EDGE, "install", "-c", str(config)], stdin=reading, stdout=out)
    os.write(writing, b"yes\n")
    try:
        support.wait_for(lambda: "[ ] smk-1" in log.read_text(), 60, "the walk test")
        publish_until(south.port, "sensors/smk-1", PRESSED, lambda: "[x] smk-1" in log.read_text())
        os.write(writing, b"\n")
        assert guide.wait(20) == 1, log.read_text()
    finally:
        guide.kill()
        guide.wait()
        os.close(reading)
        os.close(writing)
    said = log.read_text()
    assert "sensors/new" in said
    assert "Missing: door-1" in said


@pytest.mark.parametrize("answer", ["", "nonsense", "patrolgrid:broken"])
def test_a_claim_that_is_none_ends_it_in_words(tmp_path: Path, answer: str) -> None:
    told: list[str] = []
    guide = Guide(tmp_path / "none.toml", lambda _: f"{answer}\n", told.append)
    assert asyncio.run(guide.run()) == 1
    assert told[0].startswith("1. Enrol")
