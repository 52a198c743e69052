"""Errors as pages, for browsers: outside /api, whoever asks for HTML gets the console's page instead of a problem.

Owns who gets which. The problem documents themselves are `cloud.problems`'s, and stay the answer for everybody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException

from cloud.console import i18n
from cloud.console.pages import error_page, make_ui, refusal, remember
from cloud.errors import RequestRefused
from cloud.http import HEADERS
from cloud.problems import is_race
from firmware_specs.errors import PatrolError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI, Request, Response

    Handler = Callable[[Request, Exception], Awaitable[Response]]

MACHINES: Final = ("/api", "/metrics", "/healthz", "/readyz")
"""Paths whose errors are always problem documents."""


KINDS: Final = (
    RequestRefused, StoreError, IntegrityError, PatrolError, HTTPException, RequestValidationError, Exception
)  # fmt: skip


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks, and not a machine or a script."""
    path = request.url.path
    if any(path == each or path.startswith(each + "/") for each in MACHINES):
        return False
    return "text/html" in request.headers.get("accept", "") and request.headers.get("hx-request") != "true"


def install(app: FastAPI) -> None:
    """Put the pages before the handlers that the application has."""
    for kind in KINDS:
        app.add_exception_handler(kind, _before(app.exception_handlers[kind]))


def _before(handler: Any) -> Handler:  # noqa: ANN401 - starlette's own type is a union with web sockets
    async def handle(request: Request, e: Exception) -> Response:
        if not wants_page(request):
            answer: Response = await handler(request, e)
            return answer
        return _page(request, e)

    return handle


def _page(request: Request, e: Exception) -> Response:
    lang = request.query_params.get("lang")
    if request.method == "GET" and lang in i18n.WORDS:
        return remember(RedirectResponse(make_ui(request).here, 303), lang)
    if isinstance(e, RequestRefused | RequestValidationError | StoreError):
        return refusal(request, e)
    if isinstance(e, HTTPException):
        page = error_page(request, e.status_code)
        page.headers.update(e.headers or {})
        return page
    raced = isinstance(e, IntegrityError) and is_race(e)
    page = error_page(request, 409 if raced else 422 if isinstance(e, PatrolError) else 500)
    # The server's last resort answers outside of everything that adds these.
    page.headers.update({name.decode(): value.decode() for name, value in HEADERS} | {"Cache-Control": "no-store"})
    return page
