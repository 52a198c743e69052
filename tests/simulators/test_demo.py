"""`./patrol demo` as a user and a program meet it: its one line, its errors, its end, and both kinds of broker."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from simulators import broker, demo_state, site
from simulators.script import load_community
from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Running, StartProcess

SIM = Path(sys.executable).parent / "patrol-sim"
KEYS = {"url", "user", "password", "token", "mqtt", "coap", "uplink"}


def start_demo(start_process: StartProcess, state: Path, *options: str) -> tuple[Running, Path]:
    """A demo with its stdout in a file of its own, which must hold one line and no more."""
    out = state.with_suffix(".out")
    out.unlink(missing_ok=True)
    argv = ["sh", "-c", 'out=$1; shift; exec "$@" >"$out"', "sh", str(out), str(SIM), "demo", "--json"]
    return start_process(*argv, "--state", state, "--port", str(support.free_port()), *options, name="demo"), out


def wait_ready(demo: Running, out: Path) -> dict[str, str]:
    support.wait_for(lambda: (out.exists() and out.read_text()) or not demo.alive, 90, "the demo")
    assert demo.alive, demo.text()
    lines = out.read_text().splitlines()
    assert len(lines) == 1
    info: dict[str, str] = json.loads(lines[0])
    return info


def get(info: dict[str, str], path: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {info['token']}"}
    answer: dict[str, Any] = httpx.get(f"{info['url']}/api/v1{path}", headers=headers, timeout=10).json()
    return answer


def post(info: dict[str, str], path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {info['token']}"}
    found = httpx.post(f"{info['url']}/api/v1{path}", json=body, headers=headers, timeout=10)
    assert found.is_success, found.text
    answer: dict[str, Any] = found.json()
    return answer


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in tasks.read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.system
def test_the_demo_prints_one_line_keeps_its_password_and_leaves_nothing_behind(
    tmp_path: Path, start_process: StartProcess
) -> None:
    state = tmp_path / "state"
    demo, out = start_demo(start_process, state, "--no-simulators")
    first = wait_ready(demo, out)
    assert set(first) == KEYS
    assert stat.S_IMODE((state / "credentials.json").stat().st_mode) == 0o600
    children = children_of(demo.pid)
    assert len(children) == 4
    # The gateway came in by a claim, and its broker knows it by its certificate.
    assert first["uplink"].startswith("mqtts://127.0.0.1:")
    (certificate,) = get(first, "/gateways/gw-0001/certificates")["items"]
    assert certificate["in_force"]
    assert [claim["state"] for claim in get(first, "/claims")["items"]] == ["used"]
    demo.popen.send_signal(signal.SIGINT)
    assert demo.popen.wait(5) == 0
    assert not any(is_alive(child) for child in children)

    demo, out = start_demo(start_process, state, "--no-simulators")
    again = wait_ready(demo, out)
    assert {key: again[key] for key in ("user", "password", "token")} == {
        key: first[key] for key in ("user", "password", "token")
    }
    assert get(again, "/gateways/gw-0001/certificates")["items"] == [certificate], "it is not enrolled anew"
    children = children_of(demo.pid)
    demo.popen.send_signal(signal.SIGKILL)
    support.wait_for(lambda: not any(is_alive(child) for child in children), 5, "the end of orphans")


@pytest.mark.system
def test_without_mosquitto_the_whole_demo_lives_on_the_packaged_broker(
    tmp_path: Path, start_process: StartProcess
) -> None:
    demo, out = start_demo(start_process, tmp_path / "state", "--broker", "iotcore")
    info = wait_ready(demo, out)
    assert "brokers: iotcore on ports" in demo.text()

    def silent() -> list[str]:
        # Where a carried radio is stands in no list; whoever may locate sees it at the device itself.
        quiet = [d["id"] for d in get(info, "/devices?limit=200")["items"] if not d["latest"]]
        return [name for name in quiet if not get(info, f"/devices/gw-0001/{name}")["latest"]]

    assert len(get(info, "/devices?limit=200")["items"]) >= 60
    support.wait_for(lambda: not silent(), 60, "a value of every device")

    # Whoever starts a walk test finds the simulated buttons pressed, each once, and nobody called out.
    devices = ["smk-0001", "smk-0101", "chk-01", "door-01", "tmp-0001"]
    known = {each["id"] for each in get(info, "/devices?limit=200")["items"]}
    chosen = [name for name in devices if name in known]
    assert len(chosen) >= 4, known
    walk = post(info, "/walk-tests", {"gateway": "gw-0001", "devices": chosen, "minutes": 5})
    support.wait_for(lambda: not get(info, f"/walk-tests/{walk['id']}")["waiting"], 60, "every device ticked off")
    ticked = {each["device"]: each for each in get(info, f"/walk-tests/{walk['id']}")["devices"]}
    assert {each["mark"] for each in ticked.values()} == {"passed"}
    assert ticked["smk-0001"]["latency_ms"] < 10_000
    demo.popen.send_signal(signal.SIGTERM)
    assert demo.popen.wait(5) == 0


@pytest.mark.system
def test_without_simulators_real_devices_are_heard_and_the_edited_file_is_read_again(
    tmp_path: Path, start_process: StartProcess
) -> None:
    state = tmp_path / "state"
    demo, out = start_demo(start_process, state, "--no-simulators")
    info = wait_ready(demo, out)
    port = int(info["mqtt"].rpartition(":")[2])

    def publish(topic: str, value: float) -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", port)
        client.loop_start()
        client.publish(topic, json.dumps([{"n": "smoke", "u": "%obs/m", "v": value}]), 1).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()

    def smoke(device: str) -> float | None:
        latest = get(info, f"/devices/gw-0001/{device}").get("latest", {})
        value = latest.get("smoke", {}).get("value")
        return None if value is None else float(value)

    publish("sensors/smk-1", 0.7)
    support.wait_for(lambda: smoke("smk-1") == 0.7, 20, "the value of a ready-made device")
    file = state / "gateway.toml"
    file.write_text(
        file.read_text() + '\n[[devices]]\nid = "mine"\nprofile = "generic-smoke-senml"\nconnector = "sensors"\n'
        'address = "my/own"\n'
    )
    support.wait_for(lambda: "latest" in get(info, "/devices/gw-0001/mine"), 30, "the device that was added by hand")
    publish("my/own", 0.9)
    support.wait_for(lambda: smoke("mine") == 0.9, 20, "its value")


@pytest.mark.system
def test_a_part_that_dies_ends_the_demo_and_is_named_with_its_last_words(
    tmp_path: Path, start_process: StartProcess
) -> None:
    demo, out = start_demo(start_process, tmp_path / "state", "--no-simulators")
    wait_ready(demo, out)
    gateway = next(
        child for child in children_of(demo.pid) if b"patrol-edge" in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    os.kill(gateway, signal.SIGKILL)
    assert demo.popen.wait(10) == 1
    assert "patrol demo: gateway ended with signal SIGKILL; the end of " in demo.text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "0"], "--port"),
        (["--speed", "-1"], "--speed"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_misuse_is_exit_code_2_and_names_the_option(options: list[str], message: str) -> None:
    done = subprocess.run([SIM, "demo", *options], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_taken_port_and_a_state_in_use_are_one_line(tmp_path: Path, start_process: StartProcess) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [SIM, "demo", "--state", tmp_path / "a", "--port", str(port)],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"patrol-sim: 127.0.0.1:{port}: the port is taken; choose another with --port\n"
    holder = start_process(
        sys.executable, "-c",
        "import fcntl, sys, signal; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print('held', flush=True); "
        "signal.pause()", tmp_path / "a" / "lock",
    )  # fmt: skip
    support.wait_for(lambda: "held" in holder.text(), what="the lock")
    done = subprocess.run(
        [SIM, "demo", "--state", tmp_path / "a"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"patrol-sim: {tmp_path}/a: another demo runs there; end it or choose another --state\n"


def test_fresh_removes_the_demos_own_files_and_no_others(tmp_path: Path) -> None:
    for name in ("cloud/telemetry.db", "edge/outbox.db", "logs/x.log", "gateway.toml", "credentials.json", "mine.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    demo_state.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def ends(tmp_path: Path, mqtt: str) -> site.Endpoints:
    uplink, coap, opcua = "mqtt://127.0.0.1:1", "127.0.0.1:3", "opc.tcp://127.0.0.1:4"
    return site.Endpoints("gw-1", tmp_path / "edge", uplink, mqtt, coap, opcua, tmp_path / "tty")


def test_a_gateway_file_edited_by_hand_survives_moved_ports_and_a_simulated_start(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    old, new = "mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:2883"
    site.write_by_hand(file, ends(tmp_path, old), {})
    file.write_text(file.read_text() + '[[devices]]\nid = "mine"\n')
    site.write_simulated(file, load_community(), ends(tmp_path, old))
    assert "mine" not in file.read_text()
    site.write_by_hand(file, ends(tmp_path, new), {old: new})
    assert 'id = "mine"' in file.read_text()
    assert f'url = "{new}"' in file.read_text()
    assert old not in file.read_text()


@pytest.mark.peer
@pytest.mark.parametrize("find", [broker.mosquitto, lambda: None], ids=["mosquitto", "iotcore"])
def test_either_broker_takes_large_packs_with_properties_and_old_devices_beside_new(
    find: Callable[[], str | None], tmp_path: Path, start_process: StartProcess
) -> None:
    plan = broker.plan(tmp_path, "south", support.free_port(), find())
    running = start_process(*plan.argv, name="broker")
    old_port, new_port = (int(url.rpartition(":")[2]) for url in (plan.url, plan.url5))
    support.wait_for(lambda: support.accepts(old_port) and support.accepts(new_port), what="the broker")
    heard: list[tuple[str, int]] = []
    subscribed = threading.Event()
    ours = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    ours.on_message = lambda _c, _u, message: heard.append((message.topic, len(message.payload)))
    ours.on_subscribe = lambda *_: subscribed.set()
    ours.connect("127.0.0.1", new_port)
    ours.loop_start()
    ours.subscribe("#", 1)
    assert subscribed.wait(10)
    old = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
    old.connect("127.0.0.1", old_port)
    old.loop_start()
    old.publish("sensors/old", b"x", 1).wait_for_publish(10)
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = [("epoch", "e")]
    ours.publish("up/large", b"x" * 2_000_000, 1, properties=properties).wait_for_publish(20)
    support.wait_for(lambda: len(heard) >= 2, 20, "both messages")
    for client in (old, ours):
        client.disconnect()
        client.loop_stop()
    assert heard == [("sensors/old", 1), ("up/large", 2_000_000)]
    assert running.stop(5) is not None


def test_without_mosquitto_on_the_path_the_packaged_broker_is_taken(tmp_path: Path) -> None:
    plan = broker.plan(tmp_path, "uplink", 1, None)
    assert plan.program == "iotcore"
    assert plan.url != plan.url5
    text = (tmp_path / "uplink.toml").read_text()
    assert '"127.0.0.1:1"' in text
    assert text.count("listen = ") == text.count('listen = "127.0.0.1:') == 2
    assert f"max_payload_size = {broker.MAX_PAYLOAD_BYTES}" in text
