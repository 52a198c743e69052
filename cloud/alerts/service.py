"""What other folders may do with alarms: apply what gateways tell, act as a person, read views."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from cloud.alerts.models import AlarmDetail, AlarmFilter, AlarmView, OpenCounts
    from cloud.org.rules import Principal
    from cloud.paging import Page
    from firmware_specs.readings import AlarmEvent


def apply_events(
    tx: Connection, gateway: str, epoch: str, items: Sequence[tuple[int, AlarmEvent]], now_ms: int
) -> None:
    """Apply new alarm events of one gateway and outbox epoch, each with its sequence number, in any order.

    Repeats change nothing. Emits `alarm` events to the stream for what changed.
    """
    raise NotImplementedError


def list_alarms(
    tx: Connection, principal: Principal, query: AlarmFilter, *, limit: int = 100, cursor: str | None = None
) -> Page[AlarmView]:
    """Alarms within scope, newest raised first. Raises Invalid on a cursor that is none."""
    raise NotImplementedError


def get_alarm(tx: Connection, principal: Principal, alarm_id: int) -> AlarmDetail:
    """One alarm with its history. Raises NotFound when absent or out of scope."""
    raise NotImplementedError


def open_counts(tx: Connection, principal: Principal, now_ms: int) -> OpenCounts:
    """Counts of what `list_alarms` would list as not cleared and not folded."""
    raise NotImplementedError


def acknowledge(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, comment: str | None = None) -> AlarmView:
    """Somebody has seen it. A repeat changes nothing. Raises NotFound, Forbidden."""
    raise NotImplementedError


def clear(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, comment: str | None = None) -> AlarmView:
    """Clear by hand. A repeat changes nothing. Raises NotFound, Forbidden."""
    raise NotImplementedError


def comment(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, text: str) -> AlarmView:
    """Add a remark. Raises NotFound, Forbidden."""
    raise NotImplementedError


def assign(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, user: str | None) -> AlarmView:
    """Give it to somebody. Raises NotFound, Forbidden, Invalid (no such user)."""
    raise NotImplementedError


def shelve(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, *, until_ms: int, reason: str) -> AlarmView:
    """Take it out of sight until a time; a time that has passed brings it back. Raises NotFound, Forbidden."""
    raise NotImplementedError
