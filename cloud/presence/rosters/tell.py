"""What changed of a roster, for the event stream: which thing, and nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud import stream
from cloud.presence.rosters.models import RosterEvent

if TYPE_CHECKING:
    from sqlalchemy import Connection


def tell(tx: Connection, subject: str, thing: int, node: str, now_ms: int) -> None:
    """Have pages that show rosters look again. subject: `shift`, `member`, `equipment` or `sos`."""
    stream.append(tx, "presence", RosterEvent(subject=subject, id=thing), at=now_ms, node=node)
