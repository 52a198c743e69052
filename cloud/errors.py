"""Errors of the cloud that a caller of the API or of the command line sees.

Owns the translation from a refused request to an RFC 9457 problem: each class states its HTTP status and title.
"""

from __future__ import annotations

from firmware_specs.errors import PatrolError


class RequestRefused(PatrolError):  # noqa: N818 - states what happened to the request
    """A request cannot be served; its class says why. The message is the problem's `detail`."""

    status = 400
    title = "Bad request"


class Invalid(RequestRefused):
    """A parameter or a body is wrong. status 422."""

    status = 422
    title = "Not valid"


class NotSignedIn(RequestRefused):
    """No session, no token, or one that has ended."""

    status = 401
    title = "Not signed in"


class Forbidden(RequestRefused):
    """The role does not allow it, or the CSRF token is missing."""

    status = 403
    title = "Not allowed"


class NotFound(RequestRefused):
    """It does not exist, or lies outside what the caller may see; the two are not told apart."""

    status = 404
    title = "Not found"


class Conflict(RequestRefused):
    """The thing is in a state that does not allow it, or exists already."""

    status = 409
    title = "Conflict"


class TooManyTries(RequestRefused):
    """Throttled. retry_after_s: when it is worth trying again."""

    status = 429
    title = "Too many tries"

    def __init__(self, message: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Unavailable(RequestRefused):
    """A store cannot be reached now."""

    status = 503
    title = "Not available"
