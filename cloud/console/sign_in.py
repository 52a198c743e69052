"""Signing in and out with forms, which work without scripts."""

from __future__ import annotations

import math
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from cloud.console.pages import PageRoute, local, make_ui, render
from cloud.errors import Forbidden, NotSignedIn, TooManyTries
from cloud.org import auth, service
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.routes import throttle_of
from cloud.state import now_ms

pages = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)


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
    return render(make_ui(request), "sign_in.html", problem="", ended=bool(ended), user="", next=local(next))


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
        page = render(ui, "sign_in.html", e.status, problem=problem, ended=False, user=user, next=local(next))
        page.headers.update(headers)
        return page
    response = RedirectResponse(local(next), 303)
    auth.set_cookie(response, session, secure=state.config.http.secure_cookies)
    return response


@pages.post("/sign-out")
def sign_out(request: Request, state: State, csrf: Annotated[str, Form()] = "") -> Response:
    """End the session."""
    auth.check_csrf(request, csrf)
    with state.db.begin() as tx:
        service.sign_out(tx, request.cookies.get(auth.COOKIE, ""), now_ms())
    response = RedirectResponse("/sign-in", 303)
    auth.drop_cookie(response)
    return response
