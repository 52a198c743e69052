"""From a host name to the addresses that may be spoken to: resolved once, every one of them looked at (S6).

Whoever connects uses what this gave and never the name again, so a name that answers otherwise a moment later changes
nothing. A library that asks for the name itself connects within `public_only`, where this looks at each address in the
moment in which it is connected to.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from cloud.alerts.notify.rules import why_refused
from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_KEPT: Final[ContextVar[list[str] | None]] = ContextVar("kept", default=None)
"""Within `public_only`: the addresses that whoever sends was kept from."""
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


@cache
def _watch() -> None:
    """Have the interpreter ask before this process connects anywhere; it cannot be asked to stop."""

    def ask(event: str, args: tuple[Any, ...]) -> None:
        kept = _KEPT.get() if event == "socket.connect" else None
        if kept is None or not isinstance(args[1], tuple):
            return
        address = str(args[1][0])
        if why_refused(address):
            kept.append(address)
            raise ConnectionRefusedError(f"{address} is a {why_refused(address)} address")

    sys.addaudithook(ask)


@contextlib.contextmanager
def public_only(host: str) -> Iterator[None]:
    """Connect to public addresses only, in this thread. Raises LinkError when it was kept from another one."""
    _watch()
    kept = list[str]()
    token = _KEPT.set(kept)
    try:
        yield
    finally:
        _KEPT.reset(token)
    _look(host, kept)
