"""Who is told that a gateway was enrolled.

Owns the list. Folders enter themselves when they are loaded; enrolment never imports them. Each is called in the
transaction that consumes the claim, so what it does is done exactly when the gateway is enrolled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

ENROLLED: Final[list[Callable[[Connection, str, str, int], None]]] = []
"""Given the transaction, the gateway, its node and the present, at a first enrolment and at a re-claim."""
