"""What alarms ask of folders that are built on alarms: who sends, who is on duty, which level holds.

Owns that direction, and so the only imports that wait for a call: those folders import alerts when they are loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.alerts.notify.models import DeliveryView
    from cloud.alerts.notify.service import Message


def send(tx: Connection, message: Message, now_ms: int) -> int:
    """Put a message in; how many deliveries were made."""
    from cloud.alerts.notify import service  # noqa: PLC0415 - see above

    return service.enqueue(tx, message, now_ms)


def sent(tx: Connection, alarm_id: int) -> list[DeliveryView]:
    """What was sent about an alarm, oldest first."""
    from cloud.alerts.notify import service  # noqa: PLC0415 - see above

    return service.deliveries_of(tx, "alarm", alarm_id)


def failing(tx: Connection, now_ms: int) -> int:
    """How many channels have failed for a while."""
    from cloud.alerts.notify import service  # noqa: PLC0415 - see above

    return len(service.failing(tx, now_ms))


def escalation_percent(tx: Connection, node: str, now_ms: int) -> int:
    """How long escalation takes at the response level in force, in percent of what holds at level 4."""
    from cloud.incidents.levels import service  # noqa: PLC0415 - see above

    return service.policy(tx, node, service.effective(tx, node, now_ms)).escalation_percent


def on_duty(tx: Connection, node: str, now_ms: int) -> tuple[str, ...]:
    """The accounts of members on duty at a node, at one below it, or for one that it lies in."""
    from cloud.presence.rosters import service  # noqa: PLC0415 - see above

    return service.accounts_on_duty(tx, node, now_ms)
