"""What other folders may do with users: sign in, find out who asks, keep tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.db import Database
    from cloud.org.rules import Principal


class Session(msgspec.Struct, frozen=True):
    """A fresh sign-in. secret: the cookie's value, shown nowhere else. csrf: for unsafe requests of this session."""

    principal: Principal
    secret: str
    csrf: str
    expires_at: int


def sign_in(db: Database, name: str, password: str, address: str, now_ms: int) -> Session:
    """Check a password and begin a session. Raises NotSignedIn, TooManyTries."""
    raise NotImplementedError


def sign_out(tx: Connection, secret: str, now_ms: int) -> None:
    """End the session of a cookie; no error when there is none."""
    raise NotImplementedError


def session_principal(tx: Connection, secret: str, now_ms: int) -> Principal | None:
    """Who a cookie stands for, None when it ended, was revoked, or its user was disabled."""
    raise NotImplementedError


def csrf_of(secret: str) -> str:
    """The CSRF token of a session, derived from its cookie: for `X-CSRF-Token` or the form field `csrf`."""
    raise NotImplementedError


def token_principal(tx: Connection, token: str, now_ms: int) -> Principal | None:
    """Who a bearer token stands for, None when it is unknown, expired or revoked."""
    raise NotImplementedError
