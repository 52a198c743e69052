"""Sign-in by an identity provider: the way there and back, what is not believed, and who an account is (S7)."""

from __future__ import annotations

import base64
import json
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import sqlalchemy as sa
from httpx import Client

from cloud.config import Config
from cloud.org import oidc, service
from cloud.org.audit import audit
from cloud.org.auth import COOKIE
from cloud.org.rules import SYSTEM, Role
from cloud.org.store import oidc_logins
from tests.cloud.cloud_support import NOW, Served, serving
from tests.cloud.oidc_provider import CLIENT, SECRET, Idp, new_key, provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from httpx import Response


CONSOLE = "http://127.0.0.1:1"
"""Where people reach the console; the tests carry the addresses over to the port that was free."""


@pytest.fixture(scope="module")
def idp() -> Iterator[Idp]:
    with provider() as running:
        yield running


@pytest.fixture(autouse=True)
def straight(idp: Idp) -> None:
    """Each test begins with a provider that says what it should."""
    fresh = Idp(url=idp.url, keys={"k1": idp.keys.get("k1") or new_key()})
    idp.__dict__.update(fresh.__dict__)
    oidc.provider_of.cache_clear()


def tables(tmp_path: Path, idp: Idp, **more: object) -> dict[str, dict[str, Any]]:
    """The configuration of a service that knows the provider."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    table = {"issuer": idp.url, "client_id": CLIENT, "client_secret_file": str(secret), "title": "City ID", **more}
    return {"http": {"public_url": CONSOLE}, "oidc": table}


def link(served: Served, idp: Idp) -> None:
    """A user whom an administrator linked to account u-7."""
    with served.db.begin() as tx:
        service.add_user(tx, SYSTEM, "li", Role.DISPATCHER, NOW)
        service.change_user(tx, SYSTEM, "li", {"subject": f"{idp.url}|u-7"}, NOW)


@contextmanager
def console(tmp_path: Path, template: Path, idp: Idp, **more: object) -> Iterator[Served]:
    """A service on a fresh SQLite file."""
    shutil.copy(template, tmp_path / template.name)
    with serving(Config.model_validate({"data_dir": tmp_path, **tables(tmp_path, idp, **more)})) as served:
        yield served


@pytest.fixture
def web(sqlite_template: Path, tmp_path: Path, idp: Idp) -> Iterator[Served]:
    with console(tmp_path, sqlite_template, idp) as served:
        link(served, idp)
        yield served


def browser(web: Served) -> Client:
    return Client(base_url=web.url, timeout=20, headers={"Accept": "text/html"})


def there(client: Client, next_: str = "/alarms") -> Response:
    """Set out, and sign in at the provider: the answer that sends the browser back."""
    out = client.get("/sign-in/oidc", params={"next": next_})
    assert out.status_code == 303, out.text
    with Client(timeout=20) as at_provider:
        return at_provider.get(out.headers["location"])


def back(client: Client, answer: Response, **changes: str) -> Response:
    """Follow the provider's redirect, at the port that was free."""
    parts = urlsplit(answer.headers["location"])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{CONSOLE}/sign-in/oidc/callback"
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changes
    return client.get(parts.path, params=query)


def refused(web: Served, answer: Response, because: str) -> None:
    """No session, nothing told beyond that, and the reason in the audit chain."""
    assert answer.status_code == 401, answer.text
    assert COOKIE not in answer.cookies
    with web.db.read() as tx:
        told = tx.execute(
            sa.select(audit.c.detail).where(audit.c.action == "sign-in.refused").order_by(audit.c.id.desc())
        )
        assert because in str(told.scalars().first())
    assert because not in answer.text


def test_an_account_that_is_linked_signs_in_and_goes_on(
    serve: Callable[..., AbstractContextManager[Served]], tmp_path: Path, idp: Idp
) -> None:
    with serve(**tables(tmp_path, idp)) as web:
        link(web, idp)
        signs_in(web, idp)


def signs_in(web: Served, idp: Idp) -> None:
    with browser(web) as client:
        assert "City ID" in client.get("/sign-in").text
        answer = back(client, there(client))
        assert (answer.status_code, answer.headers["location"]) == (303, "/alarms")
        assert client.get("/api/v1/session").json()["name"] == "li"
        assert idp.asked.count("/.well-known/openid-configuration") == 1
    with web.db.read() as tx:
        told = tx.execute(sa.select(audit.c.detail).where(audit.c.action == "sign-in")).scalars().all()
    assert told == ["127.0.0.1 oidc"]


def bent(idp: Idp, **claims: object) -> None:
    idp.bend = claims


def alg_none(claims: dict[str, Any]) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


FOREIGN = new_key()
NOW_S = int(time.time())
BENT: list[tuple[str, Callable[[Idp], None], str]] = [
    ("nonce", lambda idp: bent(idp, nonce="other"), "answers another sign-in"),
    ("no nonce", lambda idp: bent(idp, nonce=None), 'missing the "nonce" claim'),
    ("audience", lambda idp: bent(idp, aud="another-service"), "audience doesn't match"),
    ("several", lambda idp: bent(idp, aud=[CLIENT, "other"]), "was given to another party"),
    ("party", lambda idp: bent(idp, azp="other"), "was given to another party"),
    ("issuer", lambda idp: bent(idp, iss="https://evil.example"), "invalid issuer"),
    ("expired", lambda idp: bent(idp, exp=NOW_S - 120), "has expired"),
    ("no expiry", lambda idp: bent(idp, exp=None), 'missing the "exp" claim'),
    ("odd expiry", lambda idp: bent(idp, exp="tomorrow"), "exp is no time"),
    ("future", lambda idp: bent(idp, iat=NOW_S + 3600), "is from the future"),
    ("nobody", lambda idp: bent(idp, sub=""), "names nobody"),
    ("none", lambda idp: setattr(idp, "sign", alg_none), "an algorithm that proves nothing"),
    (
        "shared secret",
        lambda idp: setattr(idp, "sign", lambda claims: jwt.encode(claims, SECRET * 4, "HS256", headers={"kid": "k1"})),
        "an algorithm that proves nothing",
    ),
    (
        "foreign key",
        lambda idp: setattr(idp, "sign", lambda claims: jwt.encode(claims, FOREIGN, "RS256", headers={"kid": "k1"})),
        "signature verification failed",
    ),
    (
        "unknown key",
        lambda idp: setattr(idp, "sign", lambda claims: jwt.encode(claims, FOREIGN, "RS256", headers={"kid": "k9"})),
        "a key that the identity provider does not publish",
    ),
    ("garbage", lambda idp: setattr(idp, "sign", lambda _: "a.b"), "ID token"),
]


def test_what_is_not_believed_S7(web: Served, idp: Idp) -> None:
    for name, bend, because in BENT:
        idp.bend, idp.sign = {}, None
        bend(idp)
        with browser(web) as client:
            refused(web, back(client, there(client)), because)
            assert client.get("/api/v1/session").status_code == 401, name
    idp.bend, idp.sign = {}, None
    with browser(web) as client:
        assert back(client, there(client)).status_code == 303, "afterwards it is believed again"


def test_an_answer_counts_once_and_in_the_browser_that_set_out_S7(web: Served) -> None:
    with browser(web) as client, browser(web) as other:
        answer = there(client)
        refused(web, back(other, answer), "not begun in this browser")
        cookie = client.cookies["patrolgrid_oidc"]
        refused(web, back(client, answer, state="guessed"), "not begun in this browser")
        client.cookies.set("patrolgrid_oidc", cookie, path="/sign-in/oidc")
        assert back(client, answer).status_code == 303
        client.cookies.clear()
        client.cookies.set("patrolgrid_oidc", cookie, path="/sign-in/oidc")
        refused(web, back(client, answer), "is over or was used already")
        refused(web, back(client, there(client), code="stolen"), "the identity provider refused the code")
        refused(web, back(client, there(client), iss="https://evil.example"), "another identity provider answered")
        refused(web, back(client, there(client), error="access_denied"), "refused: access_denied")


def test_a_sign_in_is_over_after_ten_minutes(web: Served) -> None:
    with browser(web) as client:
        answer = there(client)
        with web.db.begin() as tx:
            tx.execute(oidc_logins.update().values(created_at=oidc_logins.c.created_at - 600_001))
        refused(web, back(client, answer), "is over or was used already")


def test_nobody_becomes_a_user_by_signing_in(web: Served, idp: Idp) -> None:
    idp.account = {"sub": "u-8", "preferred_username": "li", "email": "li@example.org", "email_verified": True}
    with browser(web) as client:
        answer = back(client, there(client))
        assert answer.status_code == 401
        assert f"{idp.url}|u-8" in answer.text, "what an administrator would enter"
        idp.account = {"sub": "u-7"}
        with web.db.begin() as tx:
            assert [user.name for user in service.list_users(tx)] == ["li"]
            service.disable_user(tx, SYSTEM, "li", NOW)
        refused(web, back(client, there(client)), "user li is disabled")


class Linking(NamedTuple):
    """A claim that is configured, what the provider says, a user's subject and role, and whether it comes together."""

    claim: str
    account: dict[str, Any]
    subject: str | None
    role: Role
    signed_in: bool


@pytest.mark.parametrize(
    "case",
    [
        Linking("preferred_username", {"preferred_username": "wu"}, None, Role.PROPERTY, True),
        Linking("preferred_username", {"preferred_username": "wu"}, None, Role.ADMINISTRATOR, False),
        Linking("preferred_username", {"preferred_username": "wu"}, "https://id.example|1", Role.PROPERTY, False),
        Linking("preferred_username", {"preferred_username": ["wu"]}, None, Role.PROPERTY, False),
        Linking(
            "email", {"email": "wu@a.example", "email_verified": True}, "email:wu@a.example", Role.ADMINISTRATOR, True
        ),
        Linking(
            "email", {"email": "wu@a.example", "email_verified": False}, "email:wu@a.example", Role.PROPERTY, False
        ),
        Linking("email", {"email": "wu@a.example"}, "email:wu@a.example", Role.PROPERTY, False),
    ],
)
def test_a_claim_links_an_account_at_its_first_sign_in(
    sqlite_template: Path, tmp_path: Path, idp: Idp, case: Linking
) -> None:
    idp.account = {"sub": "u-9", **case.account}
    with (
        console(tmp_path, sqlite_template, idp, claim=case.claim, scopes=["openid", "email"]) as web,
        browser(web) as client,
    ):
        with web.db.begin() as tx:
            service.add_user(tx, SYSTEM, "wu", case.role, NOW)
            service.change_user(tx, SYSTEM, "wu", {"subject": case.subject}, NOW)
        assert back(client, there(client)).status_code == (303 if case.signed_in else 401)
        with web.db.read() as tx:
            assert (service.get_user(tx, SYSTEM, "wu").subject == f"{idp.url}|u-9") is case.signed_in


def test_a_new_key_of_the_provider_is_found_S7(web: Served, idp: Idp) -> None:
    known = oidc.provider_of(web.app.state.patrol.config.oidc, CONSOLE)
    with browser(web) as client:
        assert back(client, there(client)).status_code == 303
        idp.keys["k2"], idp.kid = new_key(), "k2"
        assert back(client, there(client)).status_code == 401, "not asked again within a minute"
        known._keys = (0, known._keys[1]) if known._keys else None
        assert back(client, there(client)).status_code == 303
    assert idp.asked.count("/keys") == 2


@pytest.mark.parametrize(
    "publish",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": None},
        {"filler": "x" * 1_100_000},
    ],
)
def test_a_provider_that_is_not_in_order_is_not_used(web: Served, idp: Idp, publish: dict[str, Any]) -> None:
    idp.publish = publish
    with browser(web) as client:
        answer = client.get("/sign-in/oidc")
    assert (answer.status_code, "身份服务" in answer.text) == (503, True)


def test_without_a_provider_there_is_no_way_to_one(sqlite_template: Path, tmp_path: Path) -> None:
    shutil.copy(sqlite_template, tmp_path / sqlite_template.name)
    with serving(Config.model_validate({"data_dir": tmp_path})) as web, browser(web) as client:
        assert client.get("/sign-in/oidc").status_code == 404
        assert "/sign-in/oidc" not in client.get("/sign-in").text
    with pytest.raises(ValueError, match=r"http\.public_url is missing"):
        Config.model_validate({"data_dir": tmp_path, "oidc": {"issuer": "https://a.example", "client_id": "x"}})
