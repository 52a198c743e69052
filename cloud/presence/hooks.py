"""Who else wants to know where a member on shift was, within the transaction that took it up.

Owns the list and what is handed on. Incidents enter themselves here: a responder's fix inside the scene stops a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection


class Evidence(NamedTuple):
    """Where a member was, and what says so.

    kind: fix, checkin, door. at_ms: event time. lat, lon: WGS-84; of the post for a check-in or a door. post: the post
    that a check-in or door belongs to.
    """

    member: int
    kind: str
    at_ms: int
    lat: float
    lon: float
    accuracy_m: float
    post: int | None = None


LISTENERS: Final[list[Callable[[Connection, Sequence[Evidence], int], None]]] = []
"""Each is given the transaction, everything that a turn took up, and the present in milliseconds UTC; repeats may
come."""


def tell(tx: Connection, evidence: Sequence[Evidence], now_ms: int) -> None:
    """Tell every listener."""
    for listener in LISTENERS:
        listener(tx, evidence, now_ms)
