"""Simulated peers on real sockets, heard by clients and parsers that are not theirs."""

from __future__ import annotations

import asyncio
import os
import re
import select
import socket
from typing import TYPE_CHECKING, Any

import aiocoap.resource
import cbor2
import paho.mqtt.client as paho
import pytest
from aiocoap.message import Message
from aiocoap.numbers.codes import CHANGED, GET, SERVICE_UNAVAILABLE
from aiocoap.protocol import Context
from asyncua import ua
from asyncua.client.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firmware_specs import device_firmware
from firmware_specs.load import load_profiles
from firmware_specs.readings import Position, Sample
from simulators.device import Device
from simulators.peers.coap import CoapPeer
from simulators.peers.firmware import UpdatableCoapPeer
from simulators.peers.gnss import GnssPeer
from simulators.peers.mqtt import MqttPeer
from simulators.peers.opcua import OpcuaPeer
from simulators.peers.pty import Pty
from simulators.peers.radio import Flavour, RadioPeer, caller, fix, fix_with_status, status_frame, unit_of
from tests import support

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import StartMosquitto

pytestmark = pytest.mark.peer
AT_MS = 1_676_283_840_000  # 2023-02-13 10:24:00 UTC
PLACE = Position(34.26001, 108.9487, 6.0)
PROFILES = load_profiles()[0]


def make(profile: str, address: str) -> Device:
    return Device("dev-1", PROFILES[profile], address)


def parse_nmea(sentence: bytes) -> list[str]:
    """Fields of a sentence, its check sum computed here and not by the code under test."""
    match = re.fullmatch(rb"\$([^*]+)\*([0-9A-F]{2})\r\n", sentence)
    assert match, sentence
    total = 0
    for byte in match[1]:
        total ^= byte
    assert f"{total:02X}".encode() == match[2]
    return match[1].decode().split(",")


def to_degrees(text: str, hemisphere: str) -> float:
    point = text.index(".") - 2
    value = int(text[:point]) + float(text[point:]) / 60
    return -value if hemisphere in "SW" else value


def read_port(path: Path, size: int, timeout_s: float = 5) -> bytes:
    """What a serial program reads from the port."""
    port = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    data = b""
    try:
        while len(data) < size and select.select([port], [], [], timeout_s)[0]:
            data += os.read(port, 4096)
    finally:
        os.close(port)
    return data


def test_radio_frames_are_the_ones_of_the_published_decoder() -> None:
    # The vectors are those of the wire document, section 1.
    assert caller("fleetsync", ("100", "4002"), begin=True) == b"\x02I110040021004002\x03"
    assert caller("nexedge", ("U03001",), begin=False) == b"\x02gI0U03001U03001\x03"
    assert status_frame(101, 999, 2) == b"\x02xE0000001010000009990002\x03"


@pytest.mark.parametrize(("flavour", "address"), [("fleetsync", "100"), ("nexedge", "U123456"), ("nexedge", "x")])
def test_an_address_that_is_no_unit_is_named(flavour: Flavour, address: str) -> None:
    with pytest.raises(ValueError, match=f"'{address}' is no {flavour} unit"):
        unit_of(flavour, address)


def test_sentences_carry_place_unit_and_status() -> None:
    short = parse_nmea(fix("nexedge", ("U00002",), PLACE, AT_MS))
    assert (short[0], short[5], short[6], short[7]) == ("PKNSH", "102400", "A", "U00002")
    assert to_degrees(short[1], short[2]) == pytest.approx(PLACE.lat, abs=1e-6)
    assert to_degrees(short[3], short[4]) == pytest.approx(PLACE.lon, abs=1e-6)
    long = parse_nmea(fix_with_status("fleetsync", ("100", "1001"), PLACE, "80", AT_MS))
    assert (long[0], long[1], long[2], long[9], long[12:15]) == (
        "PKLDS",
        "102400",
        "A",
        "130223",
        ["100", "1001", "80"],
    )
    longer = parse_nmea(fix_with_status("nexedge", ("U00002",), PLACE, "207", AT_MS))
    assert longer[12:14] == ["U00002", "207"]


def test_south_and_west_and_a_carry_in_the_minutes_are_written_right() -> None:
    fields = parse_nmea(fix("nexedge", ("U00002",), Position(-33.9999999999, -0.5), AT_MS))
    assert fields[1:5] == ["3400.00000", "S", "00030.00000", "W"]


def test_radios_take_turns_on_their_channel_and_a_status_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "radio"

    async def talk() -> bytes:
        peer = RadioPeer(path, "fleetsync")
        await peer.start()
        one, two = make("kenwood-fleetsync", "100-1001"), make("kenwood-fleetsync", "100-1002")
        where = Sample("position", PLACE)
        await peer.send(one, [where], AT_MS)
        await peer.send(two, [where, Sample("status", "80")], AT_MS)
        await peer.send(two, [where], AT_MS)
        heard = await asyncio.to_thread(read_port, path, 190, 3)
        await peer.stop()
        return heard

    heard = asyncio.run(talk())
    first, second = heard.split(b"\x02I1100100")[1:3]
    assert b"80,00" in first
    assert b"PKLSH" in second
    # On FleetSync the position follows the end of the call.
    assert first.index(b"\x02I0") < first.index(b"$PKLDS")


def test_a_receiver_on_a_pty_says_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "gps"

    async def talk() -> bytes:
        peer = GnssPeer(path)
        await peer.start()
        samples = [Sample("position", PLACE), Sample("speed", 5.1444), Sample("satellites", 9.0)]
        await peer.send(make("generic-nmea-gnss", "*"), samples, AT_MS)
        heard = await asyncio.to_thread(read_port, path, 120)
        await peer.stop()
        return heard

    gga, rmc = (parse_nmea(line) for line in asyncio.run(talk()).splitlines(keepends=True))
    assert (gga[0], gga[6], gga[7]) == ("GNGGA", "1", "09")
    assert (rmc[0], rmc[2], rmc[9]) == ("GNRMC", "A", "130223")
    assert float(rmc[7]) == pytest.approx(10, abs=0.01)
    assert to_degrees(rmc[3], rmc[4]) == pytest.approx(PLACE.lat, abs=1e-6)
    assert not path.is_symlink()


def test_a_line_that_nobody_reads_loses_bytes_and_never_waits(tmp_path: Path) -> None:
    pty = Pty(tmp_path / "line")
    written = [pty.write(b"x" * 1000) for _ in range(50)]
    pty.write(b"fresh\n")
    assert 0 in written
    assert b"fresh" in read_port(tmp_path / "line", 10_000, 0.2)
    pty.close()


def test_a_publisher_sends_what_the_profile_decodes_and_no_property(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    heard: list[paho.MQTTMessage] = []
    subscribed: list[int] = []
    listener = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    listener.on_message = lambda _c, _u, message: heard.append(message)
    listener.on_subscribe = lambda *_: subscribed.append(1)
    listener.connect("127.0.0.1", broker.port)
    listener.loop_start()
    listener.subscribe("#", 1)
    support.wait_for(lambda: subscribed, what="the subscription")

    async def talk() -> None:
        peer = MqttPeer(broker.url, "sim-test")
        await peer.start()
        device = make("owntracks-armband", "owntracks/team/arm-1")
        samples = [Sample("position", PLACE), Sample("battery", 77.4), Sample("speed", 1.4), Sample("sos", True)]
        await peer.send(device, samples, AT_MS)
        await support.wait_until(lambda: heard, what="the message")
        await peer.stop()

    asyncio.run(talk())
    listener.disconnect()
    listener.loop_stop()
    import json

    message = heard[0]
    assert message.topic == "owntracks/team/arm-1"
    assert message.qos == 1
    assert message.properties is not None
    assert message.properties.isEmpty()  # type: ignore[no-untyped-call]
    location = json.loads(message.payload)
    expected = {"_type": "location", "lat": 34.26001, "lon": 108.9487, "acc": 6, "vel": 5, "batt": 77, "sos": True}
    assert expected.items() <= location.items()
    assert location["tst"] == AT_MS // 1000


def test_a_broker_url_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"'http://x': mqtt://host:port expected"):
        MqttPeer("http://x", "c")


def test_a_door_server_shows_its_doors_to_another_client_and_nothing_but_the_stated_policy() -> None:
    url = f"opc.tcp://127.0.0.1:{support.free_port()}"
    door = make("generic-door-opcua", "ns=2;s=door-01")

    async def talk() -> tuple[list[Any], list[str]]:
        peer = OpcuaPeer(url, [door])
        await peer.start()
        async with Client(url) as client:
            folder = client.get_node("ns=2;s=door-01")
            names = [(await child.read_browse_name()).Name for child in await folder.get_children()]
            samples = [Sample("open", True), Sample("forced", True), Sample("credential", "p-1")]
            await peer.send(door, samples, AT_MS)
            values: list[Any] = [
                await (await folder.get_child(ua.QualifiedName(name, 2))).read_value()
                for name in ("Open", "Forced", "Credential")
            ]
            policies = {e.SecurityPolicyUri for e in await client.get_endpoints()}
            assert policies == {"http://opcfoundation.org/UA/SecurityPolicy#None"}
        await peer.stop()
        return values, [str(name) for name in names]

    values, names = asyncio.run(talk())
    assert values == [True, True, "p-1"]
    assert set(names) >= {"Open", "Forced", "Credential"}


class Inbox(aiocoap.resource.Resource):
    """A CoAP server's resource that refuses the first request."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.requests: list[Message] = []

    async def render_post(self, request: Message) -> Message:
        self.requests.append(request)
        code = SERVICE_UNAVAILABLE if len(self.requests) == 1 else CHANGED
        return Message(code=code)


def test_a_coap_sensor_posts_senml_cbor_again_until_it_is_taken() -> None:
    port = support.free_port(socket.SOCK_DGRAM)
    device = make("generic-smoke-coap", "s/smk-0100")

    async def talk() -> list[Message]:
        inbox = Inbox()
        site = aiocoap.resource.Site()
        site.add_resource(["s", "smk-0100"], inbox)
        server = await Context.create_server_context(site, bind=("127.0.0.1", port))
        peer = CoapPeer(f"127.0.0.1:{port}")
        await peer.start()
        await peer.send(device, [Sample("smoke", 0.7), Sample("alarm", False)], AT_MS)
        await support.wait_until(lambda: len(inbox.requests) >= 2, what="the second try")
        await peer.stop()
        await server.shutdown()
        return inbox.requests

    requests = asyncio.run(talk())
    assert requests[0].payload == requests[1].payload
    assert requests[1].opt.content_format == 112
    records = cbor2.loads(requests[1].payload)
    named = {record[0]: record for record in records}
    assert named["smoke"][2] == 0.7
    assert named["alarm"][4] is False
    assert records[0][-2] == "dev-1/"
    assert records[0][-3] == AT_MS / 1000


def test_a_coap_sensor_takes_firmware_where_it_posts_from() -> None:
    port = support.free_port(socket.SOCK_DGRAM)
    device = make("generic-smoke-coap", "s/smk-0100")

    async def talk() -> list[bytes]:
        inbox = Inbox()
        site = aiocoap.resource.Site()
        site.add_resource(["s", "smk-0100"], inbox)
        server = await Context.create_server_context(site, bind=("127.0.0.1", port))
        peer = UpdatableCoapPeer(f"127.0.0.1:{port}", [device])
        await peer.start()
        await peer.send(device, [Sample("smoke", 0.7)], AT_MS)
        await support.wait_until(lambda: bool(inbox.requests), what="the first post")
        answers = []
        for path in (("s", "smk-0100", "fw"), ("s", "other", "fw")):
            request = Message(code=GET)
            request.remote = inbox.requests[0].remote
            request.opt.uri_path = path
            answers.append((await server.request(request).response).payload)
        await peer.stop()
        await server.shutdown()
        return answers

    known, unknown = asyncio.run(talk())
    assert device_firmware.decode(known, device_firmware.Standing, "s").version == "1.0.0"
    assert unknown == b""
