"""Signing in by the identity provider: from a browser that sets out to a session, and who an account is.

Owns the sign-ins that are at the provider just now. Each is begun in one browser, used once, and over after ten
minutes. Nobody becomes a user by it: an account is linked by an administrator, or at its first sign-in by a claim.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud import metrics
from cloud.errors import NotSignedIn, TooManyTries
from cloud.org import audit, service
from cloud.org.keys import hash_of
from cloud.org.rules import SYSTEM, Role
from cloud.org.store import oidc_logins, users
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.config import OidcConfig
    from cloud.db import Database
    from cloud.org.oidc import Provider

AWAY_MS: Final = 600_000
"""How long one may stay at the provider."""
MAX_AWAY: Final = 10_000
"""Sign-ins under way at a time: what a flood of them may write."""


class NotLinked(NotSignedIn):
    """The provider vouches for an account that no user is linked to. subject: what an administrator would enter."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(f"no user is linked to {subject}")


class Answer(NamedTuple):
    """With what the browser comes back. cookie: what it was given when it set out."""

    state: str
    code: str
    cookie: str
    issuer: str = ""
    error: str = ""


def begin(db: Database, provider: Provider, back: str, now_ms: int) -> tuple[str, str]:
    """Where to send a browser, and the cookie that it brings back. Raises Unavailable, TooManyTries."""
    state, nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    way = provider.way(state, nonce, verifier, now_ms)
    with db.begin() as tx:
        tx.execute(oidc_logins.delete().where(oidc_logins.c.created_at <= now_ms - AWAY_MS))
        if tx.execute(sa.select(sa.func.count()).select_from(oidc_logins)).scalar_one() >= MAX_AWAY:
            raise TooManyTries("too many sign-ins are under way", 60)
        values = {"state": hash_of(state), "nonce": nonce, "verifier": verifier, "back": clean(back, 2000)}
        tx.execute(oidc_logins.insert().values(**values, created_at=now_ms))
    return way, state


def finish(
    db: Database, provider: Provider, answer: Answer, *, address: str, now_ms: int, session_ms: int
) -> tuple[service.Session, str]:
    """The session of who comes back, and the page they wanted. Raises NotSignedIn, NotLinked, Unavailable."""
    try:
        away = _return(db, provider, answer, now_ms)
        claims = provider.claims(provider.exchange(answer.code, away.verifier, now_ms), away.nonce, now_ms)
        with db.begin() as tx:
            user = _user_of(tx, provider.config, claims, now_ms)
            session = service.begin_session(
                tx, user, address=address, now_ms=now_ms, session_ms=session_ms, how="oidc"
            )  # fmt: skip
    except NotSignedIn as e:
        metrics.SIGN_INS.labels("refused").inc()
        with db.begin() as tx:
            audit.record(tx, SYSTEM, "sign-in.refused", "oidc", at=now_ms, detail=clean(f"{address} {e}", 500))
        raise
    metrics.SIGN_INS.labels("ok").inc()
    return session, away.back


def _return(db: Database, provider: Provider, answer: Answer, now_ms: int) -> Row[Any]:
    """The sign-in that an answer belongs to; it is used up. Raises NotSignedIn."""
    if not answer.cookie or not hmac.compare_digest(answer.cookie.encode(), answer.state.encode("utf-8", "replace")):
        raise NotSignedIn("the sign-in was not begun in this browser")
    mine = (oidc_logins.c.state == hash_of(answer.state), oidc_logins.c.created_at > now_ms - AWAY_MS)
    with db.begin() as tx:
        taken = oidc_logins.delete().where(*mine)
        away = tx.execute(taken.returning(oidc_logins)).first()
    if away is None:
        raise NotSignedIn("the sign-in is over or was used already")
    if answer.issuer and answer.issuer != provider.config.issuer:
        raise NotSignedIn("another identity provider answered")
    if answer.error or not answer.code:
        raise NotSignedIn(f"the identity provider refused: {clean(answer.error, 100) or 'no code'}")
    return away


def _user_of(tx: Connection, config: OidcConfig, claims: dict[str, Any], now_ms: int) -> Row[Any]:
    """The user that an account signs in as. Raises NotLinked, NotSignedIn."""
    subject = clean(f"{config.issuer}|{claims['sub']}", 255)
    user = tx.execute(sa.select(users).where(users.c.subject == subject)).first()
    if user is None:
        user = _by_claim(tx, config, claims)
        if user is None:
            raise NotLinked(subject)
        tx.execute(users.update().where(users.c.id == user.id).values(subject=subject))
        audit.record(tx, SYSTEM, "user.link", f"user/{user.name}", at=now_ms, detail=subject)
    if user.disabled_at is not None:
        raise NotSignedIn(f"user {user.name} is disabled")
    return user


def _by_claim(tx: Connection, config: OidcConfig, claims: dict[str, Any]) -> Row[Any] | None:
    """The user whom the configured claim links: by `claim:value` as subject, else by name, but no administrator."""
    value = claims.get(config.claim) if config.claim else None
    if (
        not isinstance(value, str)
        or not value
        or (config.claim == "email" and claims.get("email_verified") is not True)
    ):
        return None
    foreseen = tx.execute(
        sa.select(users).where(users.c.subject == clean(f"{config.claim}:{value}", 255)).with_for_update()
    ).first()
    if foreseen is not None:
        return foreseen
    named = (users.c.name == value, users.c.subject.is_(None), users.c.role != Role.ADMINISTRATOR.value)
    return tx.execute(sa.select(users).where(*named).with_for_update()).first()
