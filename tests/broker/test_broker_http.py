"""The other way: a broker that asks over HTTP, with a token of its own; it is told what mosquitto's file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa

from cloud.devices import service as devices
from cloud.devices.broker import rules
from cloud.devices.broker.rules import Action
from cloud.devices.broker.service import cuts_at, forget_cuts, note_cut
from cloud.devices.enrolment.store import certificates
from cloud.org.rules import SYSTEM
from cloud.state import now_ms
from firmware_specs.wire import topic
from tests.cloud.cloud_support import know

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cloud.db import Database
    from tests.cloud.cloud_support import Served

HOUR_MS = 3_600_000
TOKEN = "a-token"


@pytest.fixture
def served(serve: Callable[..., AbstractContextManager[Served]], tmp_path: Path) -> Iterator[Served]:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    with serve(broker_http={"token_file": token, "cloud": ["cloud-1"]}) as made:
        yield made


def ask(served: Served, what: str, token: str = TOKEN, **body: Any) -> Any:  # noqa: ANN401 - the answer
    headers = {b"Authorization": f"Bearer {token}".encode()} if token else {}
    answer = httpx.post(f"{served.url}/api/v1/broker/{what}", json=body, headers=headers, timeout=20)
    return answer.json() if answer.status_code == 200 else answer.status_code


def issued(db: Database, gateway: str, serial: str, *, revoked: bool = False, ends: int = HOUR_MS) -> None:
    now = now_ms()
    with db.begin() as tx:
        tx.execute(
            certificates.insert().values(
                serial=serial, gateway=gateway, key="k", issued_at=now, not_before=now, not_after=now + ends, pem="",
                revoked_at=now if revoked else None, revoked_by="", reason="",
            )
        )  # fmt: skip


ALLOW = {"result": "allow", "is_superuser": False}
DENY = {"result": "deny", "is_superuser": False}
ALL = {"result": "allow", "is_superuser": True}


def test_S1_a_gateway_connects_under_its_own_name_only(served: Served) -> None:
    know(served.db, "gw-1", "gw-2")
    assert ask(served, "auth", cn="gw-1", clientid="gw-1", username="anything") == ALLOW
    assert ask(served, "auth", cn="gw-1", clientid="gw-2") == DENY
    assert ask(served, "auth", cn="gw-3", clientid="gw-3") == DENY
    assert ask(served, "auth", cn="", clientid="") == DENY
    assert ask(served, "auth", cn="gw-1/#", clientid="gw-1/#") == DENY


def test_S3_a_revoked_or_removed_gateway_is_denied(served: Served) -> None:
    know(served.db, "gw-1")
    issued(served.db, "gw-1", "a1", revoked=True)
    assert ask(served, "auth", cn="gw-1", clientid="gw-1") == DENY
    issued(served.db, "gw-1", "a2")
    assert ask(served, "auth", cn="gw-1", clientid="gw-1") == ALLOW
    with served.db.begin() as tx:
        devices.remove_gateway(tx, SYSTEM, "gw-1", now_ms())
    assert ask(served, "auth", cn="gw-1", clientid="gw-1") == DENY


def test_the_cloud_may_everything_and_no_gateway_can_be_it(served: Served) -> None:
    assert ask(served, "auth", cn="cloud-1", clientid="cloud-ingest-12") == ALL
    assert ask(served, "acl", cn="cloud-1", action="subscribe", topic="#") == ALLOW
    know(served.db, "cloud-1")
    assert ask(served, "auth", cn="cloud-1", clientid="cloud-1") == DENY
    assert ask(served, "acl", cn="cloud-1", action="subscribe", topic="#") == DENY


@pytest.mark.parametrize("action", list(Action))
def test_S1_topics_are_decided_by_the_same_rules(served: Served, action: Action) -> None:
    for victim in ("gw-1", "gw-2"):
        for kind in ("up/alarms", "status", "reported/config", "ack", "desired/config", "command/+", "#"):
            wanted = topic(victim, kind)
            allowed = rules.may("gw-1", action, wanted)
            said = ask(served, "acl", cn="gw-1", action=action.value, topic=wanted)
            assert said == (ALLOW if allowed else DENY)


def test_whoever_has_not_the_brokers_token_is_told_nothing(
    served: Served, serve: Callable[..., AbstractContextManager[Served]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for token in ("", "wrong", "a-tokén", served.token()):
        assert ask(served, "auth", token, cn="gw-1", clientid="gw-1") == 401
        assert ask(served, "acl", token, cn="gw-1", action="publish", topic="x") == 401
    monkeypatch.delenv("PATROL_BROKER_HTTP_TOKEN", raising=False)
    with serve() as without:
        for token in ("", "None"):
            assert ask(without, "auth", token, cn="gw-1", clientid="gw-1") == 401


def cut(db: Database, at: int) -> dict[str, list[str]]:
    """What a pass of the keeper does about sessions: whose were ended."""
    with db.begin() as tx:
        found = cuts_at(tx, at)
        forget_cuts(tx, found.over)
        for gateway, serials in found.due.items():
            note_cut(tx, gateway, serials, at)
    return found.due


def test_S3_each_revoked_certificate_is_cut_twice_and_then_done(db: Database) -> None:
    know(db, "gw-1", "gw-2")
    issued(db, "gw-1", "a1", revoked=True)
    issued(db, "gw-1", "a2", revoked=True)
    issued(db, "gw-2", "b1")
    issued(db, "gw-2", "b2", revoked=True, ends=-1)  # it has run out by itself
    now = now_ms()

    assert cut(db, now) == {"gw-1": ["a1", "a2"]}
    assert cut(db, now + rules.CUT_AGAIN_MS - 1) == {}
    assert cut(db, now + rules.CUT_AGAIN_MS) == {"gw-1": ["a1", "a2"]}
    assert cut(db, now + HOUR_MS // 2) == {}
    with db.read() as tx:
        assert tx.execute(sa.text("SELECT count(*) FROM broker_cuts")).scalar() == 2


def test_S3_a_gateway_that_is_removed_a_second_time_has_its_session_ended_again(db: Database) -> None:
    issued(db, "gw-1", "a1")
    now = now_ms()

    later = now + rules.CUT_AGAIN_MS
    assert [cut(db, at) for at in (now, later, later + 1)] == [{"gw-1": ["a1"]}, {"gw-1": ["a1"]}, {}]
    know(db, "gw-1")
    assert cut(db, later + 2) == {}
    with db.begin() as tx:
        devices.remove_gateway(tx, SYSTEM, "gw-1", later)
    assert cut(db, later + 3) == {"gw-1": ["a1"]}
    # A clock that was ahead when the session was ended does not put off the second time.
    assert cut(db, now) == {"gw-1": ["a1"]}
    with db.read() as tx:
        assert cuts_at(tx, now + 365 * 24 * HOUR_MS).over == ["a1"]  # it has run out: nothing is kept of it
