"""The batch client: its packets against paho's own, arbitrary bytes, and brokers that refuse (S8)."""

from __future__ import annotations

import struct
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import client as paho

from edge.config import MqttConfig
from edge.mqttclient import KEPT_BYTES, MAX_PACKET_BYTES, BatchClient, MalformedError, Message, PacketSplitter
from edge.mqttlink import mqtt_link
from firmware_specs.errors import LinkError
from firmware_specs.values import MAX_FRAME_BYTES
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import StartMosquitto


def publish(topic: bytes, payload: bytes, mid: int, first: int = 0x32, properties: bytes | None = None) -> bytes:
    """MQTT 5, 3.3 (3.1.1 when properties is None)."""
    body = struct.pack(">H", len(topic)) + topic + (struct.pack(">H", mid) if first & 6 else b"")
    if properties is not None:
        body += _length(len(properties)) + properties
    body += payload
    return bytes([first]) + _length(len(body)) + body


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, digit = divmod(n, 128)
        out.append(digit | (128 if n else 0))
        if not n:
            return bytes(out)


def refuse_other(first: int, body: bytes) -> None:
    raise AssertionError((first, body))


@pytest.mark.parametrize("v5", [True, False])
@given(
    messages=st.lists(
        st.tuples(
            st.text(max_size=20),
            st.binary(max_size=300),
            st.integers(1, 65535),
            st.sampled_from([0x30, 0x32, 0x3A, 0x33]),
            st.binary(max_size=200),
        ),
        max_size=8,
    ),
    cuts=st.lists(st.integers(1, 400), max_size=20),
)
def test_publishes_come_whole_however_they_are_cut(
    v5: bool, messages: list[tuple[str, bytes, int, int, bytes]], cuts: list[int]
) -> None:
    data = b"".join(publish(t.encode(), p, m, f, x if v5 else None) for t, p, m, f, x in messages)
    splitter = PacketSplitter(v5, refuse_other)
    got: list[Message] = []
    for cut in cuts:
        got += splitter.feed(data[:cut])
        data = data[cut:]
    got += splitter.feed(data)
    assert got == [
        Message(t.encode(), p, m if f & 6 else 0, f & 8 != 0, f & 1 != 0) for t, p, m, f, _ in messages
    ]  # fmt: skip


@given(data=st.binary(max_size=400), v5=st.booleans())
def test_S8_arbitrary_bytes_are_messages_or_malformed(data: bytes, v5: bool) -> None:
    try:
        PacketSplitter(v5, lambda _first, _body: None).feed(data)
    except MalformedError:
        return


def test_S8_a_packet_beyond_the_limit_is_refused_before_it_is_buffered() -> None:
    with pytest.raises(MalformedError, match=f"packet of {MAX_PACKET_BYTES + 1} bytes"):
        PacketSplitter(True, refuse_other).feed(b"\x92" + _length(MAX_PACKET_BYTES + 1))


@pytest.mark.parametrize("cut", [100_000, 3 * KEPT_BYTES, 2 * MAX_PACKET_BYTES])
def test_S8_a_publish_beyond_the_limit_is_handed_on_short_and_what_follows_it_whole(cut: int) -> None:
    payload = bytes(MAX_PACKET_BYTES)
    data = publish(b"t", payload, 1) + publish(b"u", b"next", 2)
    splitter = PacketSplitter(False, refuse_other)
    large, following = [message for at in range(0, len(data), cut) for message in splitter.feed(data[at : at + cut])]
    assert (large.topic, large.mid, following) == (b"t", 1, Message(b"u", b"next", 2, dup=False, retain=False))
    assert MAX_FRAME_BYTES < len(large.payload) < KEPT_BYTES


def test_S8_a_large_packet_in_small_pieces_costs_no_more_than_its_bytes() -> None:
    data = publish(b"t", bytes(8_000_000), 1)
    splitter = PacketSplitter(False, refuse_other)
    began = time.process_time()
    messages = [message for at in range(0, len(data), 500) for message in splitter.feed(data[at : at + 500])]
    assert [len(message.payload) for message in messages] == [8_000_000]
    assert time.process_time() - began < 1, "joined anew for each piece it takes many seconds"


def test_paho_still_has_what_the_client_relies_on() -> None:
    client = BatchClient("c", True, True, lambda _messages: None)
    for name in ("_in_packet", "_last_bytes_received"):
        assert name in vars(client)
    for name in ("_packet_handle", "_packet_queue", "_sock_recv", "_create_socket", "_loop_rc_handle", "_mid_generate"):
        assert callable(getattr(paho.Client, name))


def config(port: int, **keys: object) -> MqttConfig:
    url = keys.pop("url", f"mqtt://127.0.0.1:{port}")
    return MqttConfig.model_validate({"kind": "mqtt", "name": "m", "url": url, "connect_timeout_s": 3, **keys})


async def failure(endpoint: MqttConfig) -> str:
    with pytest.raises(LinkError) as caught:
        async with mqtt_link(endpoint, "c", lambda _messages: None, v5=endpoint.version == "5", clean=True):
            pass
    return str(caught.value)


@pytest.mark.peer
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_messages_are_heard_and_acknowledged(mosquitto: StartMosquitto, version: str) -> None:
    port = mosquitto().port
    heard: list[Message] = []
    v5 = version == "5"
    async with mqtt_link(config(port, version=version), "c", heard.extend, v5=v5, clean=True) as link:
        await link.subscribe([("t/#", 1)])
        for number in range(200):
            link.publish("t/x", b"%d" % number)
        await wait_until(lambda: len(heard) >= 20)
        while len(heard) < 200:
            link.acknowledge([m.mid for m in heard])
            have = len(heard)
            await wait_until(lambda have=have: len(heard) > have)  # type: ignore[misc]
        assert [int(m.payload) for m in heard] == list(range(200))
        assert not link.client._out_messages, "kept for ever, since its PUBACK is not handed on"


async def use(endpoint: MqttConfig, then: Callable[[], None]) -> None:
    async with mqtt_link(endpoint, "c", lambda _messages: None, clean=True) as link:
        then()
        await link.keep_alive()


@pytest.mark.peer
async def test_a_broker_that_ends_is_a_link_error_at_once(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    with pytest.raises(LinkError, match=f"{broker.url}: (closed by the broker|the broker ended it)"):
        await use(config(broker.port), broker.stop)


@pytest.mark.peer
async def test_errors_name_the_broker_and_the_cause(
    mosquitto: StartMosquitto, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    unused = free_port()
    assert await failure(config(unused)) == f"mqtt://127.0.0.1:{unused}: connection refused"
    assert "name" in (await failure(config(1, url="mqtt://no-such-host.invalid:1883"))).lower()
    (tmp_path / "passwords").write_text("")
    port = mosquitto("allow_anonymous false", f"password_file {tmp_path / 'passwords'}").port
    (tmp_path / "secret").write_text("wrong\n")
    refused = await failure(config(port, user="gw", password_file=tmp_path / "secret"))
    assert refused == f"mqtt://127.0.0.1:{port}: refused by the broker: not authorized"
    missing = await failure(config(port, user="gw", password_file=tmp_path / "none"))
    assert missing.endswith("none: No such file or directory")


def certificate(folder: Path, name: str, *, ca: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None) -> None:
    """`<name>.pem` and `<name>.key`, signed by `ca` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (ca[0].subject, ca[1]) if ca else (subject, key)
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.mark.peer
async def test_tls_speaks_and_refused_certificates_say_so(mosquitto: StartMosquitto, tmp_path: Path) -> None:
    certificate(tmp_path, "broker", ca=None)
    certificate(tmp_path, "stranger", ca=None)
    port = mosquitto(
        f"cafile {tmp_path / 'broker.pem'}",
        f"certfile {tmp_path / 'broker.pem'}",
        f"keyfile {tmp_path / 'broker.key'}",
        "require_certificate true",
    ).port
    url = f"mqtts://127.0.0.1:{port}"
    own = {"cert": tmp_path / "broker.pem", "key": tmp_path / "broker.key"}
    heard: list[Message] = []
    async with mqtt_link(
        config(port, url=url, ca=tmp_path / "broker.pem", **own), "c", heard.extend, clean=True
    ) as link:
        await link.subscribe([("t", 1)])
        link.publish("t", b"x" * 300_000)
        await wait_until(lambda: heard)
        assert heard[0].payload == b"x" * 300_000
    refused = await failure(config(port, url=url, ca=tmp_path / "stranger.pem", **own))
    assert refused.startswith(f"{url}: certificate refused: ")
    stranger = {"cert": tmp_path / "stranger.pem", "key": tmp_path / "stranger.key"}
    unknown = await failure(config(port, url=url, ca=tmp_path / "broker.pem", **stranger))
    assert unknown.startswith(f"{url}: ")
    assert "\n" not in unknown
    (tmp_path / "rubbish.pem").write_text("no certificate")
    broken = await failure(config(port, url=url, ca=tmp_path / "rubbish.pem"))
    assert broken.startswith(f"{url}: {tmp_path / 'rubbish.pem'}: not a usable PEM file")
