"""What other folders may do with campaigns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


def outcome(  # noqa: PLR0917 - what, of whom, and when
    tx: Connection, campaign_id: int, gateway: str, device: str, ok: bool, reason: str, now_ms: int,
    *, back: bool = False, told_ms: int = 0,
) -> bool:  # fmt: skip
    """Take what came of an order; whether it changed anything."""
    del tx, campaign_id, gateway, device, ok, reason, now_ms, back, told_ms
    return False


def progress(tx: Connection, campaign_id: int, gateway: str, device: str, phase: str, now_ms: int) -> None:  # noqa: PLR0917
    """Note how far a member is."""
    del tx, campaign_id, gateway, device, phase, now_ms
