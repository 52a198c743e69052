"""Making the authority: an offline root, and the intermediate that issues.

Owns what stands in the two certificates. The intermediate may make no further authority (path length 0) and issues
only names that its constraints permit: subjects below `O=PatrolGrid <site>` in the units `gateways` and `servers`, DNS
names below the hosts named when it was made, and addresses named then. So whoever takes the intermediate's key can
neither be another site nor another host.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cloud.devices.enrolment import keys
from cloud.devices.enrolment.rules import GATEWAY_DOMAIN, host_kind
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

ROOT_DAYS: Final = 7300
INTERMEDIATE_DAYS: Final = 3650
BACKDATED: Final = timedelta(hours=1)
"""A certificate holds a little before it is made: clocks of others are behind."""
GATEWAYS: Final = "gateways"
SERVERS: Final = "servers"
SITE_MOST: Final = 40
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Paths(NamedTuple):
    """The files of an authority. root_key is the operator's to take away."""

    root: Path
    intermediate: Path
    intermediate_key: Path


def paths_of(folder: Path) -> Paths:
    """The files below an authority's folder."""
    return Paths(folder / "root.pem", folder / "intermediate.pem", folder / "intermediate-key.pem")


def subject(organisation: str, *units: str, name: str = "") -> x509.Name:
    """`O=…[, OU=…][, CN=…]`."""
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)]
    parts += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    parts += [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    return x509.Name(parts)


def constraints(organisation: str, hosts: Iterable[str]) -> x509.NameConstraints:
    """What the intermediate may issue. Raises ConfigError for a host that is none."""
    allowed: list[x509.GeneralName] = [
        x509.DirectoryName(subject(organisation, GATEWAYS)),
        x509.DirectoryName(subject(organisation, SERVERS)),
        x509.DNSName(GATEWAY_DOMAIN),
    ]
    for host in dict.fromkeys((*LOOPBACK, *hosts)):
        kind = host_kind(host)
        if kind is None:
            raise ConfigError("authority", "host", f"{host!r} is neither a DNS name nor an address")
        made = x509.DNSName(kind) if isinstance(kind, str) else x509.IPAddress(ipaddress.ip_network(kind))
        allowed.append(made)
    return x509.NameConstraints(allowed, None)


def base(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:  # fmt: skip
    """What every authority's certificate begins with."""
    made = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key)
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - BACKDATED).not_valid_after(now + timedelta(days=days))
    return made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def usage(*, ca: bool, agreement: bool = False, encipherment: bool = False) -> x509.KeyUsage:
    """What a key is for."""
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=encipherment, data_encipherment=False,
        key_agreement=agreement, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def make_root(folder: Path, site: str, now: datetime) -> x509.Certificate:
    """A root in a folder: `root.pem` and `root-key.pem`; the one that is there already when there is. ConfigError."""
    keys.private_folder(folder)
    certificate, key_file = folder / "root.pem", folder / "root-key.pem"
    if key_file.exists():
        return read_certificate(certificate)
    if not site or len(site) > SITE_MOST or not site.isprintable():
        raise ConfigError("authority", "site", f"{site!r} is not a name of 1 to {SITE_MOST} characters")
    key = keys.new_key()
    name = subject(f"PatrolGrid {site}", name=f"PatrolGrid {site} root")
    made = (
        base(name, name, key.public_key(), now, ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    keys.write(certificate, made.public_bytes(Encoding.PEM), 0o644)
    keys.write(key_file, keys.pem_of(key))
    return made


def make_intermediate(
    root_folder: Path, folder: Path, hosts: Iterable[str], now: datetime, key: ec.EllipticCurvePrivateKey | None = None
) -> x509.Certificate:
    """An intermediate below the root of a folder. key: one in a token, else a new one in a file. Raises ConfigError."""
    files = paths_of(folder)
    keys.private_folder(folder)
    refuse_existing(files.intermediate)
    root, root_key = read_certificate(root_folder / "root.pem"), keys.read_key(root_folder / "root-key.pem")
    mine = key or keys.new_key()
    organisation = organisation_of(root)
    name = subject(organisation, name=f"{organisation} intermediate {now.astimezone(UTC):%Y-%m}")
    made = (
        base(name, root.subject, mine.public_key(), now, INTERMEDIATE_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(ca=True), critical=True)
        .add_extension(constraints(organisation, hosts), critical=True)
        .add_extension(identifier(root), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    keys.write(files.root, root.public_bytes(Encoding.PEM), 0o644)
    if key is None:
        keys.write(files.intermediate_key, keys.pem_of(mine))
    # Last: an authority whose certificate is there is whole.
    keys.write(files.intermediate, made.public_bytes(Encoding.PEM), 0o644)
    return made


def refuse_existing(intermediate: Path) -> None:
    """Raises ConfigError when there is an intermediate: one that has issued is never written over."""
    if intermediate.exists():
        raise ConfigError(intermediate, "", "there is an authority already; move it away to make another")


def identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """How a certificate names the key that signed it."""
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def organisation_of(certificate: x509.Certificate) -> str:
    """The `O` of a certificate's subject."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)


def read_certificate(path: Path) -> x509.Certificate:
    """The certificate of a PEM file. Raises ConfigError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as e:
        raise ConfigError(path, "", e.strerror or str(e)) from e
    except ValueError as e:
        raise ConfigError(path, "", "no certificate in PEM") from e
