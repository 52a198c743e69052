"""What a channel's target may be: its form, where it leads, and what of it may be shown. Pure.

Owns the table of apprise's services that are let in. Those whose servers are the service's own lead nowhere else.
Those that name a server (mail, appliances of one's own) must be encrypted and pass the guard, unless the
configuration's `allow_hosts` names them. Everything else of apprise's, above all what reaches any address at all
(json://, form://, syslog, scripts), is refused: that is what the kind `webhook` is for.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from cloud.alerts.notify.rules import why_refused
from cloud.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Collection
    from urllib.parse import SplitResult

WEBHOOK_PORTS: Final = frozenset({80, 443, 8443, 9443})
MAIL_PORTS: Final = frozenset({25, 465, 587, 2525})
MOST: Final = 2000


class Kind(StrEnum):
    """How a channel sends."""

    WEBHOOK = "webhook"
    """JSON by HTTPS, signed."""
    APPRISE = "apprise"
    """One of the services of `SERVICES`."""


class Markup(StrEnum):
    """What a service reads as markup in plain text, and is therefore escaped."""

    NONE = "none"
    TAGS = "tags"
    """`<a>`, `<at>`."""
    MARKDOWN = "markdown"


class Service(NamedTuple):
    """A service of apprise. form: what a target looks like. length: characters of a message.

    titled: it shows a title apart. server: ports that a target may name, None when the service's own are used.
    """

    form: str
    length: int
    markup: Markup = Markup.NONE
    titled: bool = False
    server: frozenset[int] | None = None


SERVICES: Final[dict[str, Service]] = {
    "wecombot": Service("wecombot://KEY", 600, Markup.TAGS),
    "wechat": Service("wechat://CORPID:SECRET@AGENTID/USER", 600, Markup.TAGS),
    "dingtalk": Service("dingtalk://SECRET@TOKEN", 3000, Markup.TAGS),
    "feishu": Service("feishu://TOKEN", 3000, Markup.TAGS),
    "lark": Service("lark://TOKEN", 3000, Markup.TAGS),
    "mailtos": Service("mailtos://USER:PASSWORD@DOMAIN?smtp=SERVER&to=ADDRESS", 4000, titled=True, server=MAIL_PORTS),
    "mailto": Service("mailto://DOMAIN:25?smtp=SERVER&from=ADDRESS&to=ADDRESS", 4000, titled=True, server=MAIL_PORTS),
    "twilio": Service("twilio://SID:TOKEN@FROM/TO", 140),
    "vonage": Service("vonage://KEY:SECRET@FROM/TO", 140),
    "nexmo": Service("nexmo://KEY:SECRET@FROM/TO", 140),
    "clickatell": Service("clickatell://KEY/TO", 140),
    "msg91": Service("msg91://TEMPLATE@KEY/TO", 140),
    "d7sms": Service("d7sms://TOKEN@TO", 140),
    "msgbird": Service("msgbird://KEY/FROM/TO", 140),
    "plivo": Service("plivo://ID@TOKEN/FROM/TO", 140),
    "bulksms": Service("bulksms://ID:SECRET@TO", 140),
    "clicksend": Service("clicksend://USER:KEY@TO", 140),
    "telnyx": Service("telnyx://KEY@FROM/TO", 140),
    "smseagles": Service("smseagles://TOKEN@HOST/TO", 300, server=WEBHOOK_PORTS),
    "smseagle": Service("smseagle://TOKEN@HOST:PORT/TO", 300, server=WEBHOOK_PORTS),
    "gotifys": Service("gotifys://HOST/TOKEN", 3000, titled=True, server=WEBHOOK_PORTS),
    "gotify": Service("gotify://HOST:PORT/TOKEN", 3000, titled=True, server=WEBHOOK_PORTS),
    "mmosts": Service("mmosts://HOST/TOKEN", 3000, Markup.MARKDOWN, server=WEBHOOK_PORTS),
    "mmost": Service("mmost://HOST:PORT/TOKEN", 3000, Markup.MARKDOWN, server=WEBHOOK_PORTS),
}
"""By scheme. The unencrypted ones of those that name a server reach hosts of `allow_hosts` only."""

WEBHOOK: Final = Service("https://HOST/PATH", 4000)
_MAIL_KEYS: Final = frozenset({"to", "cc", "bcc", "from", "name", "smtp", "mode", "reply"})
_KEYS: Final = frozenset({"to", "from"})


class Target(NamedTuple):
    """A parsed target. host: empty when the service's own servers are used; then port is 0."""

    kind: Kind
    url: str
    scheme: str
    host: str
    port: int
    path: str
    service: Service

    @property
    def secure(self) -> bool:
        """Whether a webhook goes by TLS."""
        return self.scheme == "https"

    @property
    def mask(self) -> str:
        """What may be shown of it."""
        if not self.host:
            return f"{self.scheme}://…"
        return f"{self.scheme}://{self.host}{'' if self.port in {0, 443} else f':{self.port}'}/…"


def parse(kind: Kind, url: str) -> Target:
    """A target of the right form. Raises Invalid, which never repeats the target: it is a secret."""
    if not url.isprintable() or any(c in url for c in " \\") or not 0 < len(url) <= MOST:
        raise Invalid(f"target: not an address of at most {MOST} characters without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise Invalid("target: not an address") from e
    return _webhook(url, parts, port) if kind is Kind.WEBHOOK else _apprise(url, parts, port)


def _webhook(url: str, parts: SplitResult, port: int | None) -> Target:
    if parts.scheme not in {"https", "http"}:
        raise Invalid("target: a webhook is https://host/path")
    if "@" in parts.netloc or parts.fragment:
        raise Invalid("target: a webhook's address has neither a user nor a fragment")
    host = _host(parts.hostname)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise Invalid("target: the path is not percent-encoded")
    port = port or (443 if parts.scheme == "https" else 80)
    return Target(Kind.WEBHOOK, url, parts.scheme, host, port, path, WEBHOOK)


def _host(host: str | None) -> str:
    try:
        plain = (host or "").encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError as e:
        raise Invalid("target: not a host name") from e
    if not plain:
        raise Invalid("target: names no host")
    return plain


def _apprise(url: str, parts: SplitResult, port: int | None) -> Target:
    service = SERVICES.get(parts.scheme)
    if service is None:
        raise Invalid(f"target: {parts.scheme[:32] or 'nothing'}:// is not let in; there are {', '.join(SERVICES)}")
    keys = _MAIL_KEYS if parts.scheme.startswith("mailto") else _KEYS
    given = parse_qsl(parts.query, keep_blank_values=True)
    wrong = next((key for key, _ in given if key not in keys), None)
    if wrong is not None:
        raise Invalid(f"target: the parameter {wrong[:32]!r} is not let in; there are {', '.join(sorted(keys))}")
    if service.server is None:
        return Target(Kind.APPRISE, url, parts.scheme, "", 0, "", service)
    named = dict(given).get("smtp") or parts.hostname
    return Target(Kind.APPRISE, url, parts.scheme, _host(named), port or 0, "", service)


def check(host: str, port: int, *, secure: bool, ports: Collection[int], allowed: Collection[str]) -> bool:
    """Whether a host and port is one that the configuration allows by name; others have to be encrypted and ordinary.

    True: its addresses need no look. Raises Invalid.
    """
    if f"{host}:{port}" in allowed or f"[{host}]:{port}" in allowed:
        return True
    if not secure:
        raise Invalid(f"target: {host}:{port} is not encrypted, and [notify] allow_hosts does not name it")
    if port not in ports:
        raise Invalid(f"target: port {port} is none of {', '.join(map(str, sorted(ports)))}")
    why = why_refused(host)
    if why and why != "not an address":
        raise Invalid(f"target: {host} is a {why} address, and [notify] allow_hosts does not name it")
    return False
