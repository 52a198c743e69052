"""The way to an EST server (RFC 7030, RFC 8951) and to the bootstrap document, over HTTPS.

Owns the requests, their bounds, and whom to believe. On first contact nobody is believed but a root whose fingerprint
was given beforehand: the certificates are fetched over a connection that proves nothing, whatever is not that root or
signed by it is dropped, and nothing of ours is sent before the server has proved itself by what is left. Raises
LinkError when the server cannot be reached or proves nothing, EnrolmentRefused with its own words when it refuses.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import ssl
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from edge import tpm
from edge.tpm_line import open_line
from firmware_specs.errors import EnrolmentRefused, LinkError

if TYPE_CHECKING:
    from pathlib import Path

EST: Final = "/.well-known/est"
BOOTSTRAP: Final = "/.well-known/patrolgrid/bootstrap"
TIMEOUT_S: Final = 20.0
MAX_BYTES: Final = 8 * 1024 * 1024
"""Of any answer; the bootstrap may hold a configuration of ten thousand devices."""
MAX_REASON: Final = 300
_Connection = http.client.HTTPConnection
_Text = Annotated[str, msgspec.Meta(max_length=MAX_BYTES)]


class Bootstrap(msgspec.Struct, frozen=True):
    """What an enrolled gateway is told to begin with."""

    gateway: _Text
    broker_url: _Text
    broker_ca: _Text
    update_root: _Text = ""
    metadata_url: _Text = ""
    targets_url: _Text = ""
    config: _Text = ""
    config_version: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0


class EstClient:
    """See the module. One request a connection; a call blocks."""

    def __init__(self, url: str) -> None:
        """url: `https://host[:port]` of the EST server. Raises EnrolmentRefused when it is no such address."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as e:
            raise EnrolmentRefused(f"{url[:200]!r}: {e}") from e
        if parts.scheme != "https" or not host or parts.username or parts.path.strip("/"):
            raise EnrolmentRefused(f"{url[:200]!r} is not https://host or https://host:port")
        self.url = f"https://{parts.netloc}"
        self._host, self._port = host, port or 443
        self._trusted = ""

    def trust_root(self, fingerprint: str) -> str:
        """Take the certificates of the root with this SHA-256 (hex), and believe those only; they are given as PEM.

        Raises EnrolmentRefused when the server has no such root.
        """
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE
        return self._trust(self._certificates("GET", "/cacerts", self._by(blind)), fingerprint)

    def trust_file(self, file: Path) -> str:
        """The same by a file that holds the root. Raises EnrolmentRefused when it holds none."""
        try:
            given = x509.load_pem_x509_certificates(file.read_bytes())
        except OSError as e:
            raise EnrolmentRefused(f"{file}: {(e.strerror or str(e)).lower()}") from e
        except ValueError as e:
            raise EnrolmentRefused(f"{file}: no certificate in PEM in it") from e
        roots = [each for each in given if _is_root(each)]
        if not roots:
            raise EnrolmentRefused(f"{file}: no root certificate in it")
        self._trusted = _pem(roots)
        return self._trust(self._certificates("GET", "/cacerts", self._connection()), _fingerprint(roots[0]))

    def trust_pem(self, pem: str) -> None:
        """Believe certificates that `trust_root` or `trust_file` gave before."""
        self._trusted = pem

    def _trust(self, found: list[x509.Certificate], fingerprint: str) -> str:
        roots = [each for each in found if _fingerprint(each) == fingerprint.lower() and _is_root(each)]
        if not roots:
            raise EnrolmentRefused(f"{self.url}: not the cloud that the claim names: its root is another one")
        # What else was sent is worth something only when the root has signed it.
        self._trusted = _pem([roots[0], *(each for each in found if each != roots[0] and _signed_by(each, roots[0]))])
        return self._trusted

    def enrol(self, code: str, request: bytes) -> x509.Certificate:
        """A certificate for a request (PKCS #10, DER), by a claim code."""
        basic = base64.b64encode(f"claim:{code}".encode()).decode()
        return self._one("/simpleenroll", request, self._connection(), {"Authorization": f"Basic {basic}"})

    def renew(self, request: bytes, certificate: Path, key: Path) -> x509.Certificate:
        """The next certificate, by the one that is in force."""
        return self._one("/simplereenroll", request, self._connection(certificate, key), {})

    def bootstrap(self, certificate: Path, key: Path) -> Bootstrap:
        """What to begin with, for whoever shows the new certificate."""
        body = self._ask("GET", BOOTSTRAP, self._connection(certificate, key))
        try:
            return msgspec.json.decode(body, type=Bootstrap)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise LinkError(self.url, f"bootstrap: {e}") from e

    def _connection(self, certificate: Path | None = None, key: Path | None = None) -> _Connection:
        try:
            if certificate and key and tpm.holds(key):
                return self._by_tpm(certificate, key)
            context = ssl.create_default_context(cadata=self._trusted)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if certificate and key:
                context.load_cert_chain(certificate, key)
        except ssl.SSLError as e:
            raise EnrolmentRefused(f"{certificate or self.url}: not a usable certificate and key ({e.reason})") from e
        except OSError as e:
            raise EnrolmentRefused(f"{certificate}: {(e.strerror or str(e)).lower()}") from e
        return self._by(context)

    def _by(self, context: ssl.SSLContext) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=context)

    def _by_tpm(self, certificate: Path, key: Path) -> _Connection:
        connection = http.client.HTTPConnection(self._host, self._port)
        try:
            connection.sock = open_line(self._host, self._port, self._trusted, certificate, key, TIMEOUT_S)
        except OSError as e:
            raise LinkError(self.url, str(e)) from e
        connection.sock.settimeout(TIMEOUT_S)
        return connection

    def _one(
        self, path: str, request: bytes, connection: _Connection, headers: dict[str, str]
    ) -> x509.Certificate:  # fmt: skip
        body = base64.encodebytes(request)
        headers = {**headers, "Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
        found = self._certificates("POST", path, connection, body, headers)
        if len(found) != 1:
            raise LinkError(self.url, f"{len(found)} certificates instead of one")
        return found[0]

    def _certificates(
        self, method: str, path: str, connection: _Connection, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> list[x509.Certificate]:  # fmt: skip
        answer = self._ask(method, EST + path, connection, body, headers)
        try:
            return pkcs7.load_der_pkcs7_certificates(base64.b64decode(b"".join(answer.split()), validate=True))
        except (binascii.Error, ValueError, UnsupportedAlgorithm) as e:
            raise LinkError(self.url, f"{path}: no certificates in the answer") from e

    def _ask(
        self, method: str, path: str, connection: _Connection, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> bytes:  # fmt: skip
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            data = answer.read(MAX_BYTES + 1)
        except ssl.SSLCertVerificationError as e:
            raise LinkError(self.url, f"certificate refused: {e.verify_message}") from e
        except ssl.SSLError as e:
            raise LinkError(self.url, f"TLS failed: {e.reason or e}") from e
        except (OSError, http.client.HTTPException) as e:
            raise LinkError(self.url, (getattr(e, "strerror", None) or str(e) or type(e).__name__).lower()) from e
        finally:
            connection.close()
        if len(data) > MAX_BYTES:
            raise LinkError(self.url, f"an answer of more than {MAX_BYTES} bytes")
        if answer.status >= 500 or answer.status in {202, 429}:
            wait = answer.getheader("Retry-After", "")
            again = f"; again in {wait} s" if wait.isdigit() else ""
            raise LinkError(self.url, (_reason(data) or f"HTTP {answer.status}") + again)
        if answer.status != 200:
            raise EnrolmentRefused(f"{self.url}: {_reason(data) or f'HTTP {answer.status}'}")
        return data


def _reason(data: bytes) -> str:
    """What a refusal says, in one printable line."""
    text = data[: 16 * MAX_REASON].decode("utf-8", "replace").strip()
    if text.startswith("{"):
        try:
            text = str(json.loads(text).get("detail", ""))
        except (ValueError, AttributeError):
            text = ""
    line = text.partition("\n")[0]
    return "".join(char for char in line if char.isprintable())[:MAX_REASON]


def _is_root(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject and _signed_by(certificate, certificate)


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _pem(certificates: list[x509.Certificate]) -> str:
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)
