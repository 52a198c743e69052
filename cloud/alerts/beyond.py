"""What alarms ask of folders that are themselves built on alarms: who sends, which level holds, which drill runs.

Owns that direction, and so the only imports that wait for a call: those folders import alerts when they are loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.alerts.notify.service import Delivery, Message


def send(tx: Connection, message: Message) -> int:
    """Put a message in; how many deliveries were made."""
    from cloud.alerts.notify import service  # noqa: PLC0415 - see above

    return service.enqueue(tx, message)


def sent(tx: Connection, alarm_id: int) -> list[Delivery]:
    """What was sent about an alarm, oldest first."""
    from cloud.alerts.notify import service  # noqa: PLC0415 - see above

    return service.deliveries_of(tx, "alarm", alarm_id)


def failing(tx: Connection, since_ms: int) -> int:
    """How many deliveries failed for good since a time."""
    from cloud.alerts.notify import service  # noqa: PLC0415 - see above

    return service.failing(tx, since_ms)


def escalation_percent(tx: Connection, node: str, now_ms: int) -> int:
    """How long escalation takes at the response level in force, in percent of what holds at level 4."""
    from cloud.incidents.levels import service  # noqa: PLC0415 - see above

    return service.policy(tx, node, service.effective(tx, node, now_ms)).escalation_percent


def running_drill(tx: Connection, node: str, now_ms: int) -> int | None:
    """The drill that covers a node."""
    from cloud.incidents.drills import service  # noqa: PLC0415 - see above

    return service.running(tx, node, now_ms)
