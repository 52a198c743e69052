"""Users, sessions, tokens and sign-in throttling (S7)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from cloud.errors import Conflict, NotFound, NotSignedIn, TooManyTries
from cloud.org import keys, service
from cloud.org.rules import PERMISSIONS, SYSTEM, Permission, Principal, Role, scope, visible
from cloud.org.store import sessions, tokens, tries, users
from tests.cloud.cloud_support import NOW, wait_for

if TYPE_CHECKING:
    from cloud.db import Database

WINDOW = 900_000


def user(db: Database, name: str = "li", role: Role = Role.DISPATCHER) -> str:
    with db.begin() as tx:
        return service.add_user(tx, SYSTEM, name, role, NOW)


def sign_in(
    db: Database, password: str, name: str = "li", address: str = "10.0.0.1", now: int = NOW
) -> service.Session:
    return service.sign_in(db, name, password, address=address, now_ms=now)


def who(db: Database, secret: str, now: int = NOW) -> Principal | None:
    with db.read() as tx:
        return service.session_principal(tx, secret, now)


def test_a_password_is_generated_and_kept_as_argon2id(db: Database) -> None:
    password = user(db)
    assert len(password) >= 20
    with db.read() as tx:
        kept = str(tx.execute(sa.select(users.c.password)).scalar())
    assert kept.startswith("$argon2id$")
    assert password not in kept
    session = sign_in(db, password)
    assert who(db, session.secret) == session.principal
    with db.read() as tx:
        assert session.secret not in str(tx.execute(sa.select(sessions.c.hash)).scalar())


def test_a_password_that_is_replaced_while_it_is_looked_at_signs_nobody_in(db: Database) -> None:
    password = user(db)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):  # every place where a password is looked at
            keys._verifying.acquire()
        try:
            trying = pool.submit(sign_in, db, password)
            wait_for(lambda: tried(db), 10, "the sign-in")
            with db.begin() as tx:
                service.reset_password(tx, SYSTEM, "li", NOW)
        finally:
            keys._verifying.release(2)
        with pytest.raises(NotSignedIn, match=r"^wrong user or password$"):
            trying.result(20)


def tried(db: Database) -> bool:
    with db.read() as tx:
        return tx.execute(sa.select(tries.c.id)).first() is not None


def test_a_wrong_password_an_unknown_and_a_disabled_user_are_told_alike(db: Database) -> None:
    password = user(db)
    for name, given in (("li", "wrong"), ("nobody", "wrong"), ("li", "")):
        with pytest.raises(NotSignedIn, match=r"^wrong user or password$"):
            sign_in(db, given, name)
    with db.begin() as tx:
        service.disable_user(tx, SYSTEM, "li", NOW)
    with pytest.raises(NotSignedIn, match=r"^wrong user or password$"):
        sign_in(db, password)


def test_ten_tries_in_15_minutes_for_each_account_and_address_S7(db: Database) -> None:
    password = user(db)
    for _ in range(10):
        with pytest.raises(NotSignedIn):
            sign_in(db, "wrong")
    with pytest.raises(TooManyTries, match="more than 10 tries; again in 900 s") as e:
        sign_in(db, password)
    assert e.value.retry_after_s == 900
    assert sign_in(db, password, address="10.0.0.2"), "another address is not locked out"
    with pytest.raises(NotSignedIn):
        sign_in(db, "wrong", "wang")
    assert sign_in(db, password, now=NOW + WINDOW), "the window ends"


def test_a_right_password_takes_the_count_back(db: Database) -> None:
    password = user(db)
    few = service.Throttle(tries=2)
    for given in ("wrong", password, "wrong", password):
        if given == password:
            assert service.sign_in(db, "li", given, address="a", now_ms=NOW, throttle=few)
        else:
            with pytest.raises(NotSignedIn):
                service.sign_in(db, "li", given, address="a", now_ms=NOW, throttle=few)


def test_tries_at_the_same_moment_do_not_slip_through_S7(db: Database) -> None:
    user(db)

    def attempt(_: int) -> type[Exception]:
        try:
            sign_in(db, "wrong")
        except (NotSignedIn, TooManyTries) as e:
            return type(e)
        raise AssertionError

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(attempt, range(16)))
    assert results.count(NotSignedIn) <= 10
    assert results.count(TooManyTries) >= 6


def test_sessions_end_by_time_sign_out_password_and_disabling(db: Database) -> None:
    password = user(db)
    session = sign_in(db, password)
    assert who(db, session.secret, session.expires_at - 1)
    assert who(db, session.secret, session.expires_at) is None
    with db.begin() as tx:
        service.sign_out(tx, session.secret, NOW)
    assert who(db, session.secret) is None
    session = sign_in(db, password)
    with db.begin() as tx:
        password = service.reset_password(tx, SYSTEM, "li", NOW)
    assert who(db, session.secret) is None
    session = sign_in(db, password)
    with db.begin() as tx:
        service.disable_user(tx, SYSTEM, "li", NOW)
    assert who(db, session.secret) is None


def test_tokens_are_hashed_expire_and_are_revoked(db: Database) -> None:
    with db.begin() as tx:
        token = service.add_token(tx, SYSTEM, "bar", Role.AUDITOR, now_ms=NOW, expires_at=NOW + 1000)
        assert token not in str(tx.execute(sa.select(tokens)).all())
        found = service.token_principal(tx, token, NOW)
        assert found == Principal("token", 1, "bar", Role.AUDITOR, "/")
        assert service.token_principal(tx, token, NOW + 1000) is None
        assert service.token_principal(tx, token + "x", NOW) is None
        service.revoke_token(tx, SYSTEM, "bar", NOW)
        assert service.token_principal(tx, token, NOW) is None


def test_names_are_taken_once(db: Database) -> None:
    user(db)
    with pytest.raises(Conflict, match="user li: exists already"):
        user(db)
    with db.begin() as tx:
        service.add_token(tx, SYSTEM, "bar", Role.AUDITOR, now_ms=NOW)
        with pytest.raises(Conflict, match="token bar: exists already"):
            service.add_token(tx, SYSTEM, "bar", Role.AUDITOR, now_ms=NOW)
        with pytest.raises(NotFound, match="user wang: not known"):
            service.disable_user(tx, SYSTEM, "wang", NOW)


def test_every_role_may_view_and_only_administrators_administer() -> None:
    assert set(PERMISSIONS) == set(Role)
    for role, may in PERMISSIONS.items():
        assert Permission.VIEW in may
        assert (Permission.ADMINISTER in may) == (role is Role.ADMINISTRATOR)


@pytest.mark.parametrize("node", ["/", "/1/", "/1/2/", "/10/", "/1_/", "/%/"])
@pytest.mark.parametrize("mine", ["/", "/1/", "/1_/", "/%/"])
def test_the_scope_of_a_query_is_the_scope_of_the_rule_S4(db: Database, mine: str, node: str) -> None:
    principal = Principal("user", 1, "li", Role.DISPATCHER, mine)
    with db.read() as tx:
        found = tx.execute(sa.select(scope(principal, sa.literal(node)))).scalar()
    assert bool(found) is visible(principal, node)
