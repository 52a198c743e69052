"""The HTTP of sign-in, of oneself, and of the audit chain."""

from __future__ import annotations

import json
from collections.abc import Iterator  # noqa: TC003 - FastAPI reads annotations
from datetime import datetime  # noqa: TC003
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, StringConstraints

from cloud.org import audit, auth, service
from cloud.org.auth import Auditor, SignedIn, State  # noqa: TC001
from cloud.org.rules import Permission, Principal, Role
from cloud.paging import MAX_LIMIT, Page, View, at, decode_cursor, encode_cursor, to_ms
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
    node: str
    """Of who acted."""
    hash: str


class Verdict(View):
    """Whether the chain holds."""

    holds: bool
    rows: int
    broken_at: int | None
    """Id of the first row that is not as it was written, or that another is missing before."""


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


def query_of(
    actor: Annotated[str, Query(max_length=100)] = "",
    action: Annotated[str, Query(max_length=64)] = "",
    target: Annotated[str, Query(max_length=300)] = "",
    from_: Annotated[datetime | None, Query(alias="from")] = None,
    to: datetime | None = None,
) -> audit.Query:
    """Which rows of the chain. action: as a whole or up to a dot, `incident`. target: what it begins with."""
    return audit.Query(actor, action, target, to_ms(from_) if from_ else None, to_ms(to) if to else None)


Wanted = Annotated[audit.Query, Depends(query_of)]


@router.get("/audit")
def audit_chain(
    state: State,
    who: Auditor,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Page[AuditEntry]:
    """What was done at or below the caller's node, oldest first; each hash covers the row before it in the chain."""
    after = int(decode_cursor(cursor, int)[0]) if cursor else 0
    with state.db.read() as tx:
        rows = audit.rows_after(tx, who, wanted, after, limit + 1)
    shown = [AuditEntry(**{**row, "at": at(row["at"])}) for row in rows[:limit]]
    return Page(items=shown, next_cursor=encode_cursor(shown[-1].id) if len(rows) > limit else None)


@router.get("/audit/verify")
def verify_audit(state: State, _who: Auditor) -> Verdict:
    """Whether the whole chain holds, as it is stored now."""
    with state.db.read() as tx:
        rows, broken = audit.verify_all(tx)
    return Verdict(holds=broken is None, rows=rows, broken_at=broken)


@router.get(
    "/audit/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
def export_audit(state: State, who: Auditor, wanted: Wanted) -> StreamingResponse:
    """The rows as JSON lines, oldest first: a whole chain can be verified from them alone."""
    return StreamingResponse(
        audit_lines(state, who, wanted),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="audit.jsonl"'},
    )


def audit_lines(state: State, who: Principal, wanted: audit.Query) -> Iterator[str]:
    """The rows as they are hashed, one JSON object a line."""
    after = 0
    while True:
        with state.db.read() as tx:
            rows = audit.rows_after(tx, who, wanted, after, MAX_LIMIT)
        yield "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
        if len(rows) < MAX_LIMIT:
            return
        after = rows[-1]["id"]
