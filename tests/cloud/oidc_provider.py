"""A small OpenID Connect provider on loopback, for the tests of sign-in: real keys, real HTTP, PKCE checked.

What it says can be bent with `bend` (claims), `sign` (the token itself) and `publish` (its metadata).
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENT = "patrolgrid"
SECRET = "correct horse"


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Idp:
    """The provider's state."""

    url: str = ""
    account: dict[str, Any] = field(default_factory=lambda: {"sub": "u-7"})
    """Who is signed in at the provider."""
    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"k1": new_key()})
    kid: str = "k1"
    bend: dict[str, Any] = field(default_factory=dict)
    """Claims that are other than they should be; None leaves one out."""
    sign: Callable[[dict[str, Any]], str] | None = None
    publish: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    nonces: list[str] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"], **self.publish,
        }  # fmt: skip

    def jwks(self) -> dict[str, Any]:
        keys = []
        for kid, key in self.keys.items():
            keys.append(
                RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig", "alg": "RS256"}
            )
        return {"keys": keys}

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser goes back to: whoever is here has signed in."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        self.nonces.append(query["nonce"])
        return f"{query['redirect_uri']}?code={code}&state={query['state']}&iss={self.url}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        expected = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET.replace(' ', '+')}".encode()).decode()
        plain = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if authorization not in {expected, plain}:
            return 401, {"error": "invalid_client"}
        query = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            query is None
            or form["redirect_uri"] != query["redirect_uri"]
            or base64.urlsafe_b64encode(digest).decode().rstrip("=") != query["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": query["nonce"], **self.account}
        claims = {name: value for name, value in (claims | self.bend).items() if value is not None}
        signed = self.sign(claims) if self.sign else self.signed(claims)
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": signed}

    def signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self.keys[self.kid], "RS256", headers={"kid": self.kid})


@contextmanager
def provider() -> Iterator[Idp]:
    """A running provider."""
    idp = Idp()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            idp.asked.append(parts.path)
            if parts.path == "/.well-known/openid-configuration":
                self.say(200, idp.metadata())
            elif parts.path == "/keys":
                self.say(200, idp.jwks())
            elif parts.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(302)
                self.send_header("Location", idp.authorize(query))
                self.end_headers()
            else:
                self.say(404, {})

        def do_POST(self) -> None:
            idp.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self.say(*idp.token(form, self.headers.get("Authorization", "")))

        def say(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    idp.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="idp")
    thread.start()
    try:
        yield idp
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
