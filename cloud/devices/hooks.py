"""Who is told within the transaction when a gateway goes or returns. Folders enter themselves when they are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

LINE: Final[list[Callable[[Connection, str, bool, int], None]]] = []
"""Given the gateway, whether it is online now, and since when."""


def tell_line(tx: Connection, gateway: str, online: bool, at_ms: int) -> None:
    """Tell everybody."""
    for listener in LINE:
        listener(tx, gateway, online, at_ms)
