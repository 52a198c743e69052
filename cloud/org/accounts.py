"""Users and tokens, kept by administrators within their own part of the tree.

Owns who may do what to whom: an administrator reaches the users and tokens at or below its own node and gives roles
there; whoever is above or beside does not exist for it. Nobody changes their own role, node or standing, and the last
administrator of the root stays. Whoever is changed is signed out, so that what was begun with the old right ends; the
tokens of a user who is disabled end with that. A token is its owner wherever two people are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.errors import Conflict, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org.account_models import TokenView, UserView
from cloud.org.keys import TOKEN_PREFIX, hash_of, new_password, new_secret, password_hash
from cloud.org.rules import ROOT, SYSTEM, Principal, Role, scope
from cloud.org.store import sessions, tokens, users
from cloud.paging import at, at_or_none
from cloud.text import clean
from firmware_specs.readings import checked_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Connection, Row

SUBJECT_MOST: Final = 255


def _user_view(row: Row[Any]) -> UserView:
    return UserView(
        name=row.name, role=Role(row.role), node=row.node, created_at=at(row.created_at),
        disabled=row.disabled_at is not None, subject=row.subject,
    )  # fmt: skip


def _token_view(row: Row[Any], now_ms: int) -> TokenView:
    return TokenView(
        id=row.id, name=row.name, role=Role(row.role), node=row.node, created_at=at(row.created_at),
        expires_at=at_or_none(row.expires_at), in_force=_in_force(row, now_ms), owner=row.owner,
    )  # fmt: skip


def _in_force(row: Row[Any], now_ms: int) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now_ms)


# ---- users


def list_users(tx: Connection, principal: Principal = SYSTEM) -> list[UserView]:
    """Every user within scope, by name."""
    wanted = sa.select(users).where(scope(principal, users.c.node)).order_by(users.c.name)
    return [_user_view(row) for row in tx.execute(wanted)]


def page_users(
    tx: Connection, principal: Principal, *, below: str = ROOT, after: str = "", limit: int = 100
) -> list[UserView]:
    """The next users within scope, at or below a node, behind a name."""
    wanted = sa.select(users).where(
        scope(principal, users.c.node), users.c.node.startswith(below, autoescape=True), users.c.name > after
    )
    return [_user_view(row) for row in tx.execute(wanted.order_by(users.c.name).limit(limit))]


def get_user(tx: Connection, principal: Principal, name: str) -> UserView:
    """One user within scope. Raises NotFound."""
    return _user_view(_user(tx, principal, name))


def _user(tx: Connection, principal: Principal, name: str) -> Row[Any]:
    """The row, locked for change in a write transaction."""
    wanted = sa.select(users).where(users.c.name == name, scope(principal, users.c.node))
    row = tx.execute(wanted.with_for_update() if tx.info.get("work") else wanted).first()
    if row is None:
        raise NotFound(f"user {clean(name, 64)}: not known")
    return row


def find_user(tx: Connection, principal: Principal, name: str) -> int:
    """The id of a user within scope. Raises NotFound."""
    return int(_user(tx, principal, name).id)


def user_names(tx: Connection, ids: Collection[int]) -> dict[int, str]:
    """What users are called, by id."""
    rows = tx.execute(sa.select(users.c.id, users.c.name).where(users.c.id.in_(set(ids))))
    return {row.id: row.name for row in rows}


def add_user(
    tx: Connection, actor: Principal, name: str, role: Role, now_ms: int, *, node: str | None = None
) -> str:  # fmt: skip
    """Make a user with a generated password, which is returned and never shown again.

    node: where; the actor's own node when absent. Raises Forbidden, NotFound, Conflict, NameRefused.
    """
    tree.may_administer(actor)
    checked_name("user", name)
    where = actor.node if node is None else tree.get_node(tx, actor, node, hold=True).path
    if tx.execute(sa.select(users.c.id).where(users.c.name == name)).first():
        raise Conflict(f"user {name}: exists already")
    password = new_password()
    kept = password_hash(password)
    tx.execute(users.insert().values(name=name, password=kept, role=role.value, node=where, created_at=now_ms))
    audit.record(tx, actor, "user.add", f"user/{name}", at=now_ms, detail=f"{role} {where}")
    return password


def change_user(tx: Connection, actor: Principal, name: str, changes: dict[str, Any], now_ms: int) -> UserView:
    """Give a user another role, node, subject (of the identity provider), or standing (`disabled`).

    What is the same already is no change. Raises Forbidden, NotFound, Conflict.
    """
    tree.may_administer(actor)
    row = _user(tx, actor, name)
    before = _user_view(row)
    wanted = {key: value for key, value in changes.items() if getattr(before, key) != value}
    if not wanted:
        return before
    if wanted.keys() & {"role", "node", "disabled"}:
        _not_oneself(actor, row)
        if wanted.get("disabled") or "node" in wanted or "role" in wanted:
            _not_the_last(tx, row)
    values: dict[str, Any] = {}
    if "role" in wanted:
        values["role"] = Role(wanted["role"]).value
    if "node" in wanted:
        values["node"] = tree.get_node(tx, actor, wanted["node"], hold=True).path
    if "disabled" in wanted:
        values["disabled_at"] = now_ms if wanted["disabled"] else None
    if "subject" in wanted:
        values["subject"] = _free_subject(tx, wanted["subject"])
    tx.execute(users.update().where(users.c.id == row.id).values(**values))
    if wanted.keys() & {"role", "node", "disabled"}:
        tx.execute(sessions.delete().where(sessions.c.user == row.id))
    if wanted.get("disabled"):
        _end_tokens(tx, actor, name, now_ms)
    told = ", ".join(f"{key}={value}" for key, value in sorted(wanted.items()))
    audit.record(tx, actor, "user.change", f"user/{name}", at=now_ms, detail=clean(told, 500))
    return get_user(tx, SYSTEM, name)


def _end_tokens(tx: Connection, actor: Principal, owner: str, now_ms: int) -> None:
    """Refuse what a user made from now on: who is gone does not go on by a token."""
    theirs = tokens.update().where(tokens.c.owner == owner, tokens.c.revoked_at.is_(None)).values(revoked_at=now_ms)
    for name in tx.execute(theirs.returning(tokens.c.name)).scalars().all():
        audit.record(tx, actor, "token.revoke", f"token/{name}", at=now_ms, detail=f"of {owner}")


def _not_oneself(actor: Principal, row: Row[Any]) -> None:
    if actor.kind == "user" and actor.id == row.id:
        raise Conflict(f"user {row.name}: nobody changes their own role, node or standing")


def _not_the_last(tx: Connection, row: Row[Any]) -> None:
    """Raises Conflict when without this user nobody would administer the root."""
    top = (users.c.role == Role.ADMINISTRATOR.value, users.c.node == ROOT, users.c.disabled_at.is_(None))
    left = tx.execute(sa.select(users.c.id).where(*top).order_by(users.c.id).with_for_update()).scalars().all()
    if left == [row.id]:
        raise Conflict(f"user {row.name}: is the last administrator of the root")


def _free_subject(tx: Connection, subject: str | None) -> str | None:
    if not subject:
        return None
    if len(subject) > SUBJECT_MOST:
        raise Invalid(f"subject: more than {SUBJECT_MOST} characters")
    if tx.execute(sa.select(users.c.id).where(users.c.subject == subject)).first():
        raise Conflict("subject: is linked to a user already")
    return clean(subject, SUBJECT_MOST)


def disable_user(tx: Connection, actor: Principal, name: str, now_ms: int) -> None:
    """The user can no longer sign in; every session ends. Raises Forbidden, NotFound, Conflict."""
    change_user(tx, actor, name, {"disabled": True}, now_ms)


def reset_password(tx: Connection, actor: Principal, name: str, now_ms: int) -> str:
    """A new generated password; every session of the user ends. Raises Forbidden, NotFound."""
    tree.may_administer(actor)
    row = _user(tx, actor, name)
    password = new_password()
    tx.execute(users.update().where(users.c.id == row.id).values(password=password_hash(password)))
    tx.execute(sessions.delete().where(sessions.c.user == row.id))
    audit.record(tx, actor, "user.password", f"user/{name}", at=now_ms)
    return password


# ---- tokens


def list_tokens(tx: Connection, now_ms: int, principal: Principal = SYSTEM) -> list[TokenView]:
    """Every token within scope, by name, the newest first."""
    wanted = sa.select(tokens).where(scope(principal, tokens.c.node)).order_by(tokens.c.name, tokens.c.id.desc())
    return [_token_view(row, now_ms) for row in tx.execute(wanted)]


def page_tokens(
    tx: Connection, principal: Principal, now_ms: int, *, below: str = ROOT, after: int = 0, limit: int = 100
) -> list[TokenView]:
    """The next tokens within scope, at or below a node, behind an id."""
    wanted = sa.select(tokens).where(
        scope(principal, tokens.c.node), tokens.c.node.startswith(below, autoescape=True), tokens.c.id > after
    )
    return [_token_view(row, now_ms) for row in tx.execute(wanted.order_by(tokens.c.id).limit(limit))]


def _alive(now_ms: int) -> tuple[ColumnElement[bool], ...]:
    return (tokens.c.revoked_at.is_(None), sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now_ms))


def add_token(
    tx: Connection, actor: Principal, name: str, role: Role, *, now_ms: int, expires_at: int | None = None,
    node: str | None = None,
) -> str:  # fmt: skip
    """Make an API token, which is returned and never shown again. node: where; the actor's own node when absent.

    Raises Forbidden, NotFound, Conflict while one of the name is in force.
    """
    tree.may_administer(actor)
    checked_name("token", name)
    where = actor.node if node is None else tree.get_node(tx, actor, node, hold=True).path
    if tx.execute(sa.select(tokens.c.id).where(tokens.c.name == name, *_alive(now_ms))).first():
        raise Conflict(f"token {name}: exists already")
    token = TOKEN_PREFIX + new_secret()
    values = {"name": name, "hash": hash_of(token), "role": role.value, "node": where, "owner": _maker(actor)}
    tx.execute(tokens.insert().values(**values, created_at=now_ms, expires_at=expires_at))
    audit.record(tx, actor, "token.add", f"token/{name}", at=now_ms, detail=f"{role} {where}")
    return token


def _maker(actor: Principal) -> str | None:
    """Whose a token is that somebody makes, with a token of theirs as well; nobody's at the command line."""
    return None if actor.kind == SYSTEM.kind else actor.person


def same_person(tx: Connection, actor: Principal, label: str) -> bool:
    """Whether who acts now is whom a history names, by a token of theirs or as themselves."""
    if label in {actor.label, actor.person}:
        return True
    named = sa.select(tokens.c.id).where(tokens.c.name == label.removeprefix("token:"), tokens.c.owner == actor.person)
    return label.startswith("token:") and tx.execute(named).first() is not None


def find_token(tx: Connection, principal: Principal, name: str, now_ms: int) -> TokenView:
    """The newest token of a name within scope. Raises NotFound."""
    mine = (tokens.c.name == name, scope(principal, tokens.c.node))
    row = tx.execute(sa.select(tokens).where(*mine).order_by(tokens.c.id.desc())).first()
    if row is None:
        raise NotFound(f"token {clean(name, 64)}: not known")
    return _token_view(row, now_ms)


def revoke_token(tx: Connection, actor: Principal, name: str, now_ms: int) -> None:
    """The token of a name is refused from now on. Raises Forbidden, NotFound."""
    _revoke(tx, actor, tokens.c.name == name, f"token {clean(name, 64)}", now_ms)


def revoke_token_id(tx: Connection, actor: Principal, token_id: int, now_ms: int) -> None:
    """The same by its id."""
    _revoke(tx, actor, tokens.c.id == token_id, f"token {token_id}", now_ms)


def _revoke(tx: Connection, actor: Principal, which: ColumnElement[bool], told: str, now_ms: int) -> None:
    tree.may_administer(actor)
    mine = (which, tokens.c.revoked_at.is_(None), scope(actor, tokens.c.node))
    revoked = tx.execute(tokens.update().where(*mine).values(revoked_at=now_ms).returning(tokens.c.name)).scalar()
    if revoked is None:
        raise NotFound(f"{told}: not known")
    audit.record(tx, actor, "token.revoke", f"token/{revoked}", at=now_ms)


def _count_users(tx: Connection, path: str, _now_ms: int) -> int:
    enabled = (users.c.node == path, users.c.disabled_at.is_(None))
    return int(tx.execute(sa.select(sa.func.count()).where(*enabled)).scalar_one())


def _count_tokens(tx: Connection, path: str, now_ms: int) -> int:
    counted = sa.select(sa.func.count()).where(tokens.c.node == path, *_alive(now_ms))
    return int(tx.execute(counted).scalar_one())


tree.OCCUPANTS["users"] = _count_users
tree.OCCUPANTS["tokens"] = _count_tokens
