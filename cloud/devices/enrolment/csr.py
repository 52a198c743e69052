"""Certificate requests as EST clients send them: bytes of strangers, read with bounds.

Owns what a request has to be: PKCS #10, signed by its own key (so whoever asks has it), and that key on P-256 or P-384
or RSA of 2048 to 4096 bits. Its subject and extensions are not looked at: the server sets them.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cloud.errors import RequestRefused

MAX_BYTES: Final = 16 * 1024
_ARMOUR: Final = re.compile(rb"-----(?:BEGIN|END) (?:NEW )?CERTIFICATE REQUEST-----")
_CURVES: Final = ("secp256r1", "secp384r1")


class CsrRefused(RequestRefused):
    """A request that no certificate is made from."""


def read(body: bytes) -> x509.CertificateSigningRequest:
    """The request of a body: base64 of its DER as RFC 8951 has it, in lines or not; PEM armour is forgiven.

    Raises CsrRefused saying what is wrong.
    """
    if len(body) > MAX_BYTES:
        raise CsrRefused(f"request: more than {MAX_BYTES} bytes")
    try:
        der = base64.b64decode(b"".join(_ARMOUR.sub(b"", body).split()), validate=True)
    except binascii.Error as e:
        raise CsrRefused("request: not base64") from e
    try:
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
        signed = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as e:
        raise CsrRefused("request: not a PKCS #10 certificate request that can be read") from e
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise CsrRefused(f"request: a key on {key.curve.name}; P-256 or P-384 is accepted")
    elif not isinstance(key, rsa.RSAPublicKey):
        raise CsrRefused("request: a key of a kind that is not accepted; make one on P-256")
    elif not 2048 <= key.key_size <= 4096:
        raise CsrRefused(f"request: an RSA key of {key.key_size} bits; 2048 to 4096 are accepted")
    if not signed:
        raise CsrRefused("request: its signature is not by its key")
    return csr
