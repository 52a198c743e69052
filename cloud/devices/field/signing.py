"""Whether a gateway signed what it was asked to sign.

Owns the check of an answer: the signature is that of the statement, by the certificate that came with it, and that
names the gateway. Anybody can do the same with `openssl dgst -sha256 -verify`. Whether the certificate is one that the
gateway was given is enrolment's to say.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from firmware_specs.wire_items import MAX_MS

MAX_ANSWER: int = 20_000


class Signed(msgspec.Struct, frozen=True):
    """A gateway's answer to `sign`. at_ms: of its statement. signature: base64. certificate: PEM."""

    at_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_MS)]
    signature: str
    certificate: str


def read(text: str) -> Signed | None:
    """An answer, None when it is none."""
    try:
        return msgspec.json.decode(text[:MAX_ANSWER], type=Signed)
    except (msgspec.DecodeError, UnicodeError):
        return None


def fault(signed: Signed, said: bytes, gateway: str) -> str:
    """Why an answer does not sign a statement for a gateway, empty when it does."""
    try:
        certificate = x509.load_pem_x509_certificate(signed.certificate.encode())
        signature = base64.b64decode(signed.signature, validate=True)
        names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names != [gateway]:
            return "the certificate is another gateway's"
        key = certificate.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, said, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, said, padding.PKCS1v15(), hashes.SHA256())
        else:
            return "the certificate's key is neither EC nor RSA"
    except InvalidSignature:
        return "the signature is not of this sheet"
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return "the answer holds no certificate and signature"
    return ""


def der(pem: str) -> bytes:
    """A certificate in the form by which it is compared. Raises ValueError."""
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def fingerprint(pem: str) -> str:
    """SHA-256 of a certificate, hex; empty when it is none."""
    try:
        return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()
    except ValueError:
        return ""
