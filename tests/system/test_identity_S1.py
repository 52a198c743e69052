"""S1: a gateway can only speak as itself: TLS client certificates and access rules of a real mosquitto."""

from __future__ import annotations

import ssl
import subprocess
import threading
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firmware_specs import wire
from tests.bench.load import Message, Sink, Source
from tests.support import free_port, wait_for
from tests.system.harness import BIN, counter, counter_frame, now_ms
from tests.system.pki import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.harness import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
UP = ("up/alarms", "up/telemetry", "status", "reported", "result/1")
DOWN = ("ack", "desired", "command/1")
RULES = "".join(
    f"pattern write {wire.TOPIC_ROOT}/%u/{t}\n" for t in ("up/#", "status", "reported", "result/+")
) + "".join(f"pattern read {wire.TOPIC_ROOT}/%u/{t}\n" for t in ("ack", "desired", "command/+"))


def _secure(stack: Stack) -> tuple[Authority, int]:
    """Give the north broker a second listener that demands certificates; the cloud stays on the first."""
    authority = Authority(stack.folder)
    cert, key = authority.issue("localhost")
    port = free_port()
    acl = stack.folder / "acl"
    acl.write_text(RULES)
    acl.chmod(0o600)
    config = stack.folder / "north.conf"
    config.write_text(
        "per_listener_settings true\nuser root\n"
        f"listener {stack.north_port} 127.0.0.1\nallow_anonymous true\n"
        f"listener {port} 127.0.0.1\nallow_anonymous false\nrequire_certificate true\nuse_identity_as_username true\n"
        f"tls_version tlsv1.2\ncafile {authority.cert}\ncertfile {cert}\nkeyfile {key}\nacl_file {acl}\n"
    )
    return authority, port


def _point_edge_at(stack: Stack, port: int, ca: Path, cert: Path, key: Path) -> None:
    stack.write_edge_toml(
        [counter("mqtt-1")], {"uplink": f'ca = "{ca}"\ncert = "{cert}"\nkey = "{key}"'}, stack.north_port
    )
    text = stack.edge_toml.read_text()
    plain = f'url = "mqtt://127.0.0.1:{stack.north_port}"'
    assert plain in text
    stack.edge_toml.write_text(text.replace(plain, f'url = "mqtts://localhost:{port}"', 1))


def _client(authority: Authority, port: int, name: str) -> tuple[Client, threading.Event]:
    cert, key = authority.issue(name)
    client = Client(CallbackAPIVersion.VERSION2, f"probe-{name}", protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set(str(authority.cert), str(cert), str(key), tls_version=ssl.PROTOCOL_TLS_CLIENT)
    up = threading.Event()
    client.on_connect = lambda *_: up.set()
    client.connect("localhost", port)
    client.loop_start()
    assert up.wait(10)
    return client, up


def test_S1_a_gateway_speaks_by_its_certificate(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([counter("mqtt-1")])
    authority, port = _secure(stack)
    _point_edge_at(stack, port, authority.cert, *authority.issue(stack.gateway))
    stack.start()
    Source(stack.south_port, [(b"sensors/mqtt-1", counter_frame(7, now_ms()))]).run(deadline_s=10)
    wait_for(lambda: stack.try_get(f"/devices/{stack.gateway}/mqtt-1"), 10, "the device in the cloud")
    wait_for(lambda: [value for _, value in stack.raw("mqtt-1")] == [7], 10, "the reading in the cloud")


def test_S1_no_gateway_crosses_into_another_ones_topics(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    authority, port = _secure(stack)
    stack.start(stack.north)
    names = ("gw-1", "gw-2", "gw-3")
    seen: set[tuple[str, str]] = set()

    def take(message: Message) -> None:
        seen.add((message.payload.decode(), message.topic))

    clients = {name: _client(authority, port, name)[0] for name in names}
    with Sink(stack.north_port, f"{wire.TOPIC_ROOT}/#", take):
        for speaker, victim in product(names, names):
            for part in (*UP, *DOWN):
                sent = clients[speaker].publish(wire.topic(victim, part), speaker, 1)
                sent.wait_for_publish(10)
        wait_for(lambda: len(seen) >= len(names) * len(UP), 10, "each gateway's own messages")
    allowed = {(name, wire.topic(name, part)) for name in names for part in UP}
    assert seen == allowed, f"crossings: {sorted(seen - allowed)[:5]}"
    _nobody_hears_another(stack, clients)


def _nobody_hears_another(stack: Stack, clients: dict[str, Client]) -> None:
    heard: set[tuple[str, str]] = set()

    def keep(_: Client, name: str, message: Any) -> None:  # noqa: ANN401 - paho's message
        heard.add((name, message.topic))

    for name, client in clients.items():
        client.user_data_set(name)
        client.on_message = keep
        granted = threading.Event()
        client.on_subscribe = lambda *_, granted=granted: granted.set()
        client.subscribe([(f"{wire.TOPIC_ROOT}/#", 1)])
        assert granted.wait(10)
    speaker = Client(CallbackAPIVersion.VERSION2, "cloud", protocol=MQTTProtocolVersion.MQTTv5)
    speaker.connect("127.0.0.1", stack.north_port)
    speaker.loop_start()
    for name, part in product(clients, (*UP, *DOWN)):
        speaker.publish(wire.topic(name, part), b"x", 1).wait_for_publish(10)
    own = {(name, wire.topic(name, part)) for name in clients for part in DOWN}
    wait_for(lambda: own <= heard, 10, "each gateway hears its own")
    assert heard == own, f"heard what is not theirs: {sorted(heard - own)[:5]}"
    for client in (*clients.values(), speaker):
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("who", ["stranger", "nobody"])
def test_S1_a_refused_certificate_is_one_line_of_check(make_stack: Callable[..., Stack], who: str) -> None:
    """A certificate of another authority, and none at all."""
    stack = make_stack()
    authority, port = _secure(stack)
    stack.start(stack.north, stack.south)
    _point_edge_at(stack, port, authority.cert, *Authority(stack.folder, "strangers").issue(stack.gateway))
    if who == "nobody":
        lines = stack.edge_toml.read_text().splitlines()
        kept = [line for line in lines if not line.startswith(("cert =", "key ="))]
        stack.edge_toml.write_text("\n".join(kept))
    argv = [str(BIN / "patrol-edge"), "check", "--config", str(stack.edge_toml)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert "certificate" in said.lower() or "tls" in said.lower(), said
