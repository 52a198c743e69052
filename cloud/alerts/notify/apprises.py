"""The services of apprise: opening a target, checking where it leads, sending by it.

The library is loaded on first use; its types and its log stop here. It follows no redirects and interprets nothing of
what it is given. It says only whether it sent; why it did not is taken from what it logged meanwhile, and
what is secret in the target is struck out of that.

A server that a target names is looked at before each sending. apprise asks for its name once more, so what it connects
to is looked at in that moment as well: a name that answers otherwise in between gains nothing.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from cloud.alerts.notify import guard, targets, texts
from cloud.alerts.notify.targets import MAIL_PORTS, Kind
from cloud.errors import Invalid
from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Collection

    from cloud.alerts.notify.guard import Resolver
    from cloud.alerts.notify.targets import Target

SHORTEST: Final = 4
"""What is shorter is no secret and would strike out half a sentence."""


_SAID: Final[ContextVar[list[str] | None]] = ContextVar("said", default=None)
"""What the library logs of the sending that is under way here."""


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        said = _SAID.get()
        if said is not None:
            said.append(record.getMessage())


@cache
def _library() -> Any:  # noqa: ANN401 - the library's types stop here
    with warnings.catch_warnings():  # its PGP support, which is not used, imports what Python gives up in 3.13
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise  # noqa: PLC0415 - a third of a second that only a sender needs
        import apprise.plugins.email  # noqa: PLC0415
    log = logging.getLogger("apprise")
    log.addHandler(_Said(logging.WARNING))
    log.propagate = False  # it names targets
    return apprise


def _open(target: Target, timeout_s: float = 15) -> Any:  # noqa: ANN401
    """The library's object for a target. Raises Invalid when it cannot make one."""
    apprise = _library()
    asset = apprise.AppriseAsset(
        app_id="PatrolGrid", app_desc="PatrolGrid", app_url="", http_redirects=False, async_mode=False,
        interpret_escapes=False, storage_mode="memory",
    )  # fmt: skip
    more = f"format=text&overflow=truncate&cto={timeout_s:g}&rto={timeout_s:g}"
    url = f"{target.url}{'&' if '?' in target.url else '?'}{more}"
    made = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if not made:
        raise Invalid(f"target: not {target.service.form}")
    return made


def _end(target: Target, made: Any) -> tuple[str, int, bool]:  # noqa: ANN401
    """Where an opened target leads: host, port, whether it is encrypted with a checked certificate."""
    if target.service.server is MAIL_PORTS:
        secure = str(made.secure_mode) in {"ssl", "starttls"}
        return str(made.smtp_host).lower().strip("[]"), int(made.port), secure
    secure = bool(made.secure)
    return str(made.host).lower().strip("[]"), int(made.port or (443 if secure else 80)), secure


def check(target: Target, allowed: Collection[str] | None) -> bool:
    """Whether a target can be used, before anything is sent; for both kinds. allowed: None leaves that for later.

    True: the configuration names its host. Raises Invalid.
    """
    host, port, secure = target.host, target.port, target.secure
    if target.kind is Kind.APPRISE:
        made = _open(target)
        if target.service.server is None:
            return False
        host, port, secure = _end(target, made)
    if allowed is None:
        return False
    ports = targets.WEBHOOK_PORTS if target.service.server is None else target.service.server
    return targets.check(host, port, secure=secure, ports=ports, allowed=allowed)


def send(target: Target, text: texts.Text, *, allowed: Collection[str], resolver: Resolver, timeout_s: float) -> str:
    """Send a message; gives what is known of its receipt. Raises Invalid, LinkError."""
    made = _open(target, timeout_s)
    within: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if target.service.server is not None:
        host, port, secure = _end(target, made)
        trusted = targets.check(host, port, secure=secure, ports=target.service.server, allowed=allowed)
        guard.addresses(host, port, resolver, trusted=trusted)
        within = within if trusted else guard.public_only(host)
    fitted = texts.fitted(target.service, text)
    said = list[str]()
    token = _SAID.set(said)
    try:
        # By the service itself: the library's own way goes by a few threads that all sendings of a process share.
        with within:
            sent = bool(made.notify(body=fitted.body or fitted.title, title=fitted.title, body_format="text"))
    finally:
        _SAID.reset(token)
    if not sent:
        raise LinkError(target.mask, struck(target, " ".join(said)) or "apprise could not send it")
    return f"{target.scheme}: accepted"


def struck(target: Target, said: str) -> str:
    """A text without the parts of a target."""
    parts = urlsplit(target.url)
    secret = [*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    secret += parts.netloc.replace("@", ":").split(":")
    for each in sorted({form for part in secret for form in (part, unquote(part))}, key=len, reverse=True):
        if len(each) >= SHORTEST and each.lower() != target.host:
            said = said.replace(each, "…")
    return said
