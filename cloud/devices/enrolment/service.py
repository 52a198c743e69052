"""What other folders may do with enrolment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Given(NamedTuple):
    """A certificate that a gateway was given. Times in milliseconds UTC; serial: hex."""

    serial: str
    issued_at: int
    not_before: int
    not_after: int
    revoked_at: int | None


def certificates(tx: Connection, gateway: str) -> list[Given]:  # noqa: ARG001 - until there is enrolment
    """A gateway's certificates, the newest first."""
    return []
