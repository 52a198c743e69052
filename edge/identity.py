"""The gateway's keys and certificates on its disk: numbered pairs, and a link that says which is in force.

    identity/3/{key.pem, request.der, cert.pem, ca.pem, broker-ca.pem, enrolment.json}
    identity/current -> 3

Owns that layout. A key and its certificate stand in one folder, and the link changes by a rename, so no moment has the
key of one and the certificate of another; `gateway.toml` names paths through the link and never changes. A pair is
begun by its key (`edge.keys`) and its request, so that whoever was interrupted asks again with the same bytes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from edge import keys
from firmware_specs.durable import sync_folder, write_file
from firmware_specs.errors import ConfigError, EnrolmentRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

FOLDER: Final = "identity"
CURRENT: Final = "current"
KEY: Final = "key.pem"
REQUEST: Final = "request.der"
CERT: Final = "cert.pem"
CA: Final = "ca.pem"
"""Whom to believe about the EST server."""
BROKER_CA: Final = "broker-ca.pem"
ENROLMENT: Final = "enrolment.json"
_LOCK: Final = "identity.lock"
_GONE: Final = ".gone"


class Origin(msgspec.Struct, frozen=True):
    """Where a pair comes from. asked: what it was begun for, a digest of the claim or the certificate it renews."""

    url: str
    asked: str
    metadata_url: str = ""
    targets_url: str = ""


class Life(NamedTuple):
    """From when to when a certificate holds, in milliseconds UTC, and for whom."""

    name: str
    from_ms: int
    until_ms: int

    def is_due(self, now_ms: int) -> bool:
        """Whether two thirds of it are over."""
        return now_ms >= self.from_ms + (self.until_ms - self.from_ms) * 2 // 3


class Pair:
    """One numbered folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = int(folder.name)

    @property
    def cert(self) -> Path:
        """Its certificate, with the intermediate."""
        return self.folder / CERT

    @property
    def key(self) -> Path:
        """Its private key."""
        return self.folder / KEY

    def origin(self) -> Origin | None:
        """Where it comes from, None while that is not written."""
        try:
            return msgspec.json.decode((self.folder / ENROLMENT).read_bytes(), type=Origin)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as e:
            raise ConfigError(self.folder / ENROLMENT, "", str(e)) from e

    def put(self, name: str, data: bytes) -> None:
        """Write one of its files."""
        write_file(self.folder / name, data)

    def put_origin(self, origin: Origin) -> None:
        """Write where it comes from."""
        self.put(ENROLMENT, msgspec.json.encode(origin))

    def request(self, make: Callable[[], bytes]) -> bytes:
        """Its request (PKCS #10, DER); made once, with the key that `make` gives, and the same from then on."""
        if not self.key.exists():
            self.put(KEY, make())
        file = self.folder / REQUEST
        if not file.exists():
            self.put(REQUEST, keys.request(self.key))
        return file.read_bytes()

    def take(self, certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> Life:
        """Keep the certificate that was given for the request. Raises EnrolmentRefused when it is for another key."""
        asked = x509.load_der_x509_csr((self.folder / REQUEST).read_bytes())
        if _public(certificate.public_key()) != _public(asked.public_key()):
            raise EnrolmentRefused("the certificate that came is for another key")
        chain = [certificate, *issuers]
        self.put(CERT, b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        return life_of(certificate)

    @property
    def complete(self) -> bool:
        """Whether a gateway can run by it; what is written last is there."""
        return self.cert.exists() and (self.folder / BROKER_CA).exists()

    def life(self) -> Life | None:
        """How long its certificate holds, None while it has none. Raises ConfigError."""
        return read_life(self.cert)


class Identity:
    """All pairs of a state folder."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.folder = state_dir / FOLDER

    @property
    def link(self) -> Path:
        """The pair in force, as `gateway.toml` names it."""
        return self.folder / CURRENT

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the pairs. Raises ConfigError when the folder cannot be made, or another has it now."""
        try:
            for folder in (self.state_dir, self.folder):
                if not folder.is_dir():
                    folder.mkdir(parents=True, mode=0o700)
                    sync_folder(folder.parent)
            handle = os.open(self.state_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise ConfigError(self.folder, "", (e.strerror or str(e)).lower()) from e
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as e:
            raise ConfigError(self.folder, "", "an enrolment or a renewal is under way") from e
        finally:
            os.close(handle)

    def current(self) -> Pair | None:
        """The pair in force, None when there is none."""
        try:
            name = str(self.link.readlink())
        except OSError:
            return None
        folder = self.folder / name
        return Pair(folder) if name.isdigit() and folder.is_dir() else None

    def pairs(self) -> list[Pair]:
        """All of them, the oldest first."""
        found = (each for each in self.folder.iterdir() if each.name.isdigit() and each.is_dir())
        return sorted((Pair(each) for each in found), key=lambda pair: pair.number)

    def begin(self, asked: str, url: str) -> Pair:
        """The pair that was begun for this, or a new one."""
        for pair in reversed(self.pairs()):
            origin = pair.origin()
            if origin is not None and origin.asked == asked:
                return pair
            if origin is None:
                self.drop(pair)  # interrupted before it said what for: its key was never shown to anybody
        numbers = [pair.number for pair in self.pairs()]
        folder = self.folder / str(max(numbers, default=0) + 1)
        folder.mkdir(mode=0o700)
        sync_folder(self.folder)
        pair = Pair(folder)
        pair.put_origin(Origin(url, asked))
        return pair

    def switch(self, pair: Pair) -> None:
        """Have a pair in force from now on."""
        beside = self.folder / f".{CURRENT}.new"
        beside.unlink(missing_ok=True)
        beside.symlink_to(pair.folder.name)
        beside.replace(self.link)
        sync_folder(self.folder)

    def drop(self, pair: Pair) -> None:
        """Take a pair away; its name goes first, so that what is left of it is no pair any more."""
        gone = self.folder / f".{pair.number}{_GONE}"
        shutil.rmtree(gone, ignore_errors=True)
        pair.folder.rename(gone)
        sync_folder(self.folder)
        shutil.rmtree(gone, ignore_errors=True)

    def keep_only(self, pair: Pair) -> None:
        """Take every other pair away, and what an interruption left of such."""
        for other in self.pairs():
            if other.number != pair.number:
                self.drop(other)
        for left in self.folder.glob(f".*{_GONE}"):
            shutil.rmtree(left, ignore_errors=True)


def read_life(file: Path) -> Life | None:
    """How long the certificate of a file holds, None when there is no file. Raises ConfigError."""
    try:
        return life_of(x509.load_pem_x509_certificate(file.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as e:
        raise ConfigError(file, "", (e.strerror or str(e)).lower()) from e
    except ValueError as e:
        raise ConfigError(file, "", "no certificate in PEM") from e


def life_of(certificate: x509.Certificate) -> Life:
    """How long a certificate holds, and for whom."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    name = str(names[0].value) if names else ""
    return Life(name, round(begins.timestamp() * 1000), round(ends.timestamp() * 1000))


def expired(file: Path, until: datetime) -> str:
    """What to say of a certificate that has run out, and of ours what to do about it."""
    how = "; it cannot be renewed any more: ask for a new claim and run patrol-edge enrol URL --claim CODE"
    return f"{file}: expired on {until:%Y-%m-%d}{how if file.parent.name == CURRENT else ''}"


def issuers_in(pem: str) -> list[x509.Certificate]:
    """The intermediates of a chain: what is sent along with our own certificate."""
    return [each for each in x509.load_pem_x509_certificates(pem.encode()) if each.issuer != each.subject]


def _public(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
