"""What wraps every HTTP request: security headers, a bound on the body, figures, one log line without secrets.

Plain ASGI, so that event streams pass through unbuffered.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
from starlette.exceptions import HTTPException

from cloud import metrics
from cloud.problems import problem

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log: Final = structlog.get_logger("http")
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"geolocation=(), camera=(self), microphone=()"),
)
Headers = tuple[tuple[bytes, bytes], ...]


def headers_with(pictures: str) -> Headers:
    """The security headers. pictures: another host that images may come from, if any."""
    if not pictures:
        return HEADERS
    policy = CSP.replace("img-src 'self' data:", f"img-src 'self' data: {pictures}").encode()
    return tuple((name, policy if name == b"content-security-policy" else value) for name, value in HEADERS)


_QUIET: Final = ("/healthz", "/readyz", "/metrics", "/static")


class TooLarge(HTTPException):
    """More body than the limit. An HTTP error, so that the framework passes it on while it reads a body."""

    def __init__(self, body_bytes: int) -> None:
        super().__init__(413, f"a body of more than {body_bytes} bytes")


class Guard:
    """The outermost application."""

    def __init__(self, app: ASGIApp, *, body_bytes: int, pictures: str = "") -> None:
        self.app = app
        self.body_bytes = body_bytes
        self.headers = headers_with(pictures)

    def _check_announced(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self.body_bytes:
                raise TooLarge(self.body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 500
        taken = 0
        started = False

        async def receive_bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.body_bytes:
                raise TooLarge(self.body_bytes)
            return message

        async def send_guarded(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                _add_headers(message, scope, self.headers)
            await send(message)

        try:
            self._check_announced(scope)
            if b"%00" in scope["query_string"] or "\x00" in scope["path"]:
                await problem(422, "Not valid", "the address holds a NUL character")(scope, receive, send_guarded)
                return
            await self.app(scope, receive_bounded, send_guarded)
        except TooLarge as e:
            if not started:
                await problem(413, "Content Too Large", e.detail)(scope, receive, send_guarded)
        finally:
            _account(scope, status, time.perf_counter() - begun)


def _add_headers(message: MutableMapping[str, Any], scope: Scope, headers: Headers) -> None:
    given = {name for name, _ in message["headers"]}
    extra = [(name, value) for name, value in headers if name not in given]
    if b"cache-control" not in given and not scope["path"].startswith("/static"):
        extra.append((b"cache-control", b"no-store"))
    message["headers"] = [*message["headers"], *extra]


def _account(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")
    metrics.REQUESTS.labels(scope["method"], route, str(status)).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    if not scope["path"].startswith(_QUIET):
        # The query string is left out: it may hold what a user typed.
        log.info("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1))
