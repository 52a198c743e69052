"""The HTTP of users and tokens, for administrators within their own part of the tree."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from cloud.org import accounts
from cloud.org.account_models import ChangedUser, MadeToken, MadeUser, NewToken, NewUser, TokenView, UserView
from cloud.org.auth import Administrator, State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.node_models import NodePath  # noqa: TC001 - the same
from cloud.org.rules import ROOT
from cloud.paging import Page, decode_cursor, encode_cursor
from cloud.problems import documented
from cloud.routing import Id, Part
from cloud.state import now_ms
from firmware_specs.readings import NAME_PATTERN

router = APIRouter(tags=["organisation"], responses=documented(401, 403, 422, 503))

DAY_MS = 86_400_000
UserName = Annotated[str, Path(pattern=NAME_PATTERN)]


class BelowQuery(Part):
    """At or below which node."""

    below: NodePath = ROOT


Below = Annotated[BelowQuery, Query()]


@router.get("/users")
def list_users(state: State, who: Administrator, query: Below) -> Page[UserView]:
    """Users at or below a node, by name."""
    after = str(decode_cursor(query.cursor, str)[0]) if query.cursor else ""
    with state.db.read() as tx:
        found = accounts.page_users(tx, who, below=query.below, after=after, limit=query.limit + 1)
    following = encode_cursor(found[query.limit - 1].name) if len(found) > query.limit else None
    return Page(items=found[: query.limit], next_cursor=following)


@router.post("/users", status_code=201, responses=documented(404, 409))
def add_user(state: State, who: Administrator, body: NewUser) -> MadeUser:
    """Make a user; the password is told this once."""
    now = now_ms()
    with state.db.begin() as tx:
        password = accounts.add_user(tx, who, body.name, body.role, now, node=body.node)
        if body.subject:
            accounts.change_user(tx, who, body.name, {"subject": body.subject}, now)
        return MadeUser(user=accounts.get_user(tx, who, body.name), password=password)


@router.get("/users/{name}", responses=documented(404))
def get_user(state: State, who: Administrator, name: UserName) -> UserView:
    """One user."""
    with state.db.read() as tx:
        return accounts.get_user(tx, who, name)


@router.patch("/users/{name}", responses=documented(404, 409))
def change_user(state: State, who: Administrator, name: UserName, body: ChangedUser) -> UserView:
    """Change role, node, standing or the linked account; a change of right ends the user's sessions."""
    with state.db.begin() as tx:
        return accounts.change_user(tx, who, name, body.changes(), now_ms())


@router.post("/users/{name}/password", responses=documented(404))
def new_password(state: State, who: Administrator, name: UserName) -> MadeUser:
    """A new password, told this once; every session of the user ends."""
    with state.db.begin() as tx:
        password = accounts.reset_password(tx, who, name, now_ms())
        return MadeUser(user=accounts.get_user(tx, who, name), password=password)


@router.get("/tokens")
def list_tokens(state: State, who: Administrator, query: Below) -> Page[TokenView]:
    """Tokens at or below a node, the oldest first."""
    after = int(decode_cursor(query.cursor, int)[0]) if query.cursor else 0
    with state.db.read() as tx:
        found = accounts.page_tokens(tx, who, now_ms(), below=query.below, after=after, limit=query.limit + 1)
    following = encode_cursor(found[query.limit - 1].id) if len(found) > query.limit else None
    return Page(items=found[: query.limit], next_cursor=following)


@router.post("/tokens", status_code=201, responses=documented(404, 409))
def add_token(state: State, who: Administrator, body: NewToken) -> MadeToken:
    """Make a token; it is told this once."""
    now = now_ms()
    ends = None if body.days is None else now + round(body.days * DAY_MS)
    with state.db.begin() as tx:
        token = accounts.add_token(tx, who, body.name, body.role, now_ms=now, expires_at=ends, node=body.node)
        return MadeToken(id=accounts.find_token(tx, who, body.name, now).id, name=body.name, token=token)


@router.delete("/tokens/{token_id}", status_code=204, responses=documented(404))
def revoke_token(state: State, who: Administrator, token_id: Id) -> None:
    """Refuse a token from now on."""
    with state.db.begin() as tx:
        accounts.revoke_token_id(tx, who, token_id, now_ms())
