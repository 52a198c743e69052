"""What other folders may do with users: sign in, find out who asks, keep tokens.

Passwords are hashed with Argon2id. Cookies and tokens carry 256 random bits; only their SHA-256 is stored.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import zlib
from typing import TYPE_CHECKING, Final

import msgspec
import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cloud import metrics
from cloud.errors import Conflict, NotFound, NotSignedIn, TooManyTries
from cloud.org import audit
from cloud.org.rules import SYSTEM, Principal, Role, scope
from cloud.org.store import sessions, tokens, tries, users
from cloud.text import clean
from firmware_specs.readings import checked_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from cloud.db import Database

TOKEN_PREFIX: Final = "pg_"  # noqa: S105 - no secret
TRIES_LOCK: Final = 0x50617472
"""First half of the PostgreSQL advisory lock under which the tries of one account and address are counted."""
_hasher: Final = PasswordHasher()
_verifying: Final = threading.BoundedSemaphore(2)
"""Argon2 takes 64 MiB a try; a flood of sign-ins queues here instead of filling the memory."""
_NOBODY: Final = _hasher.hash(secrets.token_hex())
"""Verified when there is no such user, so that the answer takes as long."""


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


class UserView(msgspec.Struct, frozen=True):
    """A user, without the password's hash."""

    name: str
    role: Role
    node: str
    created_at: int
    disabled: bool


class TokenView(msgspec.Struct, frozen=True):
    """An API token, without its secret."""

    name: str
    role: Role
    created_at: int
    expires_at: int | None
    in_force: bool


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def csrf_of(secret: str) -> str:
    """The CSRF token of a session, derived from its cookie: for `X-CSRF-Token` or the form field `csrf`."""
    return _hash("csrf:" + secret)


def new_password() -> str:
    """20 characters of the URL-safe alphabet: 120 random bits."""
    return secrets.token_urlsafe(15)


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
    if not _right(user.password if user else _NOBODY, password) or user is None or user.disabled_at is not None:
        metrics.SIGN_INS.labels("refused").inc()
        with db.begin() as tx:
            audit.record(tx, SYSTEM, "sign-in.refused", f"user/{name}", at=now_ms, detail=address)
        raise NotSignedIn("wrong user or password")
    secret = secrets.token_urlsafe(32)
    principal = Principal("user", user.id, user.name, Role(user.role), user.node)
    expires_at = now_ms + throttle.session_ms
    with db.begin() as tx:
        tx.execute(tries.delete().where(tries.c.account == name, tries.c.address == address, tries.c.id <= mine))
        tx.execute(sessions.delete().where(sessions.c.expires_at <= now_ms))
        tx.execute(
            sessions.insert().values(
                hash=_hash(secret), user=user.id, created_at=now_ms, expires_at=expires_at, address=address
            )
        )
        audit.record(tx, principal, "sign-in", f"user/{name}", at=now_ms, detail=address)
    metrics.SIGN_INS.labels("ok").inc()
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


def _right(hashed: str, password: str) -> bool:
    with _verifying:
        try:
            return _hasher.verify(hashed, password.encode("utf-8", "replace"))
        except (VerificationError, InvalidHashError):
            return False


def sign_out(tx: Connection, secret: str, now_ms: int) -> None:
    """End the session of a cookie; no error when there is none."""
    who = session_principal(tx, secret, now_ms)
    tx.execute(sessions.delete().where(sessions.c.hash == _hash(secret)))
    if who:
        audit.record(tx, who, "sign-out", f"user/{who.name}", at=now_ms)


def session_principal(tx: Connection, secret: str, now_ms: int) -> Principal | None:
    """Who a cookie stands for, None when it ended, was revoked, or its user was disabled."""
    wanted = sa.select(users.c.id, users.c.name, users.c.role, users.c.node).join(
        sessions, sessions.c.user == users.c.id
    )
    mine = (sessions.c.hash == _hash(secret), sessions.c.expires_at > now_ms, users.c.disabled_at.is_(None))
    row = tx.execute(wanted.where(*mine)).first()
    return Principal("user", row.id, row.name, Role(row.role), row.node) if row else None


def token_principal(tx: Connection, token: str, now_ms: int) -> Principal | None:
    """Who a bearer token stands for, None when it is unknown, expired or revoked."""
    alive = sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now_ms)
    mine = (tokens.c.hash == _hash(token), tokens.c.revoked_at.is_(None), alive)
    row = tx.execute(sa.select(tokens).where(*mine)).first()
    return Principal("token", row.id, row.name, Role(row.role), row.node) if row else None


def add_user(tx: Connection, actor: Principal, name: str, role: Role, now_ms: int) -> str:
    """Make a user with a generated password, which is returned and never shown again. Raises Conflict, NameRefused."""
    checked_name("user", name)
    if tx.execute(sa.select(users.c.id).where(users.c.name == name)).first():
        raise Conflict(f"user {name}: exists already")
    password = new_password()
    tx.execute(
        users.insert().values(
            name=name, password=_hasher.hash(password), role=role.value, node=actor.node, created_at=now_ms
        )
    )
    audit.record(tx, actor, "user.add", f"user/{name}", at=now_ms, detail=role.value)
    return password


def reset_password(tx: Connection, actor: Principal, name: str, now_ms: int) -> str:
    """A new generated password; every session of the user ends. Raises NotFound."""
    user = _user_id(tx, name)
    password = new_password()
    tx.execute(users.update().where(users.c.id == user).values(password=_hasher.hash(password)))
    tx.execute(sessions.delete().where(sessions.c.user == user))
    audit.record(tx, actor, "user.password", f"user/{name}", at=now_ms)
    return password


def disable_user(tx: Connection, actor: Principal, name: str, now_ms: int) -> None:
    """The user can no longer sign in; every session ends. Raises NotFound."""
    user = _user_id(tx, name)
    tx.execute(users.update().where(users.c.id == user).values(disabled_at=now_ms))
    tx.execute(sessions.delete().where(sessions.c.user == user))
    audit.record(tx, actor, "user.disable", f"user/{name}", at=now_ms)


def _user_id(tx: Connection, name: str) -> int:
    user: int | None = tx.execute(sa.select(users.c.id).where(users.c.name == name)).scalar()
    if user is None:
        raise NotFound(f"user {name}: not known")
    return user


def find_user(tx: Connection, principal: Principal, name: str) -> int:
    """The id of a user within scope. Raises NotFound."""
    wanted = sa.select(users.c.id).where(users.c.name == name, scope(principal, users.c.node))
    user: int | None = tx.execute(wanted).scalar()
    if user is None:
        raise NotFound(f"user {name}: not known")
    return user


def user_names(tx: Connection, ids: Collection[int]) -> dict[int, str]:
    """What users are called, by id."""
    rows = tx.execute(sa.select(users.c.id, users.c.name).where(users.c.id.in_(set(ids))))
    return {row.id: row.name for row in rows}


def list_users(tx: Connection) -> list[UserView]:
    """Every user, by name."""
    return [
        UserView(row.name, Role(row.role), row.node, row.created_at, row.disabled_at is not None)
        for row in tx.execute(sa.select(users).order_by(users.c.name))
    ]


def add_token(
    tx: Connection, actor: Principal, name: str, role: Role, *, now_ms: int, expires_at: int | None = None
) -> str:
    """Make an API token, which is returned and never shown again. Raises Conflict while one of the name is in force."""
    checked_name("token", name)
    alive = sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now_ms)
    taken = sa.select(tokens.c.id).where(tokens.c.name == name, tokens.c.revoked_at.is_(None), alive)
    if tx.execute(taken).first():
        raise Conflict(f"token {name}: exists already")
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    tx.execute(
        tokens.insert().values(
            name=name, hash=_hash(token), role=role.value, node=actor.node, created_at=now_ms, expires_at=expires_at
        )
    )
    audit.record(tx, actor, "token.add", f"token/{name}", at=now_ms, detail=role.value)
    return token


def revoke_token(tx: Connection, actor: Principal, name: str, now_ms: int) -> None:
    """The token is refused from now on. Raises NotFound."""
    revoke = tokens.update().where(tokens.c.name == name, tokens.c.revoked_at.is_(None)).values(revoked_at=now_ms)
    if tx.execute(revoke.returning(tokens.c.id)).first() is None:
        raise NotFound(f"token {name}: not known")
    audit.record(tx, actor, "token.revoke", f"token/{name}", at=now_ms)


def list_tokens(tx: Connection, now_ms: int) -> list[TokenView]:
    """Every token, by name, the newest first."""
    rows = tx.execute(sa.select(tokens).order_by(tokens.c.name, tokens.c.id.desc()))
    return [
        TokenView(
            row.name, Role(row.role), row.created_at, row.expires_at,
            row.revoked_at is None and (row.expires_at is None or row.expires_at > now_ms),
        )
        for row in rows
    ]  # fmt: skip
