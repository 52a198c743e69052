"""The identity provider: OpenID Connect, authorization code with PKCE (S256).

Owns what is asked of the provider and what of its answers is believed. An ID token counts when one of the provider's
published keys signed it with an asymmetric algorithm, and issuer, audience, authorised party, times and nonce are
right. Knows no database and no users.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx
import jwt
from pydantic import BaseModel, ConfigDict, ValidationError

from cloud.errors import NotSignedIn, Unavailable
from cloud.settings import WebAddress  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from cloud.config import OidcConfig

ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Of signatures. Neither `none` nor those that share a secret."""
TIMEOUT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 1024 * 1024
METADATA_MS: Final = 3_600_000
KEYS_MS: Final = 60_000
"""An unknown key is looked for again at most this often."""
LEEWAY_S: Final = 60
"""How far the provider's clock may be off."""
MAX_SUBJECT: Final = 200


class Metadata(BaseModel):
    """What the provider publishes of itself."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    issuer: str
    authorization_endpoint: WebAddress
    token_endpoint: WebAddress
    jwks_uri: WebAddress


class Provider:
    """One provider, as configured. Safe to share between threads."""

    def __init__(self, config: OidcConfig, redirect_uri: str) -> None:
        self.config = config
        self.redirect_uri = redirect_uri
        self._lock = threading.Lock()
        self._metadata: tuple[int, Metadata] | None = None
        self._keys: tuple[int, jwt.PyJWKSet] | None = None

    def metadata(self, now_ms: int) -> Metadata:
        """Its endpoints, asked once an hour. Raises Unavailable."""
        with self._lock:
            if self._metadata is None or now_ms - self._metadata[0] >= METADATA_MS:
                told = _fetch("GET", f"{self.config.issuer.rstrip('/')}/.well-known/openid-configuration")
                try:
                    found = Metadata.model_validate(told)
                except ValidationError as e:
                    first = e.errors(include_url=False)[0]
                    raise Unavailable(f"identity provider: {'.'.join(map(str, first['loc']))}: {first['msg']}") from e
                if found.issuer != self.config.issuer:
                    raise Unavailable("identity provider: it calls itself otherwise than issuer does")
                self._metadata = (now_ms, found)
            return self._metadata[1]

    def way(self, state: str, nonce: str, verifier: str, now_ms: int) -> str:
        """Where the browser is sent to sign in. Raises Unavailable."""
        query = {
            "response_type": "code", "client_id": self.config.client_id, "redirect_uri": self.redirect_uri,
            "scope": " ".join(self.config.scopes), "state": state, "nonce": nonce,
            "code_challenge": challenge(verifier), "code_challenge_method": "S256",
        }  # fmt: skip
        endpoint = self.metadata(now_ms).authorization_endpoint
        return f"{endpoint}?{urlencode(query)}"

    def exchange(self, code: str, verifier: str, now_ms: int) -> str:
        """The ID token for a code. Raises NotSignedIn when the provider refuses it, Unavailable."""
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }  # fmt: skip
        secret = self.config.secret()
        if secret is None:
            form["client_id"] = self.config.client_id
        auth = (self.config.client_id, secret) if secret is not None else None
        told = _fetch("POST", self.metadata(now_ms).token_endpoint, data=form, auth=auth)
        token = told.get("id_token")
        if not isinstance(token, str):
            raise NotSignedIn("the identity provider gave no ID token")
        return token

    def claims(self, token: str, nonce: str, now_ms: int) -> dict[str, Any]:
        """What an ID token says, when it is to be believed. Raises NotSignedIn with the reason, Unavailable."""
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise NotSignedIn("ID token: signed by an algorithm that proves nothing")
            key = self._key(header.get("kid"), now_ms)
            # The times are judged below, by the clock that is passed in.
            told: dict[str, Any] = jwt.decode(
                token, key, algorithms=[header["alg"]], audience=self.config.client_id, issuer=self.config.issuer,
                options={
                    "require": ["iss", "aud", "sub", "exp", "iat", "nonce"],
                    "verify_exp": False, "verify_iat": False, "verify_nbf": False,
                },
            )  # fmt: skip
        except jwt.PyJWTError as e:
            raise NotSignedIn(f"ID token: {str(e)[:1].lower()}{str(e)[1:200]}") from e
        self._judge(told, nonce, now_ms // 1000)
        return told

    def _judge(self, told: dict[str, Any], nonce: str, now_s: int) -> None:
        for name in ("exp", "iat"):
            if isinstance(told[name], bool) or not isinstance(told[name], int | float):
                raise NotSignedIn(f"ID token: {name} is no time")
        if told["exp"] <= now_s - LEEWAY_S:
            raise NotSignedIn("ID token: has expired")
        if told["iat"] > now_s + LEEWAY_S:
            raise NotSignedIn("ID token: is from the future")
        several = isinstance(told["aud"], list) and len(told["aud"]) > 1
        if (several or "azp" in told) and told.get("azp") != self.config.client_id:
            raise NotSignedIn("ID token: was given to another party")
        given = told["nonce"]
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
            raise NotSignedIn("ID token: answers another sign-in")
        if not isinstance(told["sub"], str) or not 0 < len(told["sub"]) <= MAX_SUBJECT:
            raise NotSignedIn("ID token: names nobody")

    def _key(self, kid: object, now_ms: int) -> jwt.PyJWK:
        """The published key of an id; without an id the only one that there is. Raises NotSignedIn, Unavailable."""
        with self._lock:
            known = self._keys
        found = _pick(known[1], kid) if known else None
        if found is None and (known is None or now_ms - known[0] >= KEYS_MS):
            told = _fetch("GET", self.metadata(now_ms).jwks_uri)
            try:
                keys = jwt.PyJWKSet.from_dict(told)
            except jwt.PyJWTError as e:
                raise Unavailable(f"identity provider: its keys: {e}") from e
            with self._lock:
                self._keys = (now_ms, keys)
            found = _pick(keys, kid)
        if found is None:
            raise NotSignedIn("ID token: signed by a key that the identity provider does not publish")
        return found


@cache
def provider_of(config: OidcConfig, public_url: str) -> Provider:
    """The provider of a configuration, which remembers what it was told."""
    return Provider(config, f"{public_url.rstrip('/')}/sign-in/oidc/callback")


def challenge(verifier: str) -> str:
    """PKCE's S256 of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _pick(keys: jwt.PyJWKSet, kid: object) -> jwt.PyJWK | None:
    usable = [key for key in keys.keys if key.public_key_use in {None, "sig"}]
    if kid is None:
        return usable[0] if len(usable) == 1 else None
    return next((key for key in usable if key.key_id == kid), None)


def _fetch(
    method: str, url: str, *, data: dict[str, str] | None = None, auth: tuple[str, str] | None = None
) -> dict[str, Any]:
    """A JSON object from the provider; no redirect is followed, no more than a bound is read.

    Raises NotSignedIn when the provider refuses the request, Unavailable when it cannot be asked.
    """
    body = b""
    try:
        with (
            httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client,
            client.stream(method, url, data=data, auth=auth, headers={"Accept": "application/json"}) as answer,
        ):
            for part in answer.iter_bytes():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise Unavailable("identity provider: it says too much")
            status = answer.status_code
    except httpx.HTTPError as e:
        raise Unavailable(f"identity provider: {type(e).__name__}") from e
    if data is not None and 400 <= status < 500:
        raise NotSignedIn("the identity provider refused the code")
    if status != httpx.codes.OK:
        raise Unavailable(f"identity provider: answered {status}")
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise Unavailable("identity provider: its answer is not JSON") from e
    if not isinstance(told, dict):
        raise Unavailable("identity provider: its answer is no object")
    return told
