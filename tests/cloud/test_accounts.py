"""Users and tokens under administrators: nobody reaches above or beside their own part of the tree (S4)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from cloud.errors import Conflict, Forbidden, NotFound
from cloud.org import accounts, audit, service, tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.org.tree import Kind
from tests.cloud.cloud_support import NOW, Served, wait_for, waits

if TYPE_CHECKING:
    from httpx import Client
    from sqlalchemy import Connection

    from cloud.db import Database


def grow(tx: Connection) -> tuple[str, str, str]:
    """Paths: a district, a street in it, and another district."""
    first, other = (
        tree.add_node(tx, SYSTEM, ROOT, Kind.DISTRICT, (code, code), now_ms=NOW, code=code).path for code in "AB"
    )
    street = tree.add_node(tx, SYSTEM, first, Kind.STREET, ("S", "S"), now_ms=NOW, code="S").path
    return first, street, other


def principal(tx: Connection, name: str) -> Principal:
    user = service.get_user(tx, SYSTEM, name)
    return Principal("user", 10**9, name, user.role, user.node)


def test_an_administrator_keeps_users_at_or_below_its_own_node_S4(db: Database) -> None:
    with db.begin() as tx:
        first, street, other = grow(tx)
        for name, node in (("top", ROOT), ("boss", first), ("peer", first), ("below", street), ("beside", other)):
            service.add_user(tx, SYSTEM, name, Role.ADMINISTRATOR, NOW, node=node)
        boss = principal(tx, "boss")
        assert [user.name for user in service.list_users(tx, boss)] == ["below", "boss", "peer"]
        for name in ("top", "beside", "nobody"):
            for act in (
                lambda: service.get_user(tx, boss, name),  # noqa: B023 - called at once
                lambda: service.reset_password(tx, boss, name, NOW),  # noqa: B023
                lambda: service.disable_user(tx, boss, name, NOW),  # noqa: B023
                lambda: service.change_user(tx, boss, name, {"role": Role.AUDITOR}, NOW),  # noqa: B023
            ):
                with pytest.raises(NotFound, match=f"user {name}: not known"):
                    act()
        for node in (ROOT, other, "/999/"):
            with pytest.raises(NotFound, match="node"):
                service.add_user(tx, boss, "new", Role.TECHNICIAN, NOW, node=node)
            with pytest.raises(NotFound, match="node"):
                service.change_user(tx, boss, "below", {"node": node}, NOW)
            with pytest.raises(NotFound, match="node"):
                service.add_token(tx, boss, "new", Role.TECHNICIAN, now_ms=NOW, node=node)
        assert service.change_user(tx, boss, "below", {"role": Role.AUDITOR, "node": first}, NOW).node == first
        with pytest.raises(Forbidden, match="role auditor may not administer"):
            service.add_user(tx, principal(tx, "below"), "new", Role.TECHNICIAN, NOW)


def test_nobody_changes_oneself_and_the_last_administrator_of_the_root_stays(db: Database) -> None:
    with db.begin() as tx:
        first, _, _ = grow(tx)
        for name in ("one", "two"):
            service.add_user(tx, SYSTEM, name, Role.ADMINISTRATOR, NOW)
        session = service.add_user(tx, SYSTEM, "three", Role.DISPATCHER, NOW)
    own = service.sign_in(db, "three", session, address="a", now_ms=NOW).principal
    with db.begin() as tx:
        as_boss = Principal("user", own.id, "three", Role.ADMINISTRATOR)
        for change in ({"role": Role.ADMINISTRATOR}, {"node": first}, {"disabled": True}):
            with pytest.raises(Conflict, match="nobody changes their own role, node or standing"):
                service.change_user(tx, as_boss, "three", change, NOW)
        service.disable_user(tx, SYSTEM, "one", NOW)
        for change in ({"role": Role.AUDITOR}, {"node": first}, {"disabled": True}):
            with pytest.raises(Conflict, match="user two: is the last administrator of the root"):
                service.change_user(tx, SYSTEM, "two", change, NOW)
        service.change_user(tx, SYSTEM, "one", {"disabled": False}, NOW)
        service.disable_user(tx, SYSTEM, "two", NOW)


def test_who_is_changed_is_signed_out(db: Database) -> None:
    with db.begin() as tx:
        password = service.add_user(tx, SYSTEM, "li", Role.DISPATCHER, NOW)
    session = service.sign_in(db, "li", password, address="a", now_ms=NOW)
    with db.begin() as tx:
        service.change_user(tx, SYSTEM, "li", {"role": Role.DISPATCHER, "subject": "email:li@example.org"}, NOW)
        assert service.session_principal(tx, session.secret, NOW), "the right is the same"
        service.change_user(tx, SYSTEM, "li", {"role": Role.AUDITOR}, NOW)
        assert service.session_principal(tx, session.secret, NOW) is None


def test_the_tokens_of_who_is_disabled_end_and_no_others(db: Database) -> None:
    boss = Principal("user", 1, "boss", Role.ADMINISTRATOR)
    with db.begin() as tx:
        service.add_user(tx, SYSTEM, "boss", Role.ADMINISTRATOR, NOW)
        service.add_user(tx, SYSTEM, "other", Role.ADMINISTRATOR, NOW)
        secret = service.add_token(tx, boss, "one", Role.ADMINISTRATOR, now_ms=NOW)
        token = service.token_principal(tx, secret, NOW)
        assert token
        assert token.person == "boss"
        more = [
            service.add_token(tx, who, name, Role.AUDITOR, now_ms=NOW)
            for who, name in ((token, "two"), (SYSTEM, "cli"))
        ]
        assert [each.owner for each in service.list_tokens(tx, NOW)] == [None, "boss", "boss"]
        service.disable_user(tx, SYSTEM, "boss", NOW)
        assert [service.token_principal(tx, each, NOW) is not None for each in (secret, *more)] == [False, False, True]
    with db.read() as tx:
        gone = audit.rows_after(tx, SYSTEM, audit.Query(action="token.revoke"), 0, 10)
    assert [row["target"] for row in gone] == ["token/one", "token/two"]


def test_two_who_make_the_same_at_once_are_told_so(service: Served) -> None:
    with ThreadPoolExecutor(1) as pool, service.client(Role.ADMINISTRATOR) as api:
        with service.db.begin() as tx:
            accounts.add_user(tx, SYSTEM, "li", Role.DISPATCHER, NOW)
            second = pool.submit(api.post, "/users", json={"name": "li", "role": "auditor"})
            wait_for(lambda: waits(service.db), 10, "the other request")
        assert second.result(20).status_code == 409


def test_an_account_of_the_provider_is_linked_to_one_user(db: Database) -> None:
    with db.begin() as tx:
        for name in ("li", "wu"):
            service.add_user(tx, SYSTEM, name, Role.DISPATCHER, NOW)
        service.change_user(tx, SYSTEM, "li", {"subject": "https://id.example|7"}, NOW)
        with pytest.raises(Conflict, match="subject: is linked to a user already"):
            service.change_user(tx, SYSTEM, "wu", {"subject": "https://id.example|7"}, NOW)
        assert service.change_user(tx, SYSTEM, "li", {"subject": None}, NOW).subject is None


def ok(answer: Any, status: int = 200) -> Any:  # noqa: ANN401 - JSON
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def pages(api: Client, path: str) -> list[str]:
    """The names of a list, two at a time."""
    found, cursor = [], None
    while True:
        page = ok(api.get(path, params={"limit": 2} | ({"cursor": cursor} if cursor else {})))
        found += [each["name"] for each in page["items"]]
        if not (cursor := page["next_cursor"]):
            return found


def test_users_and_tokens_over_http(service: Served) -> None:
    with service.db.begin() as tx:
        first, street, other = grow(tx)
    with service.client(Role.ADMINISTRATOR, first) as api:
        for name in ("a", "b", "c"):
            body = {"name": name, "role": "dispatcher", "node": street}
            made = ok(api.post("/users", json=body), 201)
            assert len(made["password"]) == 20
        assert pages(api, "/users") == ["a", "b", "c"]
        assert ok(api.post("/users", json=body), 409)
        assert ok(api.post("/users", json=body | {"name": "d", "node": "/"}), 404)
        assert ok(api.post("/users", json=body | {"name": "d", "node": other}), 404)
        assert ok(api.patch("/users/a", json={"role": "auditor", "disabled": True}))["disabled"] is True
        assert ok(api.patch("/users/a", json={"subject": "x|1"}))["subject"] == "x|1"
        assert ok(api.patch("/users/a", json={"subject": None}))["subject"] is None
        assert ok(api.get("/users/a"))["role"] == "auditor"
        assert ok(api.post("/users/a/password"))["password"] != made["password"]
        token = ok(api.post("/tokens", json={"name": "m", "role": "administrator", "node": street, "days": 1}), 201)
        assert ok(api.post("/tokens", json={"name": "n", "node": "/"}), 404)
        (own, listed) = ok(api.get("/tokens"))["items"]
        assert (own["node"], listed["node"], listed["in_force"]) == (first, street, True)
    with service.client(Role.ADMINISTRATOR, other) as api:
        assert ok(api.get("/users"))["items"] == []
        assert ok(api.get("/users/a"), 404)
        assert ok(api.post("/users/a/password"), 404)
        assert ok(api.patch("/users/a", json={"role": "administrator"}), 404)
        assert ok(api.delete(f"/tokens/{token['id']}"), 404)
    with service.anonymous() as made_by:
        headers = {"Authorization": f"Bearer {token['token']}"}
        answer = ok(made_by.get("/api/v1/users", headers=headers))
        assert [each["name"] for each in answer["items"]] == ["a", "b", "c"]
        assert ok(made_by.delete(f"/api/v1/tokens/{token['id']}", headers=headers), 204) is None
        assert made_by.get("/api/v1/users", headers=headers).status_code == 401
    with service.client(Role.SUPERVISOR) as api:
        for path in ("/users", "/tokens"):
            assert ok(api.get(path), 403)


def test_the_audit_chain_is_read_within_ones_own_part_and_verified_as_a_whole_S11(service: Served) -> None:
    with service.db.begin() as tx:
        first, _, other = grow(tx)
        for node in (first, other):
            audit.record(tx, Principal("user", 1, f"at{node}", Role.DISPATCHER, node), "thing.do", "x/1", at=NOW)
    with service.client(Role.AUDITOR, first) as api:
        rows = ok(api.get("/audit", params={"action": "thing"}))["items"]
        assert [(row["actor"], row["node"]) for row in rows] == [(f"at{first}", first)]
        assert other not in api.get("/audit/export").text
        assert ok(api.get("/audit/verify"))["holds"] is True
    with service.client(Role.AUDITOR) as api:
        lines = api.get("/audit/export")
        assert lines.headers["content-type"].startswith("application/x-ndjson")
        assert [row["action"] for row in ok(api.get("/audit", params={"target": "node/", "limit": 1}))["items"]] == [
            "node.add"
        ]
    chain = [json.loads(line) for line in lines.text.splitlines()]
    assert audit.verify(chain) is None
    moved = next(row for row in chain if row["node"] == first)
    moved["node"] = other
    assert audit.verify(chain) == moved["id"], "where a row belongs is part of its hash"
    with service.db.begin() as tx:
        tx.execute(audit.audit.update().where(audit.audit.c.id == 2).values(detail="else"))
    with service.client(Role.AUDITOR) as api:
        assert ok(api.get("/audit/verify")) | {"rows": 0} == {"holds": False, "rows": 0, "broken_at": 2}
