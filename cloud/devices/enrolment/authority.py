"""The authority that issues: certificates of gateways and servers, and the list of those that are revoked.

Owns what stands in them. A gateway's subject is `O=PatrolGrid <site>, OU=gateways, CN=<gateway>`, whatever its request
asked for; the broker takes the common name for user and client id. Knows no database: who may have a certificate is
decided elsewhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.devices.enrolment import hsm, keys, making
from cloud.devices.enrolment.rules import gateway_host, host_kind, permitted
from cloud.errors import Invalid
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from cloud.config import Config

FOLDER: Final = "authority"
"""Below the data directory."""
FILE_KEY: Final = "file"
GATEWAY_DAYS: Final = 90
SERVER_DAYS: Final = 365


def when(ms: int) -> datetime:
    """Milliseconds UTC as certificates say times: whole seconds."""
    return datetime.fromtimestamp(ms // 1000, UTC)


def millis(time: datetime) -> int:
    """The reverse."""
    return round(time.timestamp() * 1000)


def now() -> datetime:
    """The present, for who has no other."""
    return datetime.now(UTC).replace(microsecond=0)


def key_hash(key: CertificatePublicKeyTypes) -> str:
    """SHA-256 of a public key (its SubjectPublicKeyInfo), in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def common_name(certificate: x509.Certificate) -> str:
    """The common name of a subject, empty when there is none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def serial_of(certificate: x509.Certificate) -> str:
    """The serial number, as it is stored and shown: lower-case hex."""
    return f"{certificate.serial_number:x}"


def of(config: Config) -> Authority:
    """The authority that a configuration names. Raises ConfigError."""
    return Authority.load(config.data_dir / FOLDER, config.authority.key, config.authority.pin())


@dataclass(frozen=True)
class Authority:
    """An intermediate with its key, and the root that it is below.

    before: what the intermediate was until it was renewed; the key is the same.
    """

    root: x509.Certificate
    intermediate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    before: tuple[x509.Certificate, ...] = ()

    @classmethod
    def load(cls, folder: Path, key: str = FILE_KEY, pin: str | None = None) -> Authority:
        """The authority of a folder. key: `file`, or the `pkcs11:` address of the intermediate's key.

        Raises ConfigError naming the file: missing, loose modes, or a key that is not the certificate's.
        """
        files = making.paths_of(folder)
        if not files.intermediate.exists():
            raise ConfigError(files.intermediate, "", "no authority yet; make one with `patrol-cloud authority init`")
        root, mine = making.read_certificate(files.root), making.read_certificate(files.intermediate)
        secret = keys.read_key(files.intermediate_key) if key == FILE_KEY else hsm.find(key, pin)
        before = making.earlier(folder)
        if any(each.public_key() != secret.public_key() for each in (mine, *before)):
            raise ConfigError(files.intermediate, "", "its key is another one")
        return cls(root, mine, secret, before)

    @property
    def issuers(self) -> tuple[x509.Certificate, ...]:
        """Whatever certificates that are in force may have been issued by, the present one first."""
        return (self.intermediate, *self.before)

    @property
    def organisation(self) -> str:
        """The `O` of everything that is issued."""
        return making.organisation_of(self.intermediate)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root in DER, in hex: what claims carry, so that a gateway knows its cloud."""
        return self.root.fingerprint(hashes.SHA256()).hex()

    def chain_pem(self) -> str:
        """What a client trusts: the root, and the intermediates for servers that do not send theirs."""
        return "".join(each.public_bytes(Encoding.PEM).decode() for each in (self.root, *self.issuers))

    def is_gateways(self, certificate: x509.Certificate, gateway: str) -> bool:
        """Whether a certificate is one that this authority gives to a gateway of that name."""
        issuer = next((each for each in self.issuers if each.subject == certificate.issuer), None)
        if issuer is None or certificate.subject != making.subject(self.organisation, making.GATEWAYS, name=gateway):
            return False
        try:
            certificate.verify_directly_issued_by(issuer)
        except InvalidSignature:
            return False
        return True

    def issue_gateway(
        self, csr: x509.CertificateSigningRequest, name: str, *, at: datetime | None = None, days: int = GATEWAY_DAYS
    ) -> x509.Certificate:
        """A client's certificate for the key of a request; nothing else of the request is taken."""
        names = x509.SubjectAlternativeName([x509.DNSName(gateway_host(name))])
        subject = making.subject(self.organisation, making.GATEWAYS, name=name)
        made = self._leaf(subject, csr.public_key(), names, at or now(), days)
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return made.sign(self.key, hashes.SHA256())

    def issue_server(
        self, name: str, hosts: Iterable[str], *, at: datetime | None = None, days: int = SERVER_DAYS
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A server's certificate and new key. Raises Invalid for a host that is none or is not permitted."""
        alternatives: list[x509.GeneralName] = []
        allowed = making.permitted_names(self.intermediate)
        for host in dict.fromkeys(hosts):
            kind = host_kind(host)
            if kind is None or not permitted(kind, allowed):
                known = ", ".join(making.hosts_of(self.intermediate))
                raise Invalid(f"host {host!r}: may issue for {known} only; `patrol-cloud authority renew` adds hosts")
            alternatives.append(x509.DNSName(kind) if isinstance(kind, str) else x509.IPAddress(kind))
        if not alternatives:
            raise Invalid("host: at least one is needed")
        key = keys.new_key()
        subject = making.subject(self.organisation, making.SERVERS, name=name)
        made = self._leaf(subject, key.public_key(), x509.SubjectAlternativeName(alternatives), at or now(), days)
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return made.sign(self.key, hashes.SHA256()), key

    def _leaf(
        self, subject: x509.Name, key: CertificatePublicKeyTypes, names: x509.SubjectAlternativeName, at: datetime,
        days: int,
    ) -> x509.CertificateBuilder:  # fmt: skip
        rsa = not hasattr(key, "curve")
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self.intermediate.subject).public_key(key)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(at - making.BACKDATED)
        ends = min(at + timedelta(days=days), self.intermediate.not_valid_after_utc)
        return (
            made.not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(making.usage(ca=False, agreement=not rsa, encipherment=rsa), critical=True)
            .add_extension(names, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(making.identifier(self.intermediate), critical=False)
        )

    def crl(self, revoked: Mapping[int, int], now_ms: int) -> bytes:
        """The lists of revoked certificates in PEM, one of each issuer. revoked: by serial number, when.

        A list holds until its issuer ends: how fresh it is, its `thisUpdate` tells, and whoever puts it in place
        watches that; a list that ran out would lock everybody out.
        """
        entries = [
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when(at_ms)).build()
            for serial, at_ms in sorted(revoked.items())
        ]
        return b"".join(self._list(issuer, entries, now_ms) for issuer in self.issuers)

    def _list(self, issuer: x509.Certificate, entries: Iterable[x509.RevokedCertificate], now_ms: int) -> bytes:
        made = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
        made = made.last_update(when(now_ms)).next_update(max(issuer.not_valid_after_utc, when(now_ms + 1000)))
        made = made.add_extension(x509.CRLNumber(max(now_ms, 0)), critical=False)
        made = made.add_extension(making.identifier(issuer), critical=False)
        for entry in entries:
            made = made.add_revoked_certificate(entry)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
