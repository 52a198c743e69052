"""Signing in and out with forms, which work without scripts; and by an identity provider where one is configured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlencode, urlsplit

import structlog
from fastapi import Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from cloud.console.pages import local, make_ui, page_router, render
from cloud.errors import Forbidden, NotFound, NotSignedIn, TooManyTries, Unavailable
from cloud.org import auth, oidc, oidc_sign_in, service
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.routes import throttle_of
from cloud.state import now_ms

if TYPE_CHECKING:
    from cloud.org.oidc import Provider

AWAY_COOKIE: Final = "patrolgrid_oidc"
"""Ties a sign-in at the identity provider to the browser that began it."""
log: Final = structlog.get_logger("sign-in")

pages = page_router()


def _from_here(request: Request) -> None:
    """Raises Forbidden when another site's page sent the form: nobody is signed in to somebody else's account."""
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site") == "cross-site" or (
        origin and origin != "null" and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise Forbidden("the form came from another site")


@pages.get("/sign-in")
def sign_in_page(request: Request, next: str = "/", ended: str = "") -> Response:  # noqa: A002 - the usual name in an address
    """The form; who is signed in already goes on."""
    if not ended and auth.identify(request):
        return RedirectResponse(local(next), 303)
    return _form(request, ended=bool(ended), next=local(next))


def _form(
    request: Request,
    status: int = 200,
    *,
    problem: str = "",
    ended: bool = False,
    user: str = "",
    next: str = "/",  # noqa: A002
) -> HTMLResponse:
    provider = auth.state_of(request).config.oidc
    return render(
        make_ui(request), "sign_in.html", status, problem=problem, ended=ended, user=user, next=next,
        sso=provider.title if provider else "", sso_next=urlencode({"next": next}),
    )  # fmt: skip


@pages.post("/sign-in")
def sign_in(
    request: Request,
    state: State,
    user: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=1024)],
    next: Annotated[str, Form(max_length=2000)] = "/",  # noqa: A002
) -> Response:
    """Check the password and go on, or say that it is wrong."""
    _from_here(request)
    try:
        session = service.sign_in(
            state.db, user.strip(), password,
            address=auth.address_of(request), now_ms=now_ms(), throttle=throttle_of(state),
        )  # fmt: skip
    except (NotSignedIn, TooManyTries) as e:
        ui = make_ui(request)
        problem = ui.t("sign_in.wrong")
        headers = {}
        if isinstance(e, TooManyTries):
            problem = ui.t("sign_in.too_many", minutes=math.ceil(e.retry_after_s / 60))
            headers["Retry-After"] = str(e.retry_after_s)
        page = _form(request, e.status, problem=problem, user=user, next=local(next))
        page.headers.update(headers)
        return page
    response = RedirectResponse(local(next), 303)
    auth.set_cookie(response, session, secure=state.config.http.secure_cookies)
    return response


def _provider(state: State) -> Provider:
    """The identity provider. Raises NotFound when there is none."""
    if state.config.oidc is None or state.config.http.public_url is None:
        raise NotFound("no identity provider is configured")
    return oidc.provider_of(state.config.oidc, state.config.http.public_url)


@pages.get("/sign-in/oidc")
def set_out(request: Request, state: State, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:  # noqa: A002
    """On to the identity provider."""
    try:
        way, secret = oidc_sign_in.begin(state.db, _provider(state), local(next), now_ms())
    except (Unavailable, TooManyTries) as e:
        log.warning("sign-in by the identity provider", error=str(e))
        return _form(request, e.status, problem=make_ui(request).t("sign_in.sso_away"), next=local(next))
    response = RedirectResponse(way, 303)
    response.set_cookie(
        AWAY_COOKIE, secret, max_age=oidc_sign_in.AWAY_MS // 1000, httponly=True, samesite="lax", path="/sign-in/oidc",
        secure=state.config.http.secure_cookies,
    )  # fmt: skip
    return response


@pages.get("/sign-in/oidc/callback")
def come_back(  # noqa: PLR0917 - one parameter each of the query
    request: Request,
    state: State,
    given: Annotated[str, Query(alias="state", max_length=200)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
    iss: Annotated[str, Query(max_length=500)] = "",
    error: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """Back from the identity provider: a session, or why there is none."""
    answer = oidc_sign_in.Answer(given, code, request.cookies.get(AWAY_COOKIE, ""), iss, error)
    t = make_ui(request).t
    response: Response
    try:
        session, back = oidc_sign_in.finish(
            state.db, _provider(state), answer,
            address=auth.address_of(request), now_ms=now_ms(), session_ms=throttle_of(state).session_ms,
        )  # fmt: skip
    except oidc_sign_in.NotLinked as e:
        response = _form(request, e.status, problem=t("sign_in.sso_not_linked", subject=e.subject))
    except (NotSignedIn, Unavailable) as e:
        log.warning("sign-in by the identity provider", error=str(e))
        refused = isinstance(e, NotSignedIn)
        response = _form(request, e.status, problem=t("sign_in.sso_refused" if refused else "sign_in.sso_away"))
    else:
        response = RedirectResponse(local(back), 303)
        auth.set_cookie(response, session, secure=state.config.http.secure_cookies)
    response.delete_cookie(AWAY_COOKIE, path="/sign-in/oidc", httponly=True, samesite="lax")
    return response


@pages.post("/sign-out")
def sign_out(request: Request, state: State) -> Response:
    """End the session."""
    auth.check_csrf(request, request.state.token)
    with state.db.begin() as tx:
        service.sign_out(tx, request.cookies.get(auth.COOKIE, ""), now_ms())
    response = RedirectResponse("/sign-in", 303)
    auth.drop_cookie(response)
    return response
