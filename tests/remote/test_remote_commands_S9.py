"""Commands as the cloud keeps them: asked in scope, answered once, expired, foreign, on record (S9)."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from cloud import timers
from cloud.devices.remote import rules, service
from cloud.devices.remote.rules import Phase
from cloud.errors import Forbidden, Invalid, NotFound, TooManyTries
from cloud.ingest import outgoing
from cloud.org import audit
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from firmware_specs.errors import PackError
from firmware_specs.wire_fleet import Command, Result, ResultPhase, decode, encode
from tests.cloud.cloud_support import NOW, know

if TYPE_CHECKING:
    from cloud.db import Database
    from tests.cloud.cloud_support import Served

TECHNICIAN = Principal("user", 7, "tech", Role.TECHNICIAN, ROOT)


def ask(db: Database, kind: str = "check", at: int = NOW, ttl_s: int = 60, **arguments: str) -> str:
    with db.begin() as tx:
        return service.send(tx, TECHNICIAN, "gw-1", kind, arguments, at, ttl_s).id


def told(db: Database, command: str, phase: ResultPhase, part: int = 0, text: str = "", **more: str) -> None:
    gateway = more.pop("gateway", "gw-1")
    with db.begin() as tx:
        result = Result(command, phase, part, text, more.get("reason", ""), NOW)
        service.taken(tx, gateway, command, encode(result), NOW)


def seen(db: Database, command: str) -> tuple[Phase, list[str], str]:
    with db.read() as tx:
        view = service.get(tx, TECHNICIAN, command)
    return view.phase, list(view.parts), view.reason


def recorded(db: Database) -> list[str]:
    with db.read() as tx:
        return list(tx.execute(sa.select(audit.audit.c.action).order_by(audit.audit.c.id)).scalars())


def test_a_command_is_sent_once_and_its_answer_kept_S9(db: Database) -> None:
    know(db, "gw-1")
    command = ask(db)
    with db.read() as tx:
        (waiting,) = outgoing.waiting(tx)
    sent = decode(waiting.payload, Command)
    assert (waiting.rest, sent.id, sent.gateway, sent.expires_ms) == (
        f"command/{command}",
        command,
        "gw-1",
        NOW + 60_000,
    )
    told(db, command, ResultPhase.RUNNING)
    for _ in range(2):  # what comes again changes nothing
        told(db, command, ResultPhase.RUNNING, 0, "one")
        told(db, command, ResultPhase.RUNNING, 1, "two")
    assert seen(db, command) == (Phase.RUNNING, ["one", "two"], "")
    told(db, command, ResultPhase.DONE, 2)
    told(db, command, ResultPhase.FAILED, 3, "late", reason="no")
    assert seen(db, command) == (Phase.DONE, ["one", "two"], "")
    with db.read() as tx:
        assert [each.payload for each in outgoing.waiting(tx)] == [b""]
    assert recorded(db)[-2:] == ["remote.check", "remote.done"]


def test_an_expired_command_is_taken_back_and_on_record_S9(db: Database) -> None:
    know(db, "gw-1")
    silent, begun = ask(db), ask(db)
    told(db, begun, ResultPhase.RUNNING)
    with db.begin() as tx:
        timers.tick(tx, NOW + 60_000 + rules.GRACE_MS)
    assert seen(db, silent)[0] is Phase.EXPIRED
    assert seen(db, begun)[0] is Phase.RUNNING
    with db.begin() as tx:
        timers.tick(tx, NOW + rules.run_ms("check"))
    assert seen(db, begun)[0] is Phase.FAILED
    assert {"remote.expired", "remote.failed"} <= set(recorded(db))


def test_a_foreign_answer_is_refused_and_on_record_once_S9(db: Database) -> None:
    know(db, "gw-1", "gw-2")
    command = ask(db)
    with db.begin() as tx:
        for _ in range(2):
            with pytest.raises(PackError, match="another gateway's"):
                service.taken(tx, "gw-2", command, encode(Result(command, ResultPhase.DONE)), NOW)
    with db.begin() as tx, pytest.raises(PackError, match="no command"):
        service.taken(tx, "gw-2", "nobodys", encode(Result("nobodys", ResultPhase.DONE)), NOW)
    with db.begin() as tx, pytest.raises(PackError, match="name two commands"):
        service.taken(tx, "gw-1", "other", encode(Result(command, ResultPhase.DONE)), NOW)
    assert seen(db, command)[0] is Phase.WAITING
    assert recorded(db).count("remote.foreign") == 1


def test_who_may_not_or_is_elsewhere_asks_nothing_S4(db: Database) -> None:
    know(db, "gw-1", node="/3/")
    elsewhere = Principal("user", 8, "far", Role.TECHNICIAN, "/4/")
    dispatcher = Principal("user", 9, "desk", Role.DISPATCHER, ROOT)
    command = ask(db)
    with db.begin() as tx:
        with pytest.raises(NotFound):
            service.send(tx, elsewhere, "gw-1", "check", {}, NOW)
        with pytest.raises(NotFound):
            service.get(tx, elsewhere, command)
        with pytest.raises(Forbidden):
            service.send(tx, dispatcher, "gw-1", "check", {}, NOW)
        with pytest.raises(Invalid, match="from 0 to 600"):
            service.send(tx, TECHNICIAN, "gw-1", "log-tail", {"follow_s": "601"}, NOW)
        for _ in range(rules.MAX_OPEN - 1):
            service.send(tx, TECHNICIAN, "gw-1", "check", {}, NOW)
        with pytest.raises(TooManyTries):
            service.send(tx, TECHNICIAN, "gw-1", "check", {}, NOW)


def test_a_bundle_is_whole_or_nothing_and_for_who_asked_P7(db: Database) -> None:
    know(db, "gw-1")
    data = b"PK" + bytes(range(256)) * 20
    texts = [base64.b64encode(data).decode()[start : start + 4000] for start in range(0, 8000, 4000)]
    good = f"sha256:{hashlib.sha256(data).hexdigest()}"
    whole, cut, damaged = (ask(db, "diagnostics") for _ in range(3))
    for command, parts, reason in ((whole, (0, 1), good), (cut, (1,), good), (damaged, (0, 1), "sha256:00")):
        for part in parts:
            told(db, command, ResultPhase.RUNNING, part, texts[part])
        told(db, command, ResultPhase.DONE, 2, reason=reason)
    assert [seen(db, each)[0] for each in (whole, cut, damaged)] == [Phase.DONE, Phase.FAILED, Phase.FAILED]
    other = Principal("user", 8, "other", Role.TECHNICIAN, ROOT)
    with db.begin() as tx:
        view = service.get(tx, other, whole)
        assert view.bundle
        assert (view.bundle.size, list(view.parts)) == (len(data), [])
        assert service.download(tx, TECHNICIAN, whole, NOW) == service.download(tx, SYSTEM, whole, NOW) == data
        with pytest.raises(Forbidden):
            service.download(tx, other, whole, NOW)
        with pytest.raises(NotFound):
            service.download(tx, TECHNICIAN, cut, NOW)
    with db.begin() as tx:
        timers.tick(tx, NOW + rules.KEPT_MS)
    with db.begin() as tx, pytest.raises(NotFound):
        service.download(tx, TECHNICIAN, whole, NOW)
    assert recorded(db).count("remote.download") == 2


def test_an_answer_without_end_is_cut_off(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    know(db, "gw-1")
    monkeypatch.setattr("cloud.devices.remote.life.MAX_TEXT", 10)
    command = ask(db, "log-tail")
    told(db, command, ResultPhase.RUNNING, 0, "123456")
    told(db, command, ResultPhase.RUNNING, 1, "123456")
    assert seen(db, command) == (Phase.FAILED, ["123456"], "the answer is too long")


@given(kind=st.text(max_size=20), arguments=st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=4))
def test_nothing_that_is_not_listed_may_be_asked_S9(kind: str, arguments: dict[str, str]) -> None:
    if not rules.fault(kind, arguments):
        assert kind in rules.KINDS
        assert arguments.keys() <= rules.KINDS[kind].arguments.keys()


def test_the_api_asks_lists_and_pages(service: Served) -> None:
    know(service.db, "gw-1")
    with service.client(Role.TECHNICIAN) as client, service.client(Role.AUDITOR) as auditor:
        sent = [client.post("/gateways/gw-1/commands", json={"kind": "check"}).json()["id"] for _ in range(3)]
        listed = client.get("/gateways/gw-1/commands", params={"limit": 2}).json()
        rest = client.get("/gateways/gw-1/commands", params={"limit": 2, "cursor": listed["next_cursor"]}).json()
        assert {each["id"] for each in listed["items"] + rest["items"]} == set(sent)
        assert client.get(f"/commands/{sent[0]}").json()["phase"] == "waiting"
        assert client.get("/commands/nothing").status_code == 404
        assert client.post("/gateways/gw-9/commands", json={"kind": "check"}).status_code == 404
        assert client.post("/gateways/gw-1/commands", json={"kind": "shell"}).status_code == 422
        assert client.get(f"/commands/{sent[0]}/file").status_code == 404
        assert auditor.get(f"/commands/{sent[0]}").status_code == 403
