"""Faults between two ends, seen by plain sockets and a real broker."""

from __future__ import annotations

import contextlib
import random
import socket
import socketserver
import threading
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firmware_specs.errors import LinkError
from simulators import faults
from simulators import proxy as links
from tests import support

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import StartMosquitto


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            while data := self.request.recv(4096):
                self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[int]:
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_proxy_forwards_is_cut_and_mended(echo: int) -> None:
    with links.threaded(lambda: links.TcpProxy(("127.0.0.1", 0), ("127.0.0.1", echo))) as proxy:
        with connect(proxy.port) as s:
            s.sendall(b"before")
            assert s.recv(100) == b"before"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                s.recv(100)
        with pytest.raises(ConnectionResetError), connect(proxy.port) as refused:
            refused.recv(100)
        proxy.mend()
        with connect(proxy.port) as s:
            s.sendall(b"after")
            assert s.recv(100) == b"after"


def test_a_held_link_stays_open_and_silent_until_it_is_mended(echo: int) -> None:
    held = links.threaded(lambda: links.TcpProxy(("127.0.0.1", 0), ("127.0.0.1", echo)))
    with held as proxy, connect(proxy.port) as s:
        s.sendall(b"1")
        assert s.recv(1) == b"1"
        proxy.hold()
        s.settimeout(0.3)
        s.sendall(b"2")
        with pytest.raises(TimeoutError):
            s.recv(1)
        proxy.mend()
        s.settimeout(5)
        assert s.recv(1) == b"2"


def test_a_taken_port_is_named(echo: int) -> None:
    with (
        pytest.raises(LinkError, match=rf"127.0.0.1:{echo}: .*in use"),
        links.threaded(lambda: links.TcpProxy(("127.0.0.1", echo), ("127.0.0.1", 1))),
    ):
        pass


def packet(payload: bytes) -> bytes:
    """A QoS 0 PUBLISH to topic `t`, its length in as many bytes as it needs."""
    body = b"\x00\x01t" + payload
    length, size = b"", len(body)
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return b"\x30" + length + body


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 2**32))
def test_packets_are_found_whatever_the_chunks(payloads: list[bytes], seed: int) -> None:
    stream = b"".join(packet(p) for p in payloads)
    seen: list[bytes] = []
    split = faults.MqttPublishes(lambda unit: seen.append(unit) or [unit])  # type: ignore[func-returns-value]
    rng, passed, rest = random.Random(seed), b"", stream
    while rest:
        size = rng.randint(1, 64)
        passed += b"".join(split(rest[:size]))
        rest = rest[size:]
    assert seen == [packet(p) for p in payloads]
    assert passed == stream


def test_faults_compose_and_count() -> None:
    drop, repeat = faults.Drop(0.5, seed=1), faults.Repeat(0.5, times=2, seed=2)
    chain = faults.Chain(drop, repeat)
    units = [bytes([n]) for n in range(200)]
    passed = [p for unit in units for p in chain(unit)]
    assert 0 < drop.dropped < 200
    assert len(passed) == 200 - drop.dropped + repeat.repeated
    assert sorted(set(passed)) == sorted(set(passed) & set(units))


def test_reordering_keeps_every_unit_and_corruption_flips_one_bit() -> None:
    reorder = faults.Reorder(8, seed=3)
    units = [bytes([n]) for n in range(20)]
    passed = [p for unit in units for p in reorder(unit)] + reorder.flush()
    assert passed != units
    assert sorted(passed) == units
    (damaged,) = faults.Corrupt(1.0, seed=4)(b"\x00" * 16)
    assert sum(byte.bit_count() for byte in damaged) == 1
    assert damaged[:8] == b"\x00" * 8
    assert faults.Corrupt(1.0)(b"") == [b""]


def test_D8_a_clock_lies_as_told() -> None:
    now = [1_000_000_000_000]
    clock = faults.Skew(lambda: now[0], [(1, 3600), (2, -2_000_000_000), (3, 0)])
    told = []
    for _ in range(4):
        told.append(clock() - now[0])
        now[0] += 1000
    assert told == [0, 3_600_000, -now[0] + 2000, 0]


@pytest.mark.parametrize("text", ["host", "host:port", "host:70000", ""])
def test_an_address_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text!r}: host:port expected"):
        links.address(text)


@pytest.mark.peer
def test_publishes_are_repeated_on_their_way_to_a_real_broker(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    heard: list[bytes] = []
    subscribed = threading.Event()
    listener = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    listener.on_message = lambda _c, _u, message: heard.append(bytes(message.payload))
    listener.on_subscribe = lambda *_: subscribed.set()
    listener.connect("127.0.0.1", broker.port)
    listener.loop_start()
    listener.subscribe("t", 1)
    assert subscribed.wait(10)

    def proxy() -> links.TcpProxy:
        target = ("127.0.0.1", broker.port)
        return links.TcpProxy(("127.0.0.1", 0), target, up=lambda: faults.MqttPublishes(faults.Repeat(1.0)))

    with links.threaded(proxy) as through:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect("127.0.0.1", through.port)
        client.loop_start()
        client.publish("t", b"once", 0).wait_for_publish(5)
        support.wait_for(lambda: len(heard) >= 2, what="the repeat")
        client.disconnect()
        client.loop_stop()
    listener.disconnect()
    listener.loop_stop()
    assert heard == [b"once", b"once"]
