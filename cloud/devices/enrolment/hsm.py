"""The intermediate's key in a token (PKCS #11): found or made there, used there, never read.

Owns the address of a key, `pkcs11:token=patrol;object=intermediate?module-path=/usr/lib/softhsm/libsofthsm2.so`
(RFC 7512), and one session for each. The library is the optional extra `hsm`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn
from urllib.parse import unquote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from firmware_specs.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives import serialization

SCHEME: Final = "pkcs11:"
_KEYS: Final[dict[str, TokenKey]] = {}
_LOCK: Final = threading.Lock()


class Address(NamedTuple):
    """Which key of which token by which library."""

    module: str
    token: str
    object: str


def parse(text: str) -> Address:
    """A `pkcs11:` address. Raises ConfigError naming the part that is missing."""
    path, _, query = text.removeprefix(SCHEME).partition("?")
    pairs = [part.partition("=") for part in [*path.split(";"), *query.split("&")]]
    parts = {name.strip(): unquote(value) for name, _, value in pairs}
    for name in ("module-path", "token", "object"):
        if not text.startswith(SCHEME) or not parts.get(name):
            raise ConfigError("authority", "key", f"{text!r}: pkcs11:token=…;object=…?module-path=…: no {name}")
    return Address(parts["module-path"], parts["token"], parts["object"])


def find(text: str, pin: str | None) -> TokenKey:
    """The key at an address, checked to be there. Raises ConfigError."""
    with _LOCK:
        if text not in _KEYS:
            key = TokenKey(parse(text), pin)
            key.public_key()
            _KEYS[text] = key
        return _KEYS[text]


def find_or_make(text: str, pin: str | None) -> TokenKey:
    """The same, made in the token when there is none: P-256, never to leave it. Raises ConfigError."""
    with _LOCK:
        key = TokenKey(parse(text), pin)
        key.make_unless_there()
        key.public_key()
        _KEYS[text] = key
        return key


class TokenKey(ec.EllipticCurvePrivateKey):
    """A private key of which only the token knows the secret. Safe to share between threads."""

    def __init__(self, address: Address, pin: str | None) -> None:
        try:
            import pkcs11  # noqa: PLC0415 - an optional extra
        except ImportError as e:
            raise ConfigError("authority", "key", "python-pkcs11 is missing: install patrolgrid[hsm]") from e
        self._pkcs11 = pkcs11
        self._address = address
        self._pin = pin
        self._lock = threading.RLock()
        self._session: Any = None
        self._public: ec.EllipticCurvePublicKey | None = None

    @contextmanager
    def _opened(self, *, write: bool = False) -> Iterator[Any]:
        """The session, opened when there is none. An error ends it: the next use opens another."""
        with self._lock:
            try:
                if self._session is None or write:
                    self._close()
                    library = self._pkcs11.lib(self._address.module)
                    token = library.get_token(token_label=self._address.token)
                    self._session = token.open(rw=write, user_pin=self._pin)
                yield self._session
            except ConfigError:
                self._close()
                raise
            except (self._pkcs11.PKCS11Error, RuntimeError) as e:
                self._close()
                reason = str(e) or type(e).__name__
                raise StoreError(f"token {self._address.token}", f"{self._address.object}: {reason}") from e

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(self._pkcs11.PKCS11Error):  # it may be gone already, with its token
                session.close()

    def _one(self, session: Any, kind: str) -> Any:  # noqa: ANN401 - the library is not typed
        try:
            return session.get_key(object_class=getattr(self._pkcs11.ObjectClass, kind), label=self._address.object)
        except self._pkcs11.NoSuchKey as e:
            reason = (
                f"token {self._address.token} has no key {self._address.object}; `patrol-cloud authority init` makes it"
            )
            raise ConfigError("authority", "key", reason) from e

    def make_unless_there(self) -> None:
        """Generate the key pair in the token. Raises StoreError."""
        from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415 - an optional extra

        with self._opened(write=True) as session:
            try:
                self._one(session, "PRIVATE_KEY")
            except ConfigError:  # there is none
                attribute = self._pkcs11.Attribute
                curve = {attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
                parameters = session.create_domain_parameters(self._pkcs11.KeyType.EC, curve, local=True)
                secret = {attribute.SENSITIVE: True, attribute.EXTRACTABLE: False}
                parameters.generate_keypair(store=True, label=self._address.object, private_template=secret)
            self._close()

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Its public half. Raises ConfigError when the token has no such key, StoreError when it cannot be asked."""
        from pkcs11.util.ec import encode_ec_public_key  # noqa: PLC0415 - an optional extra

        if self._public is None:
            with self._opened() as session:
                made = load_der_public_key(encode_ec_public_key(self._one(session, "PUBLIC_KEY")))
            if not isinstance(made, ec.EllipticCurvePublicKey):
                raise ConfigError("authority", "key", f"{self._address.object}: not a key on an elliptic curve")
            self._public = made
        return self._public

    def sign(
        self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm  # noqa: ANN401 - bytes of any kind
    ) -> bytes:  # fmt: skip
        """Sign in the token. Raises StoreError."""
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, utils.Prehashed):
            digest = bytes(data)
        else:
            whole = hashes.Hash(algorithm)
            whole.update(data)
            digest = whole.finalize()
        with self._opened() as session:
            raw = self._one(session, "PRIVATE_KEY").sign(digest, mechanism=self._pkcs11.Mechanism.ECDSA)
        half = len(raw) // 2
        return utils.encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

    @property
    def curve(self) -> ec.EllipticCurve:
        """Of its public half."""
        return self.public_key().curve

    @property
    def key_size(self) -> int:
        """In bits."""
        return self.public_key().key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Never done with this key."""
        raise NotImplementedError("a signing key")

    def private_numbers(self) -> NoReturn:
        """The token does not tell."""
        raise NotImplementedError("the key stays in its token")

    def private_bytes(
        self, encoding: serialization.Encoding, format: serialization.PrivateFormat,  # noqa: A002 - the interface's name
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> NoReturn:  # fmt: skip
        """The token does not tell."""
        raise NotImplementedError("the key stays in its token")

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenKey:
        return self
