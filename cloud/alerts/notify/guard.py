"""From a host name to the addresses that may be spoken to: resolved once, every one of them looked at (S6).

Whoever connects uses what this gave and never the name again, so a name that answers otherwise a moment later changes
nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cloud.alerts.notify.rules import why_refused
from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Collection

Resolver = Callable[[str, int], Sequence[str]]
"""Given a host and a port: its addresses. Raises OSError."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses that the system knows for a host, each once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def addresses(host: str, port: int, resolver: Resolver, *, trusted: bool) -> Sequence[str]:
    """The addresses of a host. trusted: the configuration names it, so they are not looked at.

    Raises LinkError when there is none, or when one of them is not a public one.
    """
    try:
        found = resolver(host, port)
    except (OSError, UnicodeError) as e:
        raise LinkError(host, f"no such host: {getattr(e, 'strerror', None) or e}") from e
    if not found:
        raise LinkError(host, "no such host")
    _look(host, () if trusted else found)
    return found


def _look(host: str, found: Collection[str]) -> None:
    for address in found:
        why = why_refused(address)
        if why:
            raise LinkError(host, f"refused: {address} is a {why} address")
