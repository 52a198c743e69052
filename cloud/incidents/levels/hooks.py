"""Who else wants to know that a node's effective response level changed, within the transaction that changed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

LISTENERS: Final[list[Callable[[Connection, str, int], None]]] = []
"""Each is given the transaction, the node's path and the present in milliseconds UTC."""
