"""What other folders may do with users: sign in, find out who asks; and what `accounts` does for administrators."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from cloud import metrics
from cloud.errors import NotSignedIn, TooManyTries
from cloud.org import audit
from cloud.org.account_models import TokenView, UserView
from cloud.org.accounts import (
    add_token,
    add_user,
    change_user,
    disable_user,
    find_token,
    find_user,
    get_user,
    list_tokens,
    list_users,
    page_tokens,
    page_users,
    reset_password,
    revoke_token,
    revoke_token_id,
    same_account,
    user_names,
)
from cloud.org.keys import NOBODY, hash_of, new_password, new_secret, right
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.org.store import sessions, tokens, tries, users
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.db import Database

__all__ = [
    "Session", "Throttle", "TokenView", "UserView", "add_token", "add_user", "begin_session", "change_user", "csrf_of",
    "disable_user", "find_token", "find_user", "get_user", "list_tokens", "list_users", "new_password",
    "page_tokens", "page_users",
    "reset_password", "revoke_token", "revoke_token_id", "same_account", "session_principal", "sign_in", "sign_out",
    "token_principal", "user_names",
]  # fmt: skip

TRIES_LOCK: Final = 0x50617472
"""First half of the PostgreSQL advisory lock under which the tries of one account and address are counted."""


class Session(msgspec.Struct, frozen=True):
    """A fresh sign-in. secret: the cookie's value, shown nowhere else. csrf: for unsafe requests of this session."""

    principal: Principal
    secret: str
    csrf: str
    expires_at: int


class Throttle(msgspec.Struct, frozen=True):
    """How many failed tries an account may have from one address in a window, and how long a session lasts."""

    tries: int = 10
    window_ms: int = 900_000
    session_ms: int = 12 * 3_600_000


def csrf_of(secret: str) -> str:
    """The CSRF token of a session, derived from its cookie: for `X-CSRF-Token` or the form field `csrf`."""
    return hash_of("csrf:" + secret)


def sign_in(
    db: Database, name: str, password: str, *, address: str, now_ms: int, throttle: Throttle | None = None
) -> Session:
    """Check a password and begin a session. Raises NotSignedIn, TooManyTries.

    The try is counted before the password is looked at, so tries at the same moment cannot slip through together; a
    right password takes its count back. Only tries from this address count: nobody can lock out another address.
    """
    throttle = throttle or Throttle()
    name, address = clean(name, 64), clean(address, 64)
    with db.begin() as tx:
        mine = _count_try(tx, name, address, now_ms, throttle)
        user = tx.execute(sa.select(users).where(users.c.name == name)).first()
    if not right(user.password if user else NOBODY, password) or user is None or user.disabled_at is not None:
        metrics.SIGN_INS.labels("refused").inc()
        with db.begin() as tx:
            audit.record(tx, SYSTEM, "sign-in.refused", f"user/{name}", at=now_ms, detail=address)
        raise NotSignedIn("wrong user or password")
    with db.begin() as tx:
        tx.execute(tries.delete().where(tries.c.account == name, tries.c.address == address, tries.c.id <= mine))
        session = begin_session(tx, user, address=address, now_ms=now_ms, session_ms=throttle.session_ms)
    metrics.SIGN_INS.labels("ok").inc()
    return session


def begin_session(
    tx: Connection, user: Row[Any], *, address: str, now_ms: int, session_ms: int, how: str = ""
) -> Session:  # fmt: skip
    """Sign a user in whose right to be it is proven. user: a row of `users`. how: by what, beside the password."""
    secret = new_secret()
    principal = Principal("user", user.id, user.name, Role(user.role), user.node)
    expires_at = now_ms + session_ms
    tx.execute(sessions.delete().where(sessions.c.expires_at <= now_ms))
    values = {"hash": hash_of(secret), "user": user.id, "created_at": now_ms, "expires_at": expires_at}
    tx.execute(sessions.insert().values(**values, address=clean(address, 64)))
    told = " ".join(filter(None, (clean(address, 64), how)))
    audit.record(tx, principal, "sign-in", f"user/{user.name}", at=now_ms, detail=told)
    return Session(principal, secret, csrf_of(secret), expires_at)


def _count_try(tx: Connection, name: str, address: str, now_ms: int, throttle: Throttle) -> int:
    since = now_ms - throttle.window_ms
    if tx.dialect.name == "postgresql":
        # Tries at the same moment must see each other; SQLite writes one at a time anyway.
        one = zlib.crc32(f"{name}\0{address}".encode()) - 2**31
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(TRIES_LOCK, one)))
    tx.execute(tries.delete().where(tries.c.at <= since))
    put = tries.insert().values(account=name, address=address, at=now_ms).returning(tries.c.id)
    mine = int(tx.execute(put).scalar_one())
    same = (tries.c.account == name, tries.c.address == address)
    count, oldest = tx.execute(sa.select(sa.func.count(), sa.func.min(tries.c.at)).where(*same)).one()
    if count > throttle.tries:
        metrics.SIGN_INS.labels("throttled").inc()
        wait_s = max(1, (int(oldest) - since + 999) // 1000)
        raise TooManyTries(f"more than {throttle.tries} tries; again in {wait_s} s", wait_s)
    return mine


def sign_out(tx: Connection, secret: str, now_ms: int) -> None:
    """End the session of a cookie; no error when there is none."""
    who = session_principal(tx, secret, now_ms)
    tx.execute(sessions.delete().where(sessions.c.hash == hash_of(secret)))
    if who:
        audit.record(tx, who, "sign-out", f"user/{who.name}", at=now_ms)


def session_principal(tx: Connection, secret: str, now_ms: int) -> Principal | None:
    """Who a cookie stands for, None when it ended, was revoked, or its user was disabled."""
    wanted = sa.select(users.c.id, users.c.name, users.c.role, users.c.node).join(
        sessions, sessions.c.user == users.c.id
    )
    mine = (sessions.c.hash == hash_of(secret), sessions.c.expires_at > now_ms, users.c.disabled_at.is_(None))
    row = tx.execute(wanted.where(*mine)).first()
    return Principal("user", row.id, row.name, Role(row.role), row.node) if row else None


def token_principal(tx: Connection, token: str, now_ms: int) -> Principal | None:
    """Who a bearer token stands for, None when it is unknown, expired or revoked."""
    alive = sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now_ms)
    mine = (tokens.c.hash == hash_of(token), tokens.c.revoked_at.is_(None), alive)
    row = tx.execute(sa.select(tokens).where(*mine)).first()
    return Principal("token", row.id, row.name, Role(row.role), row.node, row.owner or "") if row else None
