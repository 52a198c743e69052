"""`patrol-sim` as it is typed: help, one-line errors, a device and a community on a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_specs.codec import decode
from firmware_specs.load import load_profiles
from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import StartMosquitto, StartProcess

SIM = Path(sys.executable).parent / "patrol-sim"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SIM, *arguments], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["device", "generic-smoke-senmll", "--to", "mqtt://h/t"], "no profile 'generic-smoke-senmll' (did you mean"),
        (["device", "generic-smoke-senml", "--to", "mqtt://h"], "'mqtt://h': mqtt://host:port/topic, "),
        (["device", "generic-smoke-senml", "--to", "serial:/tmp/x"], "does not speak on a simulated serial line"),
        (["device", "nosuch.toml", "--to", "mqtt://h/t"], "nosuch.toml: No such file or directory"),
        (["community", "--uplink-proxy", "here"], "'here': LISTEN=TARGET expected, each host:port"),
        (["community", "--script", "nosuch.toml"], "nosuch.toml: No such file or directory"),
        (["community", "--mqtt", "broker"], "'broker': mqtt://host:port expected"),
        (["community", "--coap", "http://x"], "'http://x': coap://host:port expected"),
        (["community", "--speed", "fast"], "Invalid value for '--speed'"),
        (["comunity"], "No such command 'comunity'"),
        (["load"], "Missing option '--broker'"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("patrol-sim: ")
    assert message in line


@pytest.mark.parametrize("verb", ["community", "device", "load", "replay", "demo"])
def test_every_verb_explains_itself(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0
    assert "--help" in done.stdout


def test_the_gateway_file_of_a_community_is_written(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    done = run("community", "--write-config", file, "--state", tmp_path, "--gateway", "gw-7")
    assert done.returncode == 0
    assert "22 generic-smoke-senml" in done.stdout
    table = tomllib.loads(file.read_text())
    assert table["gateway"] == "gw-7"
    assert len(table["devices"]) >= 60
    assert run("community", "--write-config", tmp_path / "no" / "where").returncode == 2


@pytest.fixture
def heard(mosquitto: StartMosquitto) -> Iterator[tuple[str, list[tuple[str, bytes]], Callable[[], None]]]:
    """A broker's url and what a plain 3.1.1 subscriber hears on it."""
    broker = mosquitto()
    messages: list[tuple[str, bytes]] = []
    subscribed: list[int] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: messages.append((message.topic, bytes(message.payload)))
    client.on_subscribe = lambda *_: subscribed.append(1)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.subscribe("#", 1)
    support.wait_for(lambda: subscribed, what="the subscription")
    yield broker.url, messages, broker.kill
    client.disconnect()
    client.loop_stop()


@pytest.mark.peer
def test_one_device_of_a_profile_publishes_frames_that_the_profile_decodes(
    heard: tuple[str, list[tuple[str, bytes]], Callable[[], None]],
) -> None:
    url, messages, _ = heard
    to = f"{url}/sensors/tmp-9"
    done = run(
        "device", "generic-temperature-json", "--to", to, "--id", "tmp-9", "--duration", "7", "--speed", "60", "--json"
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["messages"] == len(messages) >= 2
    profile = load_profiles()[0]["generic-temperature-json"]
    for topic, payload in messages:
        assert topic == "sensors/tmp-9"
        assert {s.metric for s in decode(profile, payload, 0)} == {"temperature", "humidity", "battery"}


@pytest.mark.peer
def test_a_community_is_heard_by_a_plain_subscriber_and_ends_on_sigterm(
    heard: tuple[str, list[tuple[str, bytes]], Callable[[], None]], tmp_path: Path, start_process: StartProcess
) -> None:
    url, messages, _ = heard
    coap, opcua = support.free_port(), support.free_port()
    running = start_process(
        SIM, "community", "--mqtt", url, "--coap", f"127.0.0.1:{coap}", "--opcua", f"opc.tcp://127.0.0.1:{opcua}",
        "--state", tmp_path, "--speed", "600", "--json",
    )  # fmt: skip
    fire = '"n":"alarm","vb":true'
    support.wait_for(
        lambda: any(t == "sensors/smk-0008" and fire.encode() in p for t, p in list(messages)) or not running.alive,
        40, "the fire",
    )  # fmt: skip
    support.wait_for(lambda: any(b'"checkin"' in p for _, p in list(messages)), 10, "a check-in")
    topics = Counter(topic for topic, _ in messages)
    profiles = load_profiles()[0]
    assert {f"sensors/smk-{n:04d}" for n in range(1, 23)} <= set(topics)
    assert sum(topic.startswith("owntracks/") for topic in topics) == 6
    for topic, payload in messages:
        if topic.startswith("sensors/smk") and topic.count("/") == 1:
            assert decode(profiles["generic-smoke-senml"], payload, 0)
    ports = {path.name for path in (tmp_path / "tty").iterdir()}
    assert ports == {"car-1", "car-2", "radio-fleetsync", "radio-nexedge"}
    running.popen.send_signal(signal.SIGTERM)
    assert running.popen.wait(15) == 0
    assert '"name": "kitchen-fire"' in running.text()
    assert list((tmp_path / "tty").iterdir()) == []
