"""What people are told of an incident: the messages that go to the notifications.

Owns the values of the templates `incident.opened`, `incident.untaken`, `incident.breached` and `incident.closed`. Times
are in the zone of the incident's node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cloud.alerts.notify.service import Message, enqueue
from cloud.incidents.rules import ClockName
from cloud.org.zones import moment
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row

    from cloud.org.rules import Role

CLOCKS: Final = {
    ClockName.ON_SCENE: ("到达现场", "on scene"),
    ClockName.REINFORCEMENT: ("增援到达", "reinforcement"),
    ClockName.AREA: ("区域控制", "area secured"),
}


def tell(
    tx: Connection, row: Row[Any], template: str, key: str, *, node: str, roles: Iterable[Role], now_ms: int,
    **values: str,
) -> int:  # fmt: skip
    """Tell the roles at a node; the same key again tells nobody. Gives how many deliveries were made.

    key: within the incident. values: of the template, beyond what every one has.
    """
    told = {
        "id": str(row.id), "what_zh": row.title_zh, "what_en": row.title_en, "where": row.place,
        "at": moment(tx, row.node, row.event_at), "source": row.source, "owner": row.owner or "",
        "severity": row.severity, **values,
    }  # fmt: skip
    message = Message(
        node=node, subject="incident", subject_id=row.id, template=template, values=told,
        severity=Severity(row.severity), roles=tuple(roles), urgent=template != "incident.closed",
        drill=row.drill is not None, key=f"incident/{row.id}/{key}",
    )  # fmt: skip
    return enqueue(tx, message, now_ms)
