"""Makes the broker's folder say what it has to: configuration, access rules, certificates, revocation list.

Owns what is in each file and when it is made again. A certificate and its key stand in one file, so that no moment has
one without the other. The revocation list comes first, and never waits for a certificate that cannot be issued. Called
again with nothing changed it writes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.devices.broker import conf, files, rules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cloud.config import BrokerConfig
    from cloud.devices.broker.settings import MosquittoConfig
    from cloud.devices.enrolment.authority import Authority

_CLOUD: Final = "cloud"
_END: Final = b"-----END X509 CRL-----\n"
_CLOUD_DAYS: Final = 3650
"""The cloud's own certificate is pinned, by both sides of one machine's folder; it is changed by deleting it."""


class Written(NamedTuple):
    """What a pass changed. reload: something that the broker reads again; restart: something that it does not."""

    reload: bool
    restart: bool


def write(
    settings: MosquittoConfig, authority: Authority, revoked: Mapping[int, int], broker: BrokerConfig, now_ms: int
) -> Written:
    """Bring all but the broker's certificate up to date. revoked: by serial number, since when. StoreError."""
    folder = settings.dir.absolute()
    changed = [
        _list(folder / conf.LIST, authority, revoked, now_ms),
        files.put(folder / conf.CA, authority.chain_pem().encode()),
        files.put(folder / conf.ACCESS, rules.access_file().encode()),
    ]
    changed += _cloud(folder, settings, broker)
    user = None if settings.cloud_tls else broker.user
    restart = files.put(folder / conf.CONF, conf.configuration(settings, folder, cloud_user=user).encode())
    return Written(any(changed), restart)


def certify(settings: MosquittoConfig, authority: Authority, now_ms: int) -> bool:
    """Bring the broker's certificate up to date; whether it is another. Raises StoreError, Invalid."""
    return _server(settings.dir.absolute() / conf.SERVER, settings, authority, now_ms)


def list_made_ms(folder: Path) -> int | None:
    """When the revocation list in a folder was made, None when there is none. Raises StoreError."""
    found = _read_lists(folder / conf.LIST)
    return _ms(found[0].last_update_utc) if found else None


def _list(file: Path, authority: Authority, revoked: Mapping[int, int], now_ms: int) -> bool:
    found = _read_lists(file)
    if found and [each.issuer for each in found] == [each.subject for each in authority.issuers]:
        listed, until = {each.serial_number for each in found[0]}, found[0].next_update_utc
        if until and not rules.list_is_due(_ms(found[0].last_update_utc), _ms(until), listed, revoked, now_ms):
            return False
    return files.put(file, authority.crl(revoked, now_ms))


def _read_lists(file: Path) -> list[x509.CertificateRevocationList]:
    """The lists of a file, one of each issuer, the present one first."""
    try:
        return [x509.load_pem_x509_crl(part + _END) for part in (files.read(file) or b"").split(_END)[:-1]]
    except ValueError:
        return []  # not lists: they are made again


def _server(file: Path, settings: MosquittoConfig, authority: Authority, now_ms: int) -> bool:
    wanted = [str(host).lower() for host in settings.hosts]
    found = _read_certificate(file)
    if found is not None and found.issuer == authority.intermediate.subject and _hosts(found) == set(wanted):
        begins, ends = _ms(found.not_valid_before_utc), _ms(found.not_valid_after_utc)
        if not rules.certificate_is_due(begins, ends, now_ms):
            return False
    certificate, key = authority.issue_server("broker", wanted, at=_time(now_ms))
    chain = certificate.public_bytes(Encoding.PEM) + authority.intermediate.public_bytes(Encoding.PEM)
    return files.put(file, chain + _key_pem(key))


def _cloud(folder: Path, settings: MosquittoConfig, broker: BrokerConfig) -> list[bool]:
    """What the cloud's own listener needs: a pinned certificate, a password, or nothing."""
    password = broker.password() if broker.user else None
    user = _CLOUD if settings.cloud_tls else broker.user if password else None
    changed = [files.put(folder / conf.CLOUD_ACCESS, conf.cloud_access(user).encode())]
    if settings.cloud_tls:
        own = folder / conf.CLOUD
        if _read_certificate(own) is None:
            files.put(own, _pinned(), files.OWN_MODE)
        certificate = _read_certificate(own)
        if certificate is not None:
            changed.append(files.put(folder / conf.CLOUD_CERT, certificate.public_bytes(Encoding.PEM)))
    elif broker.user and password:
        line = (files.read(folder / conf.PASSWORDS) or b"").decode("utf-8", "replace")
        if not conf.password_holds(line, broker.user, password):
            line = conf.password_line(broker.user, password)
        changed.append(files.put(folder / conf.PASSWORDS, line.encode()))
    return changed


def _pinned() -> bytes:
    """A certificate that signs itself, and its key: trusted by the one listener that names it, and by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _CLOUD)])
    begins = datetime.now(UTC) - timedelta(hours=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=_CLOUD_DAYS))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM) + _key_pem(key)


def _read_certificate(file: Path) -> x509.Certificate | None:
    data = files.read(file)
    try:
        return None if data is None else x509.load_pem_x509_certificate(data)
    except ValueError:
        return None  # not a certificate: it is made again


def _hosts(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC)
