"""Whether a gateway signed what it was asked to sign.

Owns the check of an answer: the signature is that of the statement, by the certificate that came with it, and the
certificate is this gateway's. Anybody can do the same with `openssl dgst -sha256 -verify`.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_ANSWER: int = 20_000


class Signed(msgspec.Struct, frozen=True):
    """A gateway's answer to `sign`. at_ms: of its statement. signature: base64. certificate: PEM."""

    at_ms: int
    signature: str
    certificate: str


class Verdict(NamedTuple):
    """What an answer is worth. reason: why it is worth nothing, empty when it is good."""

    signed: Signed | None
    reason: str


def read(text: str) -> Signed | None:
    """An answer, None when it is none."""
    try:
        return msgspec.json.decode(text[:MAX_ANSWER], type=Signed)
    except (msgspec.DecodeError, UnicodeError):
        return None


def judge(signed: Signed, said: bytes, gateway: str, serials: Collection[str]) -> Verdict:
    """Whether an answer signs a statement for a gateway.

    serials: of the certificates that enrolment gave it and that are in force, in hex; empty when enrolment gave none.
    """
    try:
        certificate = x509.load_pem_x509_certificate(signed.certificate.encode())
        signature = base64.b64decode(signed.signature, validate=True)
        names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names != [gateway]:
            return Verdict(None, "the certificate is another gateway's")
        if serials and f"{certificate.serial_number:x}" not in {_plain(serial) for serial in serials}:
            return Verdict(None, "the certificate is not one in force that was given to this gateway")
        key = certificate.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, said, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, said, padding.PKCS1v15(), hashes.SHA256())
        else:
            return Verdict(None, "the certificate's key is neither EC nor RSA")
    except InvalidSignature:
        return Verdict(None, "the signature is not of this sheet")
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return Verdict(None, "the answer holds no certificate and signature")
    return Verdict(signed, "")


def _plain(serial: str) -> str:
    return serial.replace(":", "").lower().lstrip("0") or "0"


def fingerprint(pem: str) -> str:
    """SHA-256 of a certificate, hex; empty when it is none."""
    try:
        return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()
    except ValueError:
        return ""
