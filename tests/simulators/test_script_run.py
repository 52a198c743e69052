"""A script of a test's own, run by `patrol-sim community`: the uplink is cut, the day ends, doors are locked."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.uaerrors import UaError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firmware_specs.load import load_profiles
from firmware_specs.readings import Sample
from simulators.device import Device
from simulators.peers.opcua import OpcuaPeer
from tests import support

if TYPE_CHECKING:
    from tests.support import StartMosquitto, StartProcess

pytestmark = pytest.mark.peer
SIM = Path(sys.executable).parent / "patrol-sim"
SCRIPT = """
starts = "23:58"
[[neighbourhoods]]
zh = "一"
en = "One"
[[neighbourhoods.buildings]]
key = "b"
zh = "1号楼"
en = "Building 1"
lat = 34.26
lon = 108.95
[[groups]]
profile = "generic-smoke-senml"
connector = "sensors"
id = "smk-{n}"
address = "sensors/smk-{n}"
places = ["b/1", "b/2"]
[[events]]
name = "outage"
at = "23:58:30"
zh = "断网"
en = "Outage"
[[events.effects]]
kind = "uplink-down"
real_s = 1
"""


def is_open(link: socket.socket) -> bool:
    """Whether a link lives: nothing to read, and no end of it either."""
    try:
        link.setblocking(False)
        return link.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_a_script_cuts_the_uplink_for_its_time_and_the_day_ends_by_itself(
    tmp_path: Path, mosquitto: StartMosquitto, start_process: StartProcess
) -> None:
    script, broker, port = tmp_path / "script.toml", mosquitto(), support.free_port()
    script.write_text(SCRIPT)
    running = start_process(
        SIM, "community", "--script", script, "--mqtt", broker.url, "--state", tmp_path, "--speed", "15", "--once",
        "--uplink-proxy", f"127.0.0.1:{port}=127.0.0.1:{broker.port}", "--json",
    )  # fmt: skip
    support.wait_for(lambda: support.accepts(port) or not running.alive, what="the proxy")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        support.wait_for(lambda: not is_open(link), 20, "the cut")

    def lives() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
                return is_open(link) and "uplink mended" in running.text()
        except OSError:
            return False

    support.wait_for(lives, 20, "the mended uplink")
    assert running.popen.wait(30) == 0
    summary = json.loads(running.text().splitlines()[-1])
    assert summary["devices"] == 2
    assert summary["messages"] >= 2


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed application certificate and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:{name}"), x509.DNSName("localhost")])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False).add_extension(usage, critical=True)
        .add_extension(extended, critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / f"{name}.der", folder / f"{name}.pem"
    files[0].write_bytes(built.public_bytes(serialization.Encoding.DER))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def test_a_secured_door_server_refuses_the_open_and_serves_the_encrypted(tmp_path: Path) -> None:
    server, client_files = certificate(tmp_path, "server"), certificate(tmp_path, "client")
    url = f"opc.tcp://127.0.0.1:{support.free_port()}"
    door = Device("door-1", load_profiles()[0]["generic-door-opcua"], "ns=2;s=door-1")

    async def talk() -> tuple[object, set[str]]:
        peer = OpcuaPeer(url, [door], security="basic256sha256", certificate=server[0], key=server[1])
        await peer.start()
        await peer.send(door, [Sample("open", True)], 1_700_000_000_000)
        client = Client(url)
        client.application_uri = "urn:client"
        await client.set_security(SecurityPolicyBasic256Sha256, str(client_files[0]), str(client_files[1]))
        async with client:
            policies = {endpoint.SecurityPolicyUri for endpoint in await client.get_endpoints()}
            folder = client.get_node("ns=2;s=door-1")
            value = await (await folder.get_child(ua.QualifiedName("Open", 2))).read_value()
        with pytest.raises((UaError, OSError, asyncio.TimeoutError)):
            await Client(url, timeout=2).connect()
        await peer.stop()
        return value, {str(uri) for uri in policies}

    value, policies = asyncio.run(talk())
    assert value is True
    assert policies == {"http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"}
