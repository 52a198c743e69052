"""The HTTP of sign-in, of oneself, and of the audit chain."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - FastAPI reads annotations
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from cloud.org import auth, service
from cloud.org.audit import audit
from cloud.org.auth import Auditor, SignedIn, State  # noqa: TC001
from cloud.org.rules import Permission, Principal, Role
from cloud.paging import MAX_LIMIT, Page, View, at, decode_cursor, encode_cursor
from cloud.problems import documented
from cloud.state import now_ms

router = APIRouter(tags=["organisation"], responses=documented(401, 403, 422, 503))


class SignIn(BaseModel):
    """A user and password."""

    model_config = ConfigDict(extra="forbid")

    user: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Me(View):
    """Who is signed in."""

    name: str
    kind: str
    role: Role
    node: str
    permissions: list[Permission]
    csrf: str | None
    """For `X-CSRF-Token`; None for a token."""


class AuditEntry(View):
    """One row of the audit chain."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: str
    hash: str


def throttle_of(state: State) -> service.Throttle:
    """The configured limits of sign-in."""
    limits, http = state.config.limits, state.config.http
    return service.Throttle(
        limits.sign_in_tries, round(limits.sign_in_window_s * 1000), round(http.session_h * 3_600_000)
    )


def _me(who: Principal, csrf: str | None) -> Me:
    permissions = [permission for permission in Permission if who.may(permission)]
    return Me(name=who.name, kind=who.kind, role=who.role, node=who.node, permissions=permissions, csrf=csrf)


@router.post("/session", responses=documented(429))
def sign_in(state: State, request: Request, response: Response, body: SignIn) -> Me:
    """Begin a session: sets a cookie, gives the CSRF token."""
    session = service.sign_in(
        state.db, body.user, body.password,
        address=auth.address_of(request), now_ms=now_ms(), throttle=throttle_of(state),
    )  # fmt: skip
    auth.set_cookie(response, session, secure=state.config.http.secure_cookies)
    return _me(session.principal, session.csrf)


@router.get("/session")
def me(who: SignedIn, request: Request) -> Me:
    """Who is signed in."""
    cookie = request.cookies.get(auth.COOKIE)
    return _me(who, service.csrf_of(cookie) if who.kind == "user" and cookie else None)


@router.delete("/session", status_code=204)
def sign_out(state: State, _who: SignedIn, request: Request, response: Response) -> None:
    """End the session."""
    cookie = request.cookies.get(auth.COOKIE)
    if cookie:
        with state.db.begin() as tx:
            service.sign_out(tx, cookie, now_ms())
    auth.drop_cookie(response)


@router.get("/audit")
def audit_chain(
    state: State,
    _who: Auditor,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Page[AuditEntry]:
    """The audit chain, oldest first: each hash covers the one before it."""
    after = int(decode_cursor(cursor, int)[0]) if cursor else 0
    with state.db.read() as tx:
        rows = (
            tx.execute(sa.select(audit).where(audit.c.id > after).order_by(audit.c.id).limit(limit + 1))
            .mappings()
            .all()
        )
    shown = [AuditEntry(**{**row, "at": at(row["at"])}) for row in rows[:limit]]
    return Page(items=shown, next_cursor=encode_cursor(shown[-1].id) if len(rows) > limit else None)
