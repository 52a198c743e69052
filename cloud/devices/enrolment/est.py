"""EST (RFC 7030, RFC 8951) and the bootstrap: from a request to an answer, whatever carries the two.

Owns the paths, who may ask which, and how answers are written. `simpleenroll` is for whoever has a claim, sent by HTTP
Basic as the password (any user name); `simplereenroll` and `bootstrap` for whoever shows a certificate that a gateway
was given. A refusal is one line of plain text. Knows no sockets: `listener` has them.
"""

from __future__ import annotations

import base64
import binascii
import json
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from cloud.devices.enrolment import bootstrap, certificates, csr, enrol
from cloud.errors import NotFound, NotSignedIn, RequestRefused, TooManyTries
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography import x509
    from sqlalchemy import Connection

    from cloud.config import Config
    from cloud.db import Database
    from cloud.devices.enrolment.authority import Authority

EST: Final = "/.well-known/est"
BOOTSTRAP: Final = "/.well-known/patrolgrid/bootstrap"
CERTS: Final = "application/pkcs7-mime; smime-type=certs-only"
PLAIN: Final = "text/plain; charset=utf-8"
BASIC_MOST: Final = 1000
_LINE: Final = 76


class MethodRefused(RequestRefused):
    """The path is right, the method is not."""

    status = 405


@dataclass(frozen=True)
class Request:
    """What came. certificate: the client's in DER, its chain checked, empty without one."""

    method: str
    path: str
    address: str
    authorization: str = ""
    body: bytes = b""
    certificate: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes
    kind: str = PLAIN
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Est:
    """What answers are made from."""

    db: Database
    authority: Authority
    config: Config

    @property
    def limits(self) -> enrol.Limits:
        """As configured."""
        given = self.config.enrolment
        return enrol.Limits(given.certificate_days, given.tries, given.all_tries, round(given.window_s * 1000))

    def answer(self, request: Request, now_ms: int) -> Answer:
        """The answer to a request; a refusal is one too. Raises StoreError."""
        try:
            found = self._routes().get(request.path.partition("?")[0])
            if found is None:
                raise NotFound("not found; there are cacerts, simpleenroll and simplereenroll")
            method, call = found
            if request.method != method:
                raise MethodRefused(f"{request.path}: {method} only")
            return call(request, now_ms)
        except RequestRefused as e:
            return refusal(e)

    def _routes(self) -> dict[str, tuple[str, Callable[[Request, int], Answer]]]:
        return {
            f"{EST}/cacerts": ("GET", self._ca_certs),
            f"{EST}/simpleenroll": ("POST", self._enrol),
            f"{EST}/simplereenroll": ("POST", self._renew),
            BOOTSTRAP: ("GET", self._bootstrap),
        }

    def _ca_certs(self, _request: Request, _now_ms: int) -> Answer:
        return _certs([self.authority.root, *self.authority.issuers])

    def _enrol(self, request: Request, now_ms: int) -> Answer:
        code = claim_of(request.authorization)
        mine = enrol.count_try(self.db, request.address, self.limits, now_ms)
        asked = enrol.Asked(code, csr.read(request.body), request.address, self._holder_name(request, now_ms))
        try:
            made = enrol.enrol(self.db, self.authority, asked, self.limits, now_ms)
        except StoreError:
            enrol.forgive(self.db, mine)  # that is nobody's fault who asks
            raise
        enrol.forgive(self.db, mine)
        return _certs([made])

    def _holder_name(self, request: Request, now_ms: int) -> str:
        """The gateway whose certificate came along; one that is no good any more says nothing against a claim."""
        if not request.certificate:
            return ""
        try:
            with self.db.read() as tx:
                return certificates.holder(tx, request.certificate, now_ms).gateway
        except RequestRefused:
            return ""

    def _renew(self, request: Request, now_ms: int) -> Answer:
        wanted = csr.read(_proven(request).body)
        with self.db.begin() as tx:
            who = self._holder(tx, request, now_ms)
            days = self.config.enrolment.certificate_days
            made = certificates.renew(tx, self.authority, who, wanted, days=days, now_ms=now_ms)
        return _certs([made])

    def _holder(self, tx: Connection, request: Request, now_ms: int) -> certificates.Holder:
        """The gateway that shows its certificate. Raises NotSignedIn, Forbidden."""
        shown = _proven(request).certificate
        certificates.remember(tx, self.authority, shown, now_ms)
        return certificates.holder(tx, shown, now_ms)

    def _bootstrap(self, request: Request, now_ms: int) -> Answer:
        with self.db.begin() as tx:
            who = self._holder(tx, request, now_ms)
            told = bootstrap.document(tx, self.config, self.authority, who, now_ms)
        return Answer(200, json.dumps(told, ensure_ascii=False).encode(), "application/json")


def _proven(request: Request) -> Request:
    if not request.certificate:
        raise NotSignedIn("a client certificate is needed")
    return request


def claim_of(authorization: str) -> str:
    """The password of HTTP Basic. Raises NotSignedIn."""
    scheme, _, given = authorization.strip()[:BASIC_MOST].partition(" ")
    try:
        if scheme.lower() != "basic":
            raise NotSignedIn("a claim code is needed, as the password of HTTP Basic")
        _, colon, code = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as e:
        raise NotSignedIn("authorization: not HTTP Basic that can be read") from e
    if not colon or not code:
        raise NotSignedIn("a claim code is needed, as the password of HTTP Basic")
    return code


def _certs(certs: Sequence[x509.Certificate]) -> Answer:
    """Certificates as `certs-only` CMS in base64."""
    der = pkcs7.serialize_certificates(list(certs), Encoding.DER)
    lines = "\r\n".join(textwrap.wrap(base64.b64encode(der).decode(), _LINE)) + "\r\n"
    return Answer(200, lines.encode(), CERTS, {"Content-Transfer-Encoding": "base64"})


def refusal(e: RequestRefused) -> Answer:
    """One line, and what a client needs to go on."""
    headers = {}
    if isinstance(e, NotSignedIn):
        headers["WWW-Authenticate"] = 'Basic realm="claim"'
    if isinstance(e, TooManyTries):
        headers["Retry-After"] = str(e.retry_after_s)
    return Answer(e.status, f"{e}\n".encode(), headers=headers)
