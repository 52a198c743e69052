"""Who asks: from the bearer token or the session cookie of a request to a principal.

Owns the cookie and the CSRF rule: an unsafe request that is authenticated by its cookie must carry the session's CSRF
token in `X-CSRF-Token`. Bearer tokens need none, since no browser sends them by itself.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request

from cloud.errors import Forbidden, NotSignedIn
from cloud.org import service
from cloud.org.rules import Permission, Principal
from cloud.state import AppState, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Response

COOKIE: Final = "patrolgrid_session"
CSRF_HEADER: Final = "X-CSRF-Token"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def state_of(request: Request) -> AppState:
    """The running service."""
    state: AppState = request.app.state.patrol
    return state


def identify(request: Request) -> Principal | None:
    """Who asks, None when nobody known does. Does not look at CSRF."""
    state = state_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        with state.db.read() as tx:
            return service.token_principal(tx, token.strip(), now_ms())
    cookie = request.cookies.get(COOKIE)
    if cookie:
        with state.db.read() as tx:
            return service.session_principal(tx, cookie, now_ms())
    return None


def signed_in(request: Request) -> Principal:
    """Who asks. Raises NotSignedIn, or Forbidden when a cookie's unsafe request lacks its CSRF token."""
    principal = identify(request)
    if principal is None:
        raise NotSignedIn("a bearer token or a session is needed")
    if principal.kind == "user" and request.method not in _SAFE:
        check_csrf(request, request.headers.get(CSRF_HEADER, ""))
    return principal


def check_csrf(request: Request, given: str) -> None:
    """Raises Forbidden when the token is not that of the request's session."""
    wanted = service.csrf_of(request.cookies.get(COOKIE, ""))
    if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
        raise Forbidden(f"{CSRF_HEADER} is missing or not that of the session")


def require(permission: Permission) -> Callable[[Request], Principal]:
    """A dependency that gives the principal. Raises Forbidden when its role does not permit it."""

    def check(request: Request) -> Principal:
        principal = signed_in(request)
        if not principal.may(permission):
            raise Forbidden(f"role {principal.role} may not {permission}")
        return principal

    return check


def set_cookie(response: Response, session: service.Session, *, secure: bool) -> None:
    """Give the browser its session."""
    left_s = max(0, (session.expires_at - now_ms()) // 1000)
    response.set_cookie(COOKIE, session.secret, max_age=left_s, httponly=True, secure=secure, samesite="lax", path="/")


def drop_cookie(response: Response) -> None:
    """Take it away."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


def address_of(request: Request) -> str:
    """Where a request came from."""
    return request.client.host if request.client else ""


State = Annotated[AppState, Depends(state_of)]
Viewer = Annotated[Principal, Depends(require(Permission.VIEW))]
SignedIn = Annotated[Principal, Depends(signed_in)]
Administrator = Annotated[Principal, Depends(require(Permission.ADMINISTER))]
Auditor = Annotated[Principal, Depends(require(Permission.AUDIT))]
