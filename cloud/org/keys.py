"""Secrets of users and tokens: how they are made, and what of them is kept.

Passwords are hashed with Argon2id. Cookies and tokens carry 256 random bits; only their SHA-256 is stored.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

TOKEN_PREFIX: Final = "pg_"  # noqa: S105 - no secret
_hasher: Final = PasswordHasher()
_verifying: Final = threading.BoundedSemaphore(2)
"""Argon2 takes 64 MiB a try; a flood of sign-ins queues here instead of filling the memory."""


def _hash_of_nothing() -> str:
    """A hash that no password has, as costly to verify as a real one, and free to make: every process makes one."""
    sizes = (_hasher.salt_len, _hasher.hash_len)
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in sizes)
    costs = f"m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${digest}"


NOBODY: Final = _hash_of_nothing()
"""Verified when there is no such user, so that the answer takes as long."""


def hash_of(secret: str) -> str:
    """What is kept of a cookie or a token."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def new_secret() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def new_password() -> str:
    """20 characters of the URL-safe alphabet: 120 random bits."""
    return secrets.token_urlsafe(15)


def password_hash(password: str) -> str:
    """What is kept of a password."""
    return _hasher.hash(password)


def right(hashed: str, password: str) -> bool:
    """Whether a password is the one of a hash."""
    with _verifying:
        try:
            return _hasher.verify(hashed, password.encode("utf-8", "replace"))
        except (VerificationError, InvalidHashError):
            return False
