"""A gateway's private key: made on the device, in its TPM where it has one, else in a file.

Owns what is done with a key whichever of the two it is; it never leaves the device. Raises ConfigError when a file is
no key, LinkError when the TPM does not do what is asked.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge import tpm
from firmware_specs.errors import ConfigError, EnrolmentRefused, LinkError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NAME: Final = "gateway"
"""What a request asks to be called; the cloud sets the name."""


class Keeping(StrEnum):
    """Where a new key is kept. AUTO: in the TPM where there is one that works."""

    AUTO = "auto"
    TPM = "tpm"
    FILE = "file"


def make(keeping: Keeping, tell: Callable[[str], None] = lambda _: None) -> bytes:
    """A new key on P-256, as its file (PEM). tell: is given why a TPM is passed over.

    Raises EnrolmentRefused when the TPM is asked for and there is none.
    """
    if keeping is Keeping.TPM and not tpm.is_present():
        raise EnrolmentRefused(
            f"this machine has no TPM 2.0: {tpm.DEVICE} is not there; without --key tpm it takes a file"
        )
    if keeping is not Keeping.FILE and tpm.is_present():
        try:
            return tpm.make()
        except LinkError as e:
            if keeping is Keeping.TPM:
                raise
            tell(f"key in a file, for the TPM cannot be used: {e.reason}")
    made = ec.generate_private_key(ec.SECP256R1())
    return made.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def make_like(key: Path) -> bytes:
    """A new key that is kept as another one is."""
    return make(Keeping.TPM if holds(key) else Keeping.FILE)


def holds(key: Path) -> bool:
    """Whether a key is in the TPM."""
    try:
        return tpm.holds(key)
    except OSError as e:
        raise ConfigError(key, "", (e.strerror or str(e)).lower()) from e


def request(key: Path) -> bytes:
    """A request for a certificate (PKCS #10, DER)."""
    if holds(key):
        return tpm.request(key, _NAME)
    private = _in_file(key)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ConfigError(key, "", "not a key on an elliptic curve")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(private, hashes.SHA256())
    return made.public_bytes(Encoding.DER)


def sign(key: Path, said: bytes) -> bytes:
    """The signature of bytes, over their SHA-256: ECDSA (DER), or PKCS #1 v1.5 with an RSA key of one's own."""
    if holds(key):
        return tpm.sign(key, said)
    private = _in_file(key)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(said, ec.ECDSA(hashes.SHA256()))
    return private.sign(said, padding.PKCS1v15(), hashes.SHA256())


def _in_file(key: Path) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    try:
        found = serialization.load_pem_private_key(key.read_bytes(), None)
    except OSError as e:
        raise ConfigError(key, "", (e.strerror or str(e)).lower()) from e
    except (ValueError, TypeError) as e:
        raise ConfigError(key, "", f"no private key: {e}") from e
    if not isinstance(found, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ConfigError(key, "", "neither an EC nor an RSA key")
    return found
