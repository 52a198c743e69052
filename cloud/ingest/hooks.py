"""Who takes what gateways tell beside readings, statuses and the report of their devices.

Owns the lists. Folders enter themselves when they are loaded; ingest never imports them. Each is called in the commit
transaction, may be called again with the same message, and by any ingest process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from firmware_specs.wire import Reported, Status

    Taker = Callable[[Connection, str, str, bytes, int], None]

DOCUMENTS: Final[dict[str, Taker]] = {}
"""By the topic's part below the gateway, or its first part: `reported/config`, `result`, `discovered`. Each is given
the transaction, the gateway, what follows that part, the payload and the present. Raises PackError to refuse it."""

STATUS: Final[list[Callable[[Connection, str, Status, int], None]]] = []
"""Told of each status that is not a will, after the fleet has taken it."""

REPORTED: Final[list[Callable[[Connection, str, Reported, int], None]]] = []
"""Told of each report of a gateway's devices, after the fleet has taken it."""


def taker(kind: str) -> tuple[Taker, str] | None:
    """Who takes a document, and what follows the part that it is known by."""
    if kind in DOCUMENTS:
        return DOCUMENTS[kind], ""
    first, _, rest = kind.partition("/")
    return (DOCUMENTS[first], rest) if first in DOCUMENTS else None
