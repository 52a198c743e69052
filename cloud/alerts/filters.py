"""From a filter of alarms to conditions of a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.alerts.models import AlarmFilter, AlarmState
from cloud.alerts.store import alarms
from cloud.paging import to_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import ColumnElement

EQUAL: Final = {
    "gateway": alarms.c.gateway, "device": alarms.c.device, "kind": alarms.c.kind, "drill": alarms.c.drill,
    "flapping": alarms.c.flapping, "group": alarms.c.group_key,
}  # fmt: skip
"""A key's value is the column's."""
PRESENT: Final = {
    "silenced": alarms.c.silence, "maintenance": alarms.c.maintenance, "folded": alarms.c.folded_into,
}  # fmt: skip
"""True wants a value in the column, False none."""
OTHER: Final[dict[str, Callable[[Any], ColumnElement[bool]]]] = {
    "quiet": lambda quiet: alarms.c.quiet != "" if quiet else alarms.c.quiet == "",
    "node": lambda node: alarms.c.node.startswith(node, autoescape=True),
    "raised_from": lambda time: alarms.c.raised_at >= to_ms(time),
    "raised_to": lambda time: alarms.c.raised_at < to_ms(time),
}


def conditions(query: AlarmFilter) -> Iterable[ColumnElement[bool]]:
    """What a filter asks for. Raises Invalid on a time without offset."""
    if query.state:
        yield sa.or_(*(_in_state(state) for state in query.state))
    if query.severity:
        yield alarms.c.severity.in_([severity.value for severity in query.severity])
    asked = {name: value for name in AlarmFilter.model_fields if (value := getattr(query, name)) is not None}
    for name, value in asked.items():
        if name in EQUAL:
            yield EQUAL[name] == value
        elif name in PRESENT:
            yield PRESENT[name].is_not(None) if value else PRESENT[name].is_(None)
        elif name in OTHER:
            yield OTHER[name](value)


def _in_state(state: AlarmState) -> ColumnElement[bool]:
    if state is AlarmState.CLEARED:
        return alarms.c.cleared_at.is_not(None)
    seen = alarms.c.acknowledged_at.is_(None) if state is AlarmState.OPEN else alarms.c.acknowledged_at.is_not(None)
    return sa.and_(alarms.c.cleared_at.is_(None), seen)
