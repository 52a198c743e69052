"""OPC UA against a real server process: changes, stalls, restarts, bad status, and security both ways."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edge.config import OpcuaConfig
from edge.connectors.base import DeviceBinding
from edge.connectors.opcua import OpcuaConnector
from firmware_specs.errors import LinkError
from firmware_specs.readings import Quality
from tests.connectors.line_support import profile, running
from tests.support import Running, free_port, wait_for, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.connectors.line_support import Memory
    from tests.support import StartProcess

pytestmark = pytest.mark.peer
NODES = {"open": "Open", "forced": "Forced", "credential": "Credential"}
DOOR = profile({"kind": "nodes", "nodes": NODES, "sampling_ms": 20}, "opcua", "open? forced? credential!")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server for the tests that leave it running."""
    port = free_port()
    argv = [sys.executable, str(Path(__file__).with_name("opcua_server.py")), str(port)]
    server = Running(argv, tmp_path_factory.mktemp("opcua") / "server.log", None, None)
    wait_for(lambda: "ready" in server.text() or not server.alive, 60, "the OPC UA server")
    yield port
    server.stop()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start_server(start_process: StartProcess, port: int) -> Callable[..., Running]:
    def start(*options: str) -> Running:
        server = start_process(sys.executable, Path(__file__).with_name("opcua_server.py"), str(port), *options)
        wait_for(lambda: "ready" in server.text() or not server.alive, 60, "the OPC UA server")
        assert server.alive, server.text()
        return server

    return start


def doors(port: int, *addresses: str, **more: object) -> OpcuaConnector:
    fast = {"publishing_ms": 50, "watchdog_s": 3, "deadline_s": 5, **more}
    config = OpcuaConfig.model_validate(
        {"name": "doors", "kind": "opcua", "url": f"opc.tcp://127.0.0.1:{port}", **fast}
    )
    return OpcuaConnector(config, [DeviceBinding(f"door-{n}", DOOR, a) for n, a in enumerate(addresses, 1)])


async def write(port: int, node: str, value: ua.DataValue) -> None:
    async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
        await client.get_node(node).write_value(value)


def boolean(value: bool, at: datetime | None = None, status: int = 0) -> ua.DataValue:
    variant = ua.Variant(value, ua.VariantType.Boolean)
    source_at = None if at is None else ua.DateTime(*at.timetuple()[:6])
    return ua.DataValue(variant, StatusCode=ua.StatusCode(ua.UInt32(status)), SourceTimestamp=source_at)


def test_a_change_comes_with_the_time_of_its_source(shared: int, memory: Memory) -> None:
    forced_at = datetime(2026, 11, 23, 8, 30, 5, tzinfo=UTC)

    async def scenario() -> None:
        async with running(doors(shared, "ns=2;s=door-1"), memory):
            await wait_until(lambda: memory.values("door-1", "open"), 20, "the first value")
            await write(shared, "ns=2;s=door-1.Forced", boolean(True, forced_at))
            await wait_until(lambda: True in memory.values("door-1", "forced"), 20, "the change")

    asyncio.run(scenario())
    change = next(s for s in memory.samples("door-1", "forced") if s.value is True)
    assert change.observed_at == int(forced_at.timestamp() * 1000)
    assert change.quality is Quality.GOOD


def test_an_unchanged_device_is_still_heard(shared: int, memory: Memory) -> None:
    async def scenario() -> None:
        async with running(doors(shared, "ns=2;s=door-1"), memory):
            await wait_until(lambda: len(memory.values("door-1", "credential")) >= 3, 20, "values read anew")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "quality"),
    [(StatusCodes.BadSensorFailure, Quality.BAD), (StatusCodes.UncertainSensorNotAccurate, Quality.UNCERTAIN)],
)
def test_the_status_code_makes_the_quality(shared: int, memory: Memory, status: int, quality: Quality) -> None:
    async def scenario() -> None:
        await write(shared, "ns=2;s=door-2.Open", boolean(False))
        async with running(doors(shared, "", "ns=2;s=door-2"), memory):
            await wait_until(lambda: memory.values("door-2", "open"), 20, "the first value")
            await write(shared, "ns=2;s=door-2.Open", boolean(True, status=status))
            await wait_until(lambda: any(s.quality is quality for s in memory.samples("door-2", "open")), 20, quality)

    asyncio.run(scenario())


def test_a_missing_folder_or_node_stalls_no_other_device(shared: int, memory: Memory) -> None:
    async def scenario() -> None:
        async with running(doors(shared, "ns=2;s=door-9", "ns=2;s=door-2", "not a node id"), memory):
            await wait_until(lambda: memory.values("door-2", "open"), 20, "the door that is there")

    asyncio.run(scenario())
    texts = {device: str(error) for device, _, error in memory.refused}
    assert texts["door-1"] == "ns=2;s=door-9: byte 0: none of Credential, Forced, Open is below it"
    assert texts["door-2"] == "ns=2;s=door-2: byte 0: Credential: not below it"
    assert texts["door-3"].startswith("not a node id: byte 0: no such folder: ")


def test_a_device_that_appears_later_is_found(start_server: Callable[..., Running], port: int, memory: Memory) -> None:
    server = start_server()

    async def scenario() -> None:
        async with running(doors(port, "ns=2;s=door-1", "ns=2;s=door-3", watchdog_s=2), memory):
            await wait_until(lambda: memory.refused, 10, "the refusal")
            server.signal(signal.SIGUSR1)
            await wait_until(lambda: memory.values("door-2", "open"), 15, "the door that appeared")

    asyncio.run(scenario())


def test_a_stalled_server_is_noticed_and_recovers(
    start_server: Callable[..., Running], port: int, memory: Memory
) -> None:
    server = start_server()
    connector = doors(port, "ns=2;s=door-1", deadline_s=2)

    async def scenario() -> None:
        async with running(connector, memory) as task:
            await wait_until(lambda: memory.values("door-1", "open"), 10, "the first value")
            server.signal(signal.SIGSTOP)
            await wait_until(task.done, 15, "the watchdog")
            with pytest.raises(LinkError) as stalled:
                task.result()
            assert "\n" not in str(stalled.value)
        with pytest.raises(LinkError, match="no answer in time"):
            await connector.run(memory, lambda: None)
        server.signal(signal.SIGCONT)
        memory.heard.clear()
        async with running(connector, memory):
            await write(port, "ns=2;s=door-1.Open", boolean(True))
            await wait_until(lambda: True in memory.values("door-1", "open"), 10, "a change after the stall")

    asyncio.run(scenario())


def test_a_server_that_is_away_is_named_in_one_line(port: int, memory: Memory) -> None:
    with pytest.raises(LinkError) as error:
        asyncio.run(doors(port, "ns=2;s=door-1").run(memory, lambda: None))
    assert str(error.value).startswith(f"opc.tcp://127.0.0.1:{port}: ")
    assert "\n" not in str(error.value)


def certify(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed application certificate and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:{name}"), x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1)).add_extension(names, critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / f"{name}.der", folder / f"{name}.key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.DER))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


@pytest.mark.parametrize("security", ["basic256sha256", "aes256sha256rsapss"])
def test_a_pinned_server_and_a_user_are_let_in_and_others_refused(
    start_server: Callable[..., Running], port: int, memory: Memory, tmp_path: Path, security: str
) -> None:
    certificate, key = certify(tmp_path, "server")
    own, own_key = certify(tmp_path, "gateway")
    pinned, empty, right, wrong = tmp_path / "pinned", tmp_path / "empty", tmp_path / "right", tmp_path / "wrong"
    pinned.mkdir()
    empty.mkdir()
    (pinned / "server.der").write_bytes(certificate.read_bytes())
    right.write_text("secret\n")
    wrong.write_text("guess\n")
    start_server(str(certificate), str(key), "gate", "secret")

    def door(trusted: Path, password: Path) -> OpcuaConnector:
        files = {"cert": own, "key": own_key, "trusted_dir": trusted, "user": "gate", "password_file": password}
        return doors(port, "ns=2;s=door-1", security=security, **files)

    async def scenario() -> list[str]:
        refusals = []
        for connector in (door(empty, right), door(pinned, wrong), doors(port, "ns=2;s=door-1")):
            with pytest.raises(LinkError) as refused:
                await connector.run(memory, lambda: None)
            refusals.append(str(refused.value))
        async with running(door(pinned, right), memory):
            await wait_until(lambda: memory.values("door-1", "open"), 10, "the first value")
        return refusals

    untrusted, denied, insecure = asyncio.run(scenario())
    url = f"opc.tcp://127.0.0.1:{port}"
    assert untrusted.startswith(f"{url}: the server's certificate is not in trusted_dir, or ")
    assert denied.startswith(f"{url}: user or password refused")
    assert insecure.startswith(f"{url}: ")
    assert all("\n" not in text for text in (untrusted, denied, insecure))
