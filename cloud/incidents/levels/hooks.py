"""Who else wants to know that what a response level demands has changed, within the transaction in which it does.

Owns the list. Folders that derive numbers from a level (posts' headcounts, the gateways' reporting intervals) enter
themselves when they are loaded; levels never import them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

LISTENERS: Final[list[Callable[[Connection, str, int], None]]] = []
"""Each is given the transaction, a node and the present in milliseconds UTC. Told when the node's effective level
changes, or the policy that holds for it; what lies below the node may have changed with it. Repeats may come, and a
level may turn out to be what it was: ask `levels.service` what holds now."""


def tell(tx: Connection, node: str, now_ms: int) -> None:
    """Tell every listener, in the order in which they entered."""
    for listener in LISTENERS:
        listener(tx, node, now_ms)
