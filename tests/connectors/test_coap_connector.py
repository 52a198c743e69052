"""CoAP by a client that nobody here wrote (libcoap's), and sensors that are observed over real sockets."""

from __future__ import annotations

import asyncio
import shutil
import socket
from typing import TYPE_CHECKING

import cbor2
import pytest
from aiocoap import resource
from aiocoap.message import Message
from aiocoap.protocol import Context

from edge.config import CoapConfig
from edge.connectors import coap
from edge.connectors.base import DeviceBinding
from edge.connectors.coap import CoapConnector
from firmware_specs.errors import LinkError
from tests.connectors.line_support import profile, running
from tests.support import free_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.connectors.line_support import Memory

pytestmark = pytest.mark.peer
SMOKE = profile({"kind": "senml"}, "coap", "smoke temperature alarm?")
JSON_PACK = b'[{"n":"smoke","u":"%obs/m","v":1.5},{"n":"temperature","u":"Cel","v":30.5}]'
CBOR_PACK = cbor2.dumps([{0: "smoke", 2: 2.5}, {0: "alarm", 4: True}])


def connector(port: int, *addresses: str, **more: float) -> CoapConnector:
    config = CoapConfig.model_validate({"name": "coap", "kind": "coap", "bind": f"127.0.0.1:{port}", **more})
    return CoapConnector(config, [DeviceBinding(f"smk-{n}", SMOKE, address) for n, address in enumerate(addresses)])


async def coap_client(port: int, path: str, payload: bytes, folder: Path, *options: str) -> str:
    """What libcoap's client prints after a request: nothing for success, the code and diagnostic otherwise."""
    program = shutil.which("coap-client-notls") or shutil.which("coap-client-openssl")
    if program is None:
        pytest.skip("coap-client of libcoap is not installed")
    file = folder / "payload"
    await asyncio.to_thread(file.write_bytes, payload)
    process = await asyncio.create_subprocess_exec(
        program, "-B", "20", *options, "-f", str(file), f"coap://127.0.0.1:{port}/{path}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode(errors="replace")


@pytest.fixture
def port() -> int:
    return free_port(socket.SOCK_DGRAM)


@pytest.mark.parametrize("method", ["post", "put"])
@pytest.mark.parametrize("content_format", ["110", "112"])
def test_senml_by_libcoap_is_taken_and_answered(
    memory: Memory, tmp_path: Path, method: str, content_format: str
) -> None:
    port = free_port(socket.SOCK_DGRAM)
    payload, smoke = (JSON_PACK, 1.5) if content_format == "110" else (CBOR_PACK, 2.5)

    async def scenario() -> str:
        async with running(connector(port, "s/smk-0100"), memory):
            return await coap_client(port, "s/smk-0100", payload, tmp_path, "-m", method, "-t", content_format)

    assert asyncio.run(scenario()) == ""
    assert memory.values("smk-0", "smoke") == [smoke]


@pytest.mark.parametrize("has_ipv6", [True, False])
def test_the_port_is_free_again_after_the_end_with_and_without_ipv6(
    port: int, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_ipv6: bool
) -> None:
    monkeypatch.setattr(coap, "_has_ipv6", lambda: has_ipv6)

    async def scenario() -> list[str]:
        answers = []
        for _ in range(2):
            async with running(connector(port, "s/smk-0100"), memory):
                answers.append(await coap_client(port, "s/smk-0100", JSON_PACK, tmp_path, "-m", "post"))
        return answers

    assert asyncio.run(scenario()) == ["", ""]
    assert len(memory.heard) == 2


def test_an_address_that_is_not_ours_is_named_in_one_line(memory: Memory) -> None:
    config = CoapConfig.model_validate({"name": "coap", "kind": "coap", "bind": "192.0.2.1:5683"})
    with pytest.raises(LinkError) as error:
        asyncio.run(CoapConnector(config, []).run(memory, lambda: None))
    assert str(error.value) == "192.0.2.1:5683: the address is not one of this machine"


def test_changed_follows_the_commit(port: int, memory: Memory, tmp_path: Path) -> None:
    """D3: no acknowledgement for what is not on disk."""
    memory.commit = None

    async def scenario() -> None:
        async with running(connector(port, "s/smk-0100"), memory):
            client = asyncio.create_task(coap_client(port, "s/smk-0100", JSON_PACK, tmp_path, "-m", "post"))
            await wait_until(lambda: memory.waiting, 10, "the request")
            done, _ = await asyncio.wait([client], timeout=0.5)
            assert not done, "answered before the commit"
            memory.waiting[0](True)
            assert await client == ""

    asyncio.run(scenario())
    assert len(memory.heard) == 1


def test_a_failed_commit_is_5_03(port: int, memory: Memory, tmp_path: Path) -> None:
    memory.commit = False

    async def scenario() -> str:
        async with running(connector(port, "s/smk-0100"), memory):
            return await coap_client(port, "s/smk-0100", JSON_PACK, tmp_path, "-m", "post")

    assert asyncio.run(scenario()).strip() == "5.03 not kept: try again"


def test_errors_are_one_line_of_text(port: int, memory: Memory, tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        async with running(connector(port, "s/smk-0100", max_payload_bytes=2000), memory):
            return [
                await coap_client(port, "s/smk-0100", b"[{", tmp_path, "-m", "post"),
                await coap_client(port, "s/other", JSON_PACK, tmp_path, "-m", "post"),
                await coap_client(port, "s/smk-0100", b"[" + b" " * 5000, tmp_path, "-m", "post"),
                await coap_client(port, "s/smk-0100", JSON_PACK, tmp_path, "-m", "delete"),
            ]

    bad, unknown, large, method = asyncio.run(scenario())
    assert bad.startswith("4.00 ")
    assert bad.count("\n") <= 1
    assert unknown.strip() == "4.04 no device posts to /s/other"
    assert large.startswith("4.13")
    assert method.startswith("4.05")
    assert [device for device, _, _ in memory.refused] == ["smk-0", "coap"]
    assert not memory.heard


def test_a_payload_in_blocks_is_put_together(port: int, memory: Memory, tmp_path: Path) -> None:
    pack = b"[" + b",".join(b'{"n":"smoke","v":%d}' % n for n in range(300)) + b"]"

    async def scenario() -> str:
        async with running(connector(port, "s/smk-0100"), memory):
            return await coap_client(port, "s/smk-0100", pack, tmp_path, "-m", "post", "-b", "256")

    assert asyncio.run(scenario()) == ""
    assert memory.values("smk-0", "smoke") == [float(n) for n in range(300)]


def test_a_repeated_message_is_answered_again_and_taken_once(port: int, memory: Memory) -> None:
    """D7: the same message id within the exchange lifetime is the same message (RFC 7252, 4.5)."""
    request = b"\x41\x02\x12\x34\x07\xb1s\x08smk-0100\xff" + JSON_PACK

    async def scenario() -> list[bytes]:
        async with running(connector(port, "s/smk-0100"), memory):
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.setblocking(False)
                peer.connect(("127.0.0.1", port))
                answers = []
                for _ in range(3):
                    await loop.sock_sendall(peer, request)
                    async with asyncio.timeout(10):
                        answers.append(await loop.sock_recv(peer, 2048))
                return answers

    answers = asyncio.run(scenario())
    assert answers == [b"\x61\x44\x12\x34\x07"] * 3
    assert len(memory.heard) == 1


@pytest.mark.parametrize("has_ipv6", [True, False])
def test_hostile_datagrams_leave_the_server_answering(
    port: int, memory: Memory, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    *, has_ipv6: bool,
) -> None:  # fmt: skip
    """S8: datagrams that are not CoAP, or that break off in an option: counted, and not a line of the log each."""
    monkeypatch.setattr(coap, "_has_ipv6", lambda: has_ipv6)
    junk = [
        b"",
        b"\x00",
        b"\xff" * 64,
        b"\x41\x02\x12",
        b"\x41\x02\x12\x35\x07\xb1\xff",
        b"\x4f\x02\x00\x01",
        bytes(range(256)),
        b"\x40\x02\x12\x36\xb2\xf5\xf5",
    ]

    async def scenario() -> str:
        async with running(connector(port, "s/smk-0100"), memory):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                for datagram in junk:
                    peer.sendto(datagram, ("127.0.0.1", port))
            return await coap_client(port, "s/smk-0100", JSON_PACK, tmp_path, "-m", "post")

    assert asyncio.run(scenario()) == ""
    assert len(memory.heard) == 1
    assert len(memory.refused) == len(junk)
    assert "not CoAP: 'utf-8' codec can't decode" in str(memory.refused[-1])
    assert caplog.records == []


class Thermometer:
    """A sensor that serves its value and is observed; `notify` publishes, stopping it forgets its observers."""

    def __init__(self, port: int, max_age_s: int) -> None:
        self._port = port
        self._max_age_s = max_age_s
        self.value = 0.0
        self.registrations = 0

    async def start(self) -> None:
        sensor = self

        class Value(resource.ObservableResource):
            async def render_get(self, request: Message) -> Message:
                if request.opt.observe == 0:
                    sensor.registrations += 1
                pack = cbor2.dumps([{0: "temperature", 2: sensor.value}])
                return Message(payload=pack, content_format=112, max_age=sensor._max_age_s)

        self._resource = Value()  # type: ignore[no-untyped-call]
        site = resource.Site()
        site.add_resource(["temp"], self._resource)
        self._context = await Context.create_server_context(site, bind=("127.0.0.1", self._port), transports=["udp6"])

    def notify(self, value: float) -> None:
        self.value = value
        self._resource.updated_state()  # type: ignore[no-untyped-call]

    async def stop(self) -> None:
        await self._context.shutdown()


def test_an_observed_sensor_that_restarts_is_observed_again(port: int, memory: Memory) -> None:
    """Aiocoap issue 241: a sensor that forgot its observers would be silent for ever."""
    sensor_port = free_port(socket.SOCK_DGRAM)
    uri = f"coap://127.0.0.1:{sensor_port}/temp"

    async def scenario() -> None:
        sensor = Thermometer(sensor_port, max_age_s=1)
        await sensor.start()
        async with running(connector(port, uri, renew_slack_s=1), memory):
            await wait_until(lambda: memory.values("smk-0", "temperature") == [0.0], 10, "the first value")
            sensor.notify(20.5)
            await wait_until(lambda: 20.5 in memory.values("smk-0", "temperature"), 10, "a notification")
            await sensor.stop()
            sensor = Thermometer(sensor_port, max_age_s=1)
            sensor.value = 30.5
            await sensor.start()
            await wait_until(lambda: 30.5 in memory.values("smk-0", "temperature"), 20, "the value after the restart")
            sensor.notify(31.5)
            await wait_until(lambda: 31.5 in memory.values("smk-0", "temperature"), 10, "a notification after it")
        await sensor.stop()

    asyncio.run(scenario())


def test_a_sensor_that_is_away_is_refused_in_words_and_stalls_nobody(port: int, memory: Memory, tmp_path: Path) -> None:
    away = f"coap://127.0.0.1:{free_port(socket.SOCK_DGRAM)}/temp"

    async def scenario() -> str:
        async with running(connector(port, away, "s/smk-0100"), memory):
            await wait_until(lambda: memory.refused, 20, "the refusal")
            return await coap_client(port, "s/smk-0100", JSON_PACK, tmp_path, "-m", "post")

    assert asyncio.run(scenario()) == ""
    device, _, error = memory.refused[0]
    assert device == "smk-0"
    assert str(error).startswith(f"{away}: byte 0: cannot be observed: ")
    assert "\n" not in str(error)


def test_a_taken_port_is_named_in_one_line(port: int, memory: Memory) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))
        with pytest.raises(LinkError) as error:
            asyncio.run(connector(port, "s/smk-0100").run(memory, lambda: None))
    assert str(error.value) == f"127.0.0.1:{port}: the port is taken"
