"""`patrol-edge check`, `listen` and `outbox`, as a technician uses them: real processes, a real broker."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paho.mqtt.publish as mqtt_publish

from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable

EDGE = str(Path(sys.executable).with_name("patrol-edge"))
READING = json.dumps([{"n": "smoke", "u": "%obs/m", "v": 0.7}, {"n": "temperature", "u": "Cel", "v": 23.4}])


def write_config(folder: Path, south: int, north: int, coap: int, extra: str = "") -> Path:
    """A gateway with one detector on a broker and one on CoAP."""
    path = folder / "gateway.toml"
    path.write_text(
        f"""gateway = "gw-tech"
state_dir = "{folder / "state"}"
[uplink]
url = "mqtt://127.0.0.1:{north}"
[[connectors]]
name = "sensors"
kind = "mqtt"
url = "mqtt://127.0.0.1:{south}"
[[connectors]]
kind = "coap"
bind = "127.0.0.1:{coap}"
[[devices]]
id = "smk-1"
profile = "generic-smoke-senml"
connector = "sensors"
address = "sensors/smk-1"
[[devices]]
id = "smk-2"
profile = "generic-smoke-coap"
connector = "coap"
address = "s/smk-2"
{extra}"""
    )
    return path


def edge(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    command = [EDGE, *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def findings(config: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """What `check --json` says, by precondition."""
    done = edge("check", "--config", config, "--json")
    return done.returncode, {f["what"]: f for f in json.loads(done.stdout)["findings"]}


def test_check_finds_every_precondition_in_order(tmp_path: Path, mosquitto: support.StartMosquitto) -> None:
    config = write_config(tmp_path, mosquitto().port, mosquitto().port, support.free_port())
    code, found = findings(config)
    assert code == 0, found
    assert {"config", "clock", "disk", "uplink", "connector sensors", "connector coap"} <= set(found)
    assert "link up, 1 devices" in found["connector coap"]["detail"]
    table = edge("check", "--config", config)
    assert table.returncode == 0
    assert re.search(r"^OK +uplink .*connected$", table.stdout, re.MULTILINE), table.stdout
    assert table.stdout.splitlines()[-1].startswith("all ")


def test_check_names_what_fails(tmp_path: Path, mosquitto: support.StartMosquitto) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        extra = '[[connectors]]\nname = "radio"\nkind = "serial"\nport = "/dev/no-such-port"\n'
        config = write_config(tmp_path, mosquitto().port, support.free_port(), taken.getsockname()[1], extra)
        code, found = findings(config)
    assert code == 1
    assert found["uplink"]["state"] == "fail"
    assert "connection refused" in found["uplink"]["detail"].lower()
    assert found["connector coap"]["state"] == "fail"
    assert "taken" in found["connector coap"]["detail"]
    assert "no such port" in found["connector radio"]["detail"]
    assert found["connector sensors"]["state"] == "ok"


def test_check_says_which_key_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('gateway = "gw-1"\nstate_dirr = "/tmp/x"\n[uplink]\nurl = "mqtt://127.0.0.1"\n')
    done = edge("check", "--config", path)
    assert done.returncode == 1
    assert 'state_dirr: unknown key (did you mean "state_dir"?)' in done.stdout


def test_outbox_of_a_gateway_that_never_ran(tmp_path: Path) -> None:
    done = edge("outbox", "--config", write_config(tmp_path, 1, 1, 1))
    assert done.returncode == 1
    assert done.stderr.strip().endswith("there is no outbox yet; the agent has not run")
    assert len(done.stderr.splitlines()) == 1


def test_running_agent_answers_outbox_listen_and_check(
    tmp_path: Path, mosquitto: support.StartMosquitto, start_process: support.StartProcess
) -> None:
    south = mosquitto()
    config = write_config(tmp_path, south.port, support.free_port(), support.free_port())
    agent = start_process(EDGE, "run", "--config", config, name="agent")
    support.wait_for((tmp_path / "state" / "agent.sock").exists, what="the agent's socket")
    assert (tmp_path / "state" / "agent.sock").stat().st_mode & 0o777 == 0o600

    listener = start_process(EDGE, "listen", "--config", config, "--json", name="listen")
    heard = heard_by(listener.log)
    publish_until(south.port, lambda: any(line.get("n") == "smk-1/smoke" for line in heard()))
    smoke = next(line for line in heard() if line.get("n") == "smk-1/smoke")
    assert (smoke["v"], smoke["u"]) == (0.7, "%obs/m")

    def waiting() -> bool:
        answer = json.loads(edge("outbox", "--config", config, "--json").stdout)
        return bool(answer["running"] and answer["lanes"]["telemetry"]["waiting"] >= 2)

    support.wait_for(waiting, what="readings in the outbox")
    code, found = findings(config)
    assert code == 0, found
    assert "is running" in found["agent"]["detail"]
    assert found["connector sensors"]["detail"] == "up"
    second = edge("run", "--config", config)
    assert second.returncode == 2
    assert second.stderr.strip().endswith("another agent is running on it")

    agent.stop()
    answer = json.loads(edge("outbox", "--config", config, "--json").stdout)
    assert answer["running"] is False
    assert answer["lanes"]["telemetry"]["waiting"] >= 2
    assert "The agent is not running." in edge("outbox", "--config", config).stdout


def test_listen_without_an_agent_takes_nothing_from_it(
    tmp_path: Path, mosquitto: support.StartMosquitto, start_process: support.StartProcess
) -> None:
    south = mosquitto()
    config = write_config(tmp_path, south.port, support.free_port(), support.free_port())
    agent = start_process(EDGE, "run", "--config", config, name="agent")
    support.wait_for((tmp_path / "state" / "agent.sock").exists, what="the agent's socket")
    support.wait_for(lambda: findings(config)[1].get("connector sensors", {}).get("detail") == "up", what="the link")
    agent.stop()
    before = telemetry_waiting(config)

    listener = start_process(EDGE, "listen", "--config", config, "--json", name="listen")
    heard = heard_by(listener.log)
    publish_until(south.port, lambda: any(line.get("n") == "smk-1/smoke" for line in heard()))
    listener.stop()

    start_process(EDGE, "run", "--config", config, name="agent-again")
    support.wait_for(
        lambda: telemetry_waiting(config, running=True) >= before + 2, what="what the broker had kept for the agent"
    )


def telemetry_waiting(config: Path, *, running: bool = False) -> int:
    """Readings in the outbox; 0 while the agent does not answer though it should."""
    done = edge("outbox", "--config", config, "--json")
    answer: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"running": False}
    if running and not answer["running"]:
        return 0
    return int(answer["lanes"]["telemetry"]["waiting"])


def heard_by(log: Path) -> Callable[[], list[dict[str, Any]]]:
    """The JSON lines that `listen` has printed so far."""

    def lines() -> list[dict[str, Any]]:
        text = log.read_text() if log.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    return lines


def publish_until(port: int, seen: Callable[[], bool]) -> None:
    """Publish a reading again and again until it was seen."""
    last = 0.0

    def turn() -> bool:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            mqtt_publish.single("sensors/smk-1", READING, qos=1, hostname="127.0.0.1", port=port)
        return seen()

    support.wait_for(turn, what="a reading at the listener")
