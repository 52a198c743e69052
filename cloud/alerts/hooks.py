"""Who else wants to know what happens to an alarm, within the transaction in which it happens.

Owns the list. Folders that react to alarms (incidents, escalation, notifications) enter themselves when they are
loaded; alerts never import them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from cloud.alerts.facts import facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from cloud.alerts.facts import Facts


class Happening(StrEnum):
    """What happened to an alarm."""

    RAISED = "raised"
    """It stands open for its family now: a new alarm, one that was folded and stands for itself again, or one that
    something kept quiet and that people are to know of now. `quiet` of its view says whether it is told at all."""
    ACKNOWLEDGED = "acknowledged"
    CLEARED = "cleared"


LISTENERS: Final[list[Callable[[Connection, Happening, Facts, int], None]]] = []
"""Each is given the transaction, what happened, the alarm as it stood before the first of them acted, and the present
in milliseconds UTC."""


def tell(tx: Connection, happening: Happening, alarm_id: int, now_ms: int) -> None:
    """Tell every listener, in the order in which they entered."""
    alarm = facts(tx, [alarm_id])[alarm_id]
    for listener in LISTENERS:
        listener(tx, happening, alarm, now_ms)
