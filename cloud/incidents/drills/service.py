"""What other folders may do with drills: begin, end, score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.alerts import hooks
from cloud.alerts.hooks import Happening
from cloud.errors import Conflict, Invalid
from cloud.incidents.drills.conduct import end, mark, may_drill, plan, start
from cloud.incidents.drills.models import DrillState
from cloud.incidents.drills.views import get_drill, list_drills, row_of, running
from cloud.incidents.levels import service as levels

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.alerts.facts import Facts
    from cloud.incidents.levels.models import DeclarationView, Declare
    from cloud.org.rules import Principal

__all__ = ["declare_level", "end", "get_drill", "list_drills", "plan", "running", "start"]


def declare_level(
    tx: Connection, actor: Principal, drill: int, given: Declare, *, starts_at: int | None, ends_at: int | None,
    now_ms: int,
) -> DeclarationView:  # fmt: skip
    """Declare a response level within a drill: approved like a real one, it changes nothing that is real.

    Raises NotFound, Forbidden, Invalid, Conflict.
    """
    may_drill(actor)
    row = row_of(tx, actor, drill)
    if row.state == DrillState.ENDED:
        raise Conflict(f"drill {drill}: is ended already")
    if not given.node.startswith(row.node):
        raise Invalid(f"node: {given.node} lies outside the drill, which covers {row.node}")
    if ends_at is not None and ends_at > row.ends_at:
        raise Invalid("ends_at: it would outlast the drill")
    return levels.declare(
        tx, actor, given.node, given.level, given.reason, now_ms=now_ms, scope=given.scope, starts_at=starts_at,
        ends_at=ends_at, drill=drill,
    )  # fmt: skip


def _on_alarm(tx: Connection, happening: Happening, alarm: Facts, now_ms: int) -> None:
    if happening is Happening.RAISED:
        mark(tx, alarm, now_ms)


# First of all listeners: whoever opens an incident from the alarm finds its drill in place.
hooks.LISTENERS.insert(0, _on_alarm)
