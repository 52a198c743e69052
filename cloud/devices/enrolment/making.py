"""Making the authority: an offline root, and the intermediate that issues.

Owns what stands in the two certificates. The intermediate may make no further authority (path length 0) and issues
only names that its constraints permit: subjects below `O=PatrolGrid <site>` in the units `gateways` and `servers`, DNS
names below the hosts named when it was made, and addresses named then. So whoever takes the intermediate's key can
neither be another site nor another host. A renewed intermediate has the same key and another name: what the earlier one
issued stays good, and a client that trusts the earlier one by itself is not led astray by its end.
"""

from __future__ import annotations

import ipaddress
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cloud.devices.enrolment import keys
from cloud.devices.enrolment.rules import GATEWAY_DOMAIN, host_kind
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

ROOT_DAYS: Final = 7300
INTERMEDIATE_DAYS: Final = 3650
BACKDATED: Final = timedelta(hours=1)
"""A certificate holds a little before it is made: clocks of others are behind."""
GATEWAYS: Final = "gateways"
SERVERS: Final = "servers"
SITE_MOST: Final = 40
"""In bytes: a common name has 64."""
ROOT: Final = "root.pem"
ROOT_KEY: Final = "root-key.pem"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Paths(NamedTuple):
    """The files of an authority's folder. before: the folder of the intermediates that were renewed."""

    root: Path
    intermediate: Path
    intermediate_key: Path
    before: Path


def paths_of(folder: Path) -> Paths:
    """The files below an authority's folder."""
    return Paths(folder / ROOT, folder / "intermediate.pem", folder / "intermediate-key.pem", folder / "before")


def root_keys(folder: Path) -> list[Path]:
    """Keys of a root that lie in or below a folder, where none should be."""
    return sorted(folder.rglob(ROOT_KEY))


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
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:  # fmt: skip
    """What every authority's certificate begins with."""
    made = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key)
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - BACKDATED).not_valid_after(until)
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
    if (folder / ROOT).exists():
        return read_certificate(folder / ROOT)
    if not site or len(site.encode()) > SITE_MOST or not site.isprintable():
        raise ConfigError("authority", "site", f"{site!r} is not a name of 1 to {SITE_MOST} bytes")
    key = keys.new_key()
    name = subject(f"PatrolGrid {site}", name=f"PatrolGrid {site} root")
    made = (
        base(name, name, key.public_key(), now, now + timedelta(days=ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    keys.write(folder / ROOT_KEY, keys.pem_of(key))
    # Last: a root whose certificate is there is whole.
    keys.write(folder / ROOT, made.public_bytes(Encoding.PEM), 0o644)
    return made


def make_intermediate(
    root_folder: Path, folder: Path, hosts: Iterable[str], now: datetime, key: ec.EllipticCurvePrivateKey | None = None
) -> x509.Certificate:
    """An intermediate below the root of a folder. key: one in a token, else a new one in a file. Raises ConfigError."""
    files = paths_of(folder)
    keys.private_folder(folder)
    refuse_existing(files.intermediate)
    root = _Root.read(root_folder)
    mine = key or keys.new_key()
    made = root.issue(mine.public_key(), hosts, now, ())
    keys.write(files.root, root.certificate.public_bytes(Encoding.PEM), 0o644)
    if key is None:
        keys.write(files.intermediate_key, keys.pem_of(mine))
    # Last: an authority whose certificate is there is whole.
    keys.write(files.intermediate, made.public_bytes(Encoding.PEM), 0o644)
    return made


def renew_intermediate(root_folder: Path, folder: Path, hosts: Iterable[str], now: datetime) -> x509.Certificate:
    """The next certificate of an intermediate, for whatever it was for and for more hosts. Raises ConfigError.

    The one in force is kept in `before`: what it issued is checked by it until it ends.
    """
    files = paths_of(folder)
    root, old = _Root.read(root_folder), read_certificate(files.intermediate)
    if root.certificate != read_certificate(files.root):
        raise ConfigError(root_folder / ROOT, "", f"is not the root of {files.intermediate}")
    key = old.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConfigError(files.intermediate, "", "not a key on an elliptic curve")
    taken = [each.subject for each in (old, *earlier(folder))]
    made = root.issue(key, [*hosts_of(old), *hosts], now, taken)
    keys.private_folder(files.before)
    keys.write(files.before / f"{old.serial_number:x}.pem", old.public_bytes(Encoding.PEM), 0o644)
    keys.write(files.intermediate, made.public_bytes(Encoding.PEM), 0o644)
    return made


def earlier(folder: Path) -> tuple[x509.Certificate, ...]:
    """The intermediates that were renewed, the latest first. Raises ConfigError."""
    files = paths_of(folder)
    current = read_certificate(files.intermediate)
    found = [read_certificate(path) for path in files.before.glob("[0-9a-f]*.pem")]
    found.sort(key=lambda each: each.not_valid_before_utc, reverse=True)
    return tuple(each for each in found if each != current)


def permitted_names(intermediate: x509.Certificate) -> list[object]:
    """DNS names and networks that servers' certificates of an intermediate may bear."""
    found = intermediate.extensions.get_extension_for_class(x509.NameConstraints).value
    return [each.value for each in found.permitted_subtrees or () if not isinstance(each, x509.DirectoryName)]


def hosts_of(intermediate: x509.Certificate) -> list[str]:
    """The hosts that an intermediate was made for."""
    names = (str(each).partition("/")[0] for each in permitted_names(intermediate))
    return [name for name in names if name != GATEWAY_DOMAIN]


class _Root(NamedTuple):
    """The root with its key, while its folder is here."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def read(cls, folder: Path) -> _Root:
        """The root of a folder. Raises ConfigError."""
        certificate, key = read_certificate(folder / ROOT), keys.read_key(folder / ROOT_KEY)
        if certificate.public_key() != key.public_key():
            raise ConfigError(folder / ROOT, "", f"{ROOT_KEY} is another root's")
        return cls(certificate, key)

    def issue(
        self, key: ec.EllipticCurvePublicKey, hosts: Iterable[str], now: datetime, taken: Collection[x509.Name]
    ) -> x509.Certificate:  # fmt: skip
        """An intermediate by a name that is not taken, which ends with the root at the latest. Raises ConfigError."""
        root, organisation = self.certificate, organisation_of(self.certificate)
        plain = f"PatrolGrid intermediate {now.astimezone(UTC):%Y-%m}"
        names = (subject(organisation, name=f"{plain} {n}" if n > 1 else plain) for n in itertools.count(1))
        until = min(now + timedelta(days=INTERMEDIATE_DAYS), root.not_valid_after_utc)
        return (
            base(next(name for name in names if name not in taken), root.subject, key, now, until)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(ca=True), critical=True)
            .add_extension(constraints(organisation, hosts), critical=True)
            .add_extension(identifier(root), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def refuse_existing(intermediate: Path) -> None:
    """Raises ConfigError when there is an intermediate: one that has issued is never written over."""
    if intermediate.exists():
        raise ConfigError(intermediate, "", "there is an authority already; `patrol-cloud authority renew` prolongs it")


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
