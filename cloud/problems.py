"""Every error of the HTTP API as an RFC 9457 problem document.

Owns `application/problem+json`. Nothing of the inside is told: an unexpected error says only that, and is logged.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException

from cloud.errors import RequestRefused, TooManyTries
from cloud.paging import View
from firmware_specs.errors import PatrolError, StoreError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

MEDIA_TYPE: Final = "application/problem+json"
log: Final = structlog.get_logger("http")


class Fault(View):
    """What is wrong with one part of a request."""

    at: str
    """`query.limit`, `body.reason`."""
    problem: str


class Problem(View):
    """RFC 9457: what went wrong. `type` is about:blank, so `title` says it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Fault] | None = None


def problem(
    status: int, title: str, detail: str, *, errors: list[Fault] | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """A problem document as a response."""
    body = Problem(title=title, status=status, detail=detail, errors=errors).model_dump(exclude_none=True)
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


async def _refused(_request: Request, e: Exception) -> JSONResponse:
    if not isinstance(e, RequestRefused):
        raise TypeError from e
    headers = {"Retry-After": str(e.retry_after_s)} if isinstance(e, TooManyTries) else None
    if e.status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer"}
    return problem(e.status, e.title, str(e), headers=headers)


async def _store(_request: Request, e: Exception) -> JSONResponse:
    log.error("store refused", error=str(e))
    return problem(503, "Not available", "a store cannot be reached now; try again", headers={"Retry-After": "5"})


def is_race(e: IntegrityError) -> bool:
    """Whether something that has to be unique was there already."""
    return getattr(e.orig, "sqlstate", "") == "23505" or "UNIQUE constraint failed" in str(e.orig)


async def _raced(_request: Request, e: Exception) -> JSONResponse:
    """What was looked for and not there came in between; told as it would have been a moment later."""
    if not isinstance(e, IntegrityError) or not is_race(e):
        raise e
    log.warning("two made the same at once", error=str(e).splitlines()[0][:300])
    return problem(409, _title(409), "another request made the same at this moment")


async def _patrol(_request: Request, e: Exception) -> JSONResponse:
    return problem(422, "Not valid", str(e))


async def _http(_request: Request, e: Exception) -> JSONResponse:
    if not isinstance(e, HTTPException):
        raise TypeError from e
    return problem(e.status_code, _title(e.status_code), str(e.detail), headers=dict(e.headers) if e.headers else None)


async def _invalid(_request: Request, e: Exception) -> JSONResponse:
    if not isinstance(e, RequestValidationError):
        raise TypeError from e
    faults = [Fault(at=".".join(map(str, each["loc"])), problem=each["msg"]) for each in e.errors()]
    first = faults[0] if faults else Fault(at="request", problem="not valid")
    return problem(422, "Not valid", f"{first.at}: {first.problem}", errors=faults)


async def _unexpected(_request: Request, _e: Exception) -> JSONResponse:
    return problem(500, "Internal error", "an unexpected error; it was logged")


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""
    app.add_exception_handler(RequestRefused, _refused)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(IntegrityError, _raced)
    app.add_exception_handler(PatrolError, _patrol)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for the OpenAPI document."""
    return {
        status: {
            "description": _title(status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
