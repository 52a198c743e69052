"""From a template's name to a response: the template environment, the viewer, and errors as pages.

Every form of a signed-in viewer is checked here to come from a page of the same session: `PageRoute` reads its token,
and `viewer_ui` compares it before a handler runs.

Templates escape everything and refuse names that they were not given. They hold to the Content-Security-Policy that
`cloud.http` sends: nothing inline, nothing evaluated, nothing from elsewhere.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cloud.alerts import service as alerts
from cloud.console import i18n, nav
from cloud.console.ui import Ui
from cloud.errors import NotFound, NotSignedIn, RequestRefused
from cloud.org import auth
from cloud.org import service as org
from cloud.org.rules import Permission
from cloud.state import now_ms
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Response

HERE: Final = Path(__file__).resolve().parent
STATIC: Final = HERE / "static"
THEME_COOKIE: Final = "patrol_theme"


@cache
def assets_version() -> str:
    """A digest of all assets: it is part of their address, so that modules that import each other always fit."""
    whole = hashlib.sha256()
    for file in sorted(STATIC.rglob("*")):
        if file.is_file():
            whole.update(file.read_bytes())
    return whole.hexdigest()[:12]


def static_url(name: str) -> str:
    """Address of an asset. Raises FileNotFoundError when there is none of the name."""
    if not (STATIC / name).is_file():
        raise FileNotFoundError(name)
    return f"/static/{assets_version()}/{name}"


@cache
def environment() -> Environment:
    """The templates: everything is escaped, and a name that was not given is an error."""
    env = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["static"] = static_url
    env.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": True}
    return env


def make_ui(request: Request) -> Ui:
    """The view of a request by nobody yet."""
    words = i18n.WORDS[i18n.language(request.query_params.get("lang"), request.cookies.get(i18n.COOKIE))]
    theme = request.cookies.get(THEME_COOKIE, "")
    return Ui(
        t=words,
        zone_info=ZoneInfo(auth.state_of(request).config.time_zone),
        now=datetime.fromtimestamp(now_ms() / 1000, UTC),
        path=request.url.path,
        query={key: value for key, value in request.query_params.items() if key != "lang"},
        theme=theme if theme in {"dark", "light"} else "",
        section=nav.section(request.url.path),
    )


def viewer_ui(request: Request) -> Ui:
    """The view of who is signed in, with the counts that every page shows. Raises NotSignedIn, Forbidden."""
    ui = make_ui(request)
    ui.principal = auth.signed_in(request) if request.method == "GET" else auth.identify(request)
    if ui.principal is None:
        raise NotSignedIn("a session is needed")
    if request.method != "GET":
        auth.check_csrf(request, request.state.token)
    ui.need(Permission.VIEW)
    ui.csrf = org.csrf_of(request.cookies.get(auth.COOKIE, ""))
    with auth.state_of(request).db.read() as tx:
        ui.counts = alerts.open_counts(tx, ui.principal, now_ms())
    return ui


View = Annotated[Ui, Depends(viewer_ui)]


def needing(*permissions: Permission) -> Any:  # noqa: ANN401 - what FastAPI takes in an annotation
    """The view of somebody whose role permits one of these, for pages that nobody else sees. Raises Forbidden."""

    def check(ui: View) -> Ui:
        ui.need(*permissions)
        return ui

    return Depends(check)


def render(ui: Ui, template: str, status: int = 200, **context: Any) -> HTMLResponse:  # noqa: ANN401 - templates take anything
    """A page."""
    return HTMLResponse(environment().get_template(template).render(ui=ui, **context), status)


def local(path: str) -> str:
    """The path itself when it leads to a page of ours, else the overview: never to another site."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"


def back_to(path: str) -> RedirectResponse:
    """After a form: on to a page, by GET."""
    return RedirectResponse(local(path), 303)


ERRORS: Final = {403: "forbidden", 404: "not_found", 405: "not_found", 409: "conflict", 503: "unavailable"}
"""The words for a status; a 4xx that is not here is an invalid request, any other a fault of ours."""


def _status(e: Exception) -> int:
    if isinstance(e, StoreError):
        return 503
    if isinstance(e, RequestValidationError):
        return 422
    return e.status if isinstance(e, RequestRefused) else 400


def _sentence(ui: Ui, status: int, reason: str = "") -> str:
    """What happened, for a person."""
    if status in ERRORS:
        return ui.t(f"error.{ERRORS[status]}", reason=reason)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return ui.t("error.invalid", reason=reason or HTTPStatus(status).phrase)
    return ui.t("error.broken")


def _reason(e: Exception) -> str:
    """The part of a refused request that is wrong."""
    if isinstance(e, RequestValidationError):
        return ", ".join(str(each["loc"][-1]) for each in e.errors())
    return str(e)


def error_page(request: Request, status: int, reason: str = "") -> HTMLResponse:
    """An error as a page: what happened, and ways on. Reads no store, so that it works when none answers."""
    ui = make_ui(request)
    name = ERRORS.get(status, "invalid" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "broken")
    return render(
        ui, "error.html", status, code=status, heading=ui.t(f"error.{name}_title"),
        message=_sentence(ui, status, reason), section="" if ui.section in {"overview", "more"} else ui.section,
        again=request.method == "GET",
    )  # fmt: skip


def refusal(request: Request, e: Exception) -> Response:
    """An error as a page, as one line for the script that asked, or as the way to the sign-in page."""
    ui = make_ui(request)
    scripted = request.headers.get("hx-request") == "true"
    if isinstance(e, NotSignedIn):
        wanted = ui.here if request.method == "GET" else "/"
        ended = {"ended": "1"} if auth.COOKIE in request.cookies else {}
        target = "/sign-in?" + urlencode({**ended, "next": wanted}) if wanted != "/" or ended else "/sign-in"
        if scripted:
            return PlainTextResponse("", 401, headers={"HX-Redirect": target})
        return RedirectResponse(target, 303)
    status, reason = _status(e), _reason(e)
    if scripted and isinstance(e, NotFound) and request.method == "POST":
        return PlainTextResponse(ui.t("error.not_found_what", reason=reason), status)
    if scripted:
        return PlainTextResponse(_sentence(ui, status, reason), status)
    return error_page(request, status, reason)


def remember(response: Response, lang: str) -> Response:
    """The same response, which has the browser keep a language."""
    response.set_cookie(i18n.COOKIE, lang, max_age=365 * 86400, samesite="lax", path="/")
    return response


def told(request: Request, response: Response) -> Response:
    """The same response; to the script that sends forms, where it leads instead of leading there (`js/forms.js`)."""
    if response.status_code != HTTPStatus.SEE_OTHER or "patrol-form" not in request.headers:
        return response
    answer = PlainTextResponse("", 204)
    answer.raw_headers += [(name, value) for name, value in response.raw_headers if name == b"set-cookie"]
    answer.headers["Patrol-To"] = response.headers["location"]
    return answer


class PageRoute(APIRoute):
    """A route whose errors are pages, and that remembers the language that an address asks for."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, wrapped."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            lang = request.query_params.get("lang")
            if request.method == "GET" and lang in i18n.WORDS:
                return remember(RedirectResponse(make_ui(request).here, 303), lang)
            try:
                if request.method == "POST":
                    token = (await request.form()).get("csrf", "")
                    request.state.token = token if isinstance(token, str) else ""
                return told(request, await handle(request))
            except (RequestRefused, RequestValidationError, StoreError) as e:
                return refusal(request, e)

        return handled


def page_router() -> APIRouter:
    """A router of pages."""
    return APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)
