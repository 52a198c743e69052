"""Keys in a TPM: a simulated chip behind its resource manager, OpenSSL's provider for it, our cloud and a broker."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.app import Role
from cloud.devices import service as devices
from cloud.devices.enrolment.store import est_address
from cloud.org.rules import SYSTEM
from edge import keys, tpm
from edge.enrol import enrol
from edge.identity import Identity
from edge.sign import sign
from edge.tpm_line import open_line
from firmware_specs.errors import EnrolmentRefused, LinkError
from tests.cloud.cloud_support import serving
from tests.enrol.enrol_support import backdate, wanted
from tests.support import StartProcess, mosquitto_path, wait_for
from tests.system.pki import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.broker.broker_support import Site

PROGRAM = Path(sys.executable).with_name("patrol-edge")
PARTS = {
    "swtpm": "/usr/bin/swtpm", "tpm2-abrmd": "/usr/sbin/tpm2-abrmd", "dbus-daemon": "/usr/bin/dbus-daemon",
    "tpm2-openssl": "/usr/lib/*/ossl-modules/tpm2.so",
}  # fmt: skip
MISSING = [package for package, place in PARTS.items() if not any(Path("/").glob(place[1:]))]
needs_chip = pytest.mark.skipif(bool(MISSING), reason=f"no simulated TPM, for want of {', '.join(MISSING)}")


@pytest.fixture
def chip(tmp_path: Path, start_process: StartProcess, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Plug in the TPM of a name: another name is another chip."""

    def plug(name: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        bus = start_process(PARTS["dbus-daemon"], "--session", "--print-address", "--nofork", name=f"dbus-{name}")
        address = wait_for(lambda: next((x for x in bus.text().splitlines() if x.startswith("unix:")), ""), 10, "D-Bus")
        sock = folder / "tpm"
        start_process(
            PARTS["swtpm"], "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--flags", "not-need-init,startup-clear",
            "--server", f"type=unixio,path={sock}", "--ctrl", f"type=unixio,path={sock}.ctrl", name=f"swtpm-{name}",
        )  # fmt: skip
        wait_for(sock.exists, 10, "the simulated TPM")
        env = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": address}
        manager = start_process(
            PARTS["tpm2-abrmd"],
            "--session",
            "--allow-root",
            f"--tcti=swtpm:path={sock}",
            name=f"manager-{name}",
            env=env,
        )
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        monkeypatch.setenv("TPM2OPENSSL_TCTI", "tabrmd:bus_type=session")

        def works() -> bool:
            assert manager.alive, manager.text()
            try:
                return bool(tpm.make())
            except LinkError:
                return False

        wait_for(works, 20, "the TPM's resource manager")

    return plug


@needs_chip
def test_S2_a_key_is_made_in_the_tpm_and_of_no_use_beside_another(cloud: Site, chip: Callable[[str], None]) -> None:
    chip("first")
    what = wanted(cloud, cloud.claim("gw-1").text)
    told: list[str] = []
    assert enrol(what, told.append).gateway == "gw-1"
    assert "key in the TPM" in told
    pair = Identity(what.state_dir).current()
    assert pair
    assert b"TSS2 PRIVATE KEY" in pair.key.read_bytes()
    assert pair.key.stat().st_mode & 0o777 == 0o600
    signature, pem = sign(b"sheet 7", pair.key, pair.cert)
    public = x509.load_pem_x509_certificate(pem.encode()).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(base64.b64decode(signature), b"sheet 7", ec.ECDSA(hashes.SHA256()))
    chip("second")
    with pytest.raises(LinkError, match="TPM"):
        keys.sign(pair.key, b"sheet 7")


@needs_chip
@pytest.mark.system
def test_S1_an_agent_speaks_renews_and_checks_by_keys_in_the_tpm(
    cloud: Site, chip: Callable[[str], None], start_process: StartProcess
) -> None:
    if mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: this test needs a real broker")
    chip("chip")
    cloud.start()
    with serving(cloud.config, Role.ALL) as served:
        with served.db.read() as tx:
            cloud.url = str(tx.execute(est_address.select()).one().url)
        what = wanted(cloud, cloud.claim("gw-1").text)._replace(key=keys.Keeping.TPM)
        enrol(what)
        first = Identity(what.state_dir).current()
        assert first
        backdate(cloud, first, 61, "gw-1")
        agent = start_process(PROGRAM, "run", "--config", what.config, name="agent")
        wait_for(lambda: "new certificate accepted" in agent.text(), 30, f"the renewal: {agent.text()[-800:]}")
        second = Identity(what.state_dir).current()
        assert second
        assert second.number == first.number + 1
        assert tpm.holds(second.key)
        with served.db.read() as tx:
            assert devices.get_gateway(tx, SYSTEM, "gw-1").online
        done = subprocess.run(
            [PROGRAM, "check", "--config", what.config], capture_output=True, text=True, timeout=60, check=False
        )
        assert "in the TPM, which signs by it" in done.stdout, done.stdout
        children = _children(agent.pid)
        assert len(children) == 1, "the line to the broker"
        agent.kill()
        wait_for(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 10, "the end of the line's process"
        )


def _children(pid: int) -> list[int]:
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    others = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted({int(each) for each in [*told, *(x for file in others for x in file.read_text().split())]})


@contextmanager
def _echo(authority: Authority) -> Iterator[int]:
    """A server that wants a certificate of the authority and sends back what it is sent; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost"))
    context.load_verify_locations(authority.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    sock = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw = sock.accept()[0]
                with contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as line:
                    while data := line.recv(65536):
                        line.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield sock.getsockname()[1]
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    thread.join(10)


@needs_chip
def test_a_line_says_why_it_does_not_come_about(
    tmp_path: Path, chip: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    chip("chip")
    ours, strangers = Authority(tmp_path), Authority(tmp_path, "strangers")
    key = tmp_path / "key.pem"
    key.write_bytes(tpm.make())
    asked = x509.load_der_x509_csr(keys.request(key)).public_key()
    assert isinstance(asked, ec.EllipticCurvePublicKey)
    cert = ours.certify("gw-1", asked)
    with _echo(ours) as port:
        with open_line("localhost", port, ours.cert.read_text(), cert, key, 20) as line:
            line.sendall(b"x" * 200_000 + b"\n")
            got = b""
            while not got.endswith(b"\n"):
                got += line.recv(65536)
            assert len(got) == 200_001
        with pytest.raises(OSError, match="certificate refused: self-signed certificate in certificate chain"):
            open_line("localhost", port, strangers.cert.read_text(), cert, key, 20)
    with pytest.raises(OSError, match="connection refused"):
        open_line("localhost", port, ours.cert.read_text(), cert, key, 20)
    monkeypatch.setenv("TPM2OPENSSL_TCTI", f"device:{tmp_path / 'none'}")
    with pytest.raises(OSError, match=r"key.pem: the TPM does not give this key"):
        open_line("localhost", port, ours.cert.read_text(), cert, key, 20)


def test_without_a_tpm_a_file_is_taken_and_the_tpm_refused(cloud: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpm, "DEVICE", cloud.folder / "none")
    monkeypatch.delenv("TPM2OPENSSL_TCTI", raising=False)
    what = wanted(cloud, cloud.claim("gw-1").text)
    with pytest.raises(EnrolmentRefused, match="this machine has no TPM"):
        enrol(what._replace(key=keys.Keeping.TPM))
    told: list[str] = []
    enrol(what, told.append)
    assert "key in a file" in told


def test_a_tpm_that_does_not_work_is_passed_over_and_said(cloud: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has a chip, and neither the rights nor the provider for it."""
    monkeypatch.setenv("TPM2OPENSSL_TCTI", f"device:{cloud.folder / 'none'}")
    what = wanted(cloud, cloud.claim("gw-1").text)
    with pytest.raises(LinkError, match="TPM"):
        enrol(what._replace(key=keys.Keeping.TPM))
    told: list[str] = []
    enrol(what, told.append)
    assert any(each.startswith("key in a file, for the TPM cannot be used: ") for each in told), told
