"""What the tests of enrolment share: an authority, a tree, a listener, and clients that are not ours."""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from cloud.devices.enrolment import enrol, making, service
from cloud.devices.enrolment.authority import FOLDER, Authority, when
from cloud.devices.enrolment.est import Est
from cloud.devices.enrolment.listener import Server, certify, tls
from cloud.org import audit, tree
from cloud.org.rules import SYSTEM
from cloud.state import now_ms
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from cloud.config import Config
    from cloud.db import Database

URL = "https://127.0.0.1:8443"
LIMITS = enrol.Limits()


def make_authority(data_dir: Path, *hosts: str, site: str = "test", at: int = NOW) -> Authority:
    """An authority below a data directory; its root lies in `root` beside it."""
    making.make_root(data_dir / "root", site, when(at))
    making.make_intermediate(data_dir / "root", data_dir / FOLDER, hosts, when(at))
    return Authority.load(data_dir / FOLDER)


def street(tx: Connection, code: str = "s1", parent: str = "/") -> str:
    """The path of a new street."""
    made = tree.add_node(tx, SYSTEM, parent, tree.Kind.STREET, (code, code), code=code, now_ms=NOW)
    return made.path


def request(
    key: ec.EllipticCurvePrivateKey | None = None, name: str = "whatever"
) -> tuple[x509.CertificateSigningRequest, ec.EllipticCurvePrivateKey]:
    """A request and its key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()), key


def claim(
    db: Database, node: str = "/", gateway: str | None = None, at: int = NOW, **more: object
) -> service.IssuedClaim:
    """A new claim, with an address to go to."""
    with db.begin() as tx:
        service.announce(tx, URL)
        given = service.NewClaim.model_validate({"node": node, "gateway": gateway, **more})
        return service.issue_claim(tx, SYSTEM, given, at)


def use(  # noqa: PLR0917 - what a client brings
    db: Database, authority: Authority, code: str, csr: x509.CertificateSigningRequest, at: int = NOW + 1000,
    address: str = "10.0.0.9", holder: str = "",
) -> x509.Certificate:  # fmt: skip
    """What simpleenroll does once the request is read."""
    return enrol.enrol(db, authority, enrol.Asked(code, csr, address, holder), LIMITS, at)


def audited(db: Database, action: str) -> list[tuple[str, str]]:
    """Target and detail of every audit entry of an action, oldest first."""
    with db.read() as tx:
        rows = audit.rows_after(tx, SYSTEM, audit.Query(action=action), 0, 1000)
    return [(row["target"], row["detail"]) for row in rows]


class Listening(NamedTuple):
    """A listener on a free port."""

    url: str
    authority: Authority
    trust: Path
    """What `curl --cacert` takes."""


@contextlib.contextmanager
def listening(db: Database, config: Config, folder: Path) -> Iterator[Listening]:
    """A real EST listener with an authority of now."""
    authority = make_authority(folder, at=now_ms())
    context = tls(authority)
    assert config.est
    certify(context, authority, folder / FOLDER, config.est)
    sock = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{sock.getsockname()[1]}"
    with db.begin() as tx:
        service.announce(tx, url)
    server = Server(Est(db, authority, config), sock, context)
    server.start()
    try:
        yield Listening(url, authority, folder / "root" / "root.pem")
    finally:
        server.stop()


def run(*argv: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end."""
    return subprocess.run([str(part) for part in argv], input=stdin, capture_output=True, timeout=30, check=False)


def curl(trust: Path, *argv: str | Path, stdin: bytes = b"") -> tuple[int, bytes]:
    """The status and the body that curl got; 0 when the connection did not come about."""
    done = run("curl", "-s", "--cacert", trust, "-w", "\n%{http_code}", "--max-time", "15", *argv, stdin=stdin)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


def certs_of(body: bytes) -> list[x509.Certificate]:
    """The certificates of an EST answer."""
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))


def body_of(csr: x509.CertificateSigningRequest) -> bytes:
    """A request as EST clients send it."""
    return base64.encodebytes(csr.public_bytes(Encoding.DER))
