"""What the tests of enrolment at the gateway share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cloud.devices.enrolment import certificates
from cloud.state import now_ms
from edge.config import load_config
from edge.enrol import Enrolled, Wanted, enrol, read_claim
from edge.identity import REQUEST, Identity, Pair

if TYPE_CHECKING:
    from edge.config import GatewayConfig
    from tests.broker.broker_support import Site

DAY_MS = 86_400_000


def wanted(cloud: Site, text: str, name: str = "box") -> Wanted:
    """What the command would do with a claim, into a folder of a box."""
    box = cloud.folder / name
    box.mkdir(exist_ok=True)
    return Wanted(read_claim(text, "", "", None), box / "gateway.toml", box / "state")


def enrolled(cloud: Site, gateway: str | None = None, name: str = "box") -> Enrolled:
    return enrol(wanted(cloud, cloud.claim(gateway).text, name))


def backdate(cloud: Site, pair: Pair, days_ago: int, gateway: str) -> None:
    """Put a certificate for 90 days in its place that was given some days ago."""
    csr = x509.load_der_x509_csr((pair.folder / REQUEST).read_bytes())
    with cloud.db.begin() as tx:
        at = now_ms() - days_ago * DAY_MS
        made = certificates.write(tx, cloud.authority, csr, gateway, claim=None, days=90, now_ms=at)
    pair.take(made, [cloud.authority.intermediate])


def pair_in_force(what: Wanted) -> Pair:
    """The pair that an agent would use, looked at as the agent does: by the paths of its configuration."""
    config: GatewayConfig = load_config(what.config).config
    assert config.uplink.cert
    assert config.uplink.key
    certificate = x509.load_pem_x509_certificate(config.uplink.cert.read_bytes())
    key = serialization.load_pem_private_key(config.uplink.key.read_bytes(), None)
    assert certificate.public_key() == key.public_key()
    assert config.uplink.ca
    assert x509.load_pem_x509_certificates(config.uplink.ca.read_bytes())
    found = Identity(what.state_dir).current()
    assert found
    return found
