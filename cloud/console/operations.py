"""What goes on, for the overview: incidents with their most urgent clock, posts, the level in force, running drills.

Owns which of it the overview shows and in what order. What is as it should be is not shown: on a calm day there is
nothing of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from cloud.console.levels import may_decide
from cloud.incidents import service as incidents
from cloud.incidents.drills import service as drills
from cloud.incidents.drills.models import DrillState
from cloud.incidents.levels import service as levels
from cloud.incidents.levels.models import DeclarationState
from cloud.incidents.models import IncidentFilter
from cloud.incidents.rules import State as Stands
from cloud.org import tree
from cloud.org.rules import Permission
from cloud.paging import MAX_LIMIT
from cloud.presence import service as presence
from cloud.presence.service import PostState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from cloud.console.ui import Ui
    from cloud.incidents.drills.models import DrillView
    from cloud.incidents.models import ClockView, IncidentView

SHOWN: Final = 4
LOOKED_AT: Final = 200
"""Open incidents that are ranked, the last opened first; more are not counted."""
_LATE: Final = datetime.max.replace(tzinfo=UTC)
_SEES_DRILLS: Final = (Permission.DRILL, Permission.RESPOND, Permission.AUDIT)


class Running(NamedTuple):
    """An open incident. clock: the one that is due first, None when none runs."""

    incident: IncidentView
    clock: ClockView | None


class Level(NamedTuple):
    """A level stricter than routine. node: where it is in force. others: further nodes below with one of their own."""

    level: int
    node: str
    others: int


class Operations(NamedTuple):
    """See the module. total: how many incidents are open, of which the most urgent are listed."""

    running: list[Running]
    total: int
    unmanned: int
    understaffed: int
    level: Level | None
    waiting: int
    """Declarations that the viewer may decide on."""
    drills: list[DrillView]

    @property
    def beside(self) -> int:
        """How many cards stand beside the incidents."""
        posts = bool(self.unmanned or self.understaffed)
        return posts + bool(self.level or self.waiting) + len(self.drills)


def operations(tx: Connection, ui: Ui, now_ms: int) -> Operations:
    """What goes on within the viewer's scope."""
    query = IncidentFilter(state=(Stands.OPEN, Stands.ON_SCENE))
    listed = incidents.list_incidents(tx, ui.who, query, now_ms, limit=LOOKED_AT).items
    posts = presence.counts(tx, ui.who)
    level, waiting = _level(tx, ui, now_ms)
    sees = any(map(ui.who.may, _SEES_DRILLS))
    return Operations(
        by_urgency(listed)[:SHOWN], len(listed), posts[PostState.UNMANNED], posts[PostState.UNDERSTAFFED], level,
        waiting, list(drills.list_drills(tx, ui.who, states=(DrillState.RUNNING,), limit=SHOWN).items) if sees else [],
    )  # fmt: skip


def by_urgency(listed: Iterable[IncidentView]) -> list[Running]:
    """Real ones before drills, then by the clock that is due first; those without a running clock last."""
    running = [Running(each, min(_ticking(each), key=lambda clock: clock.due_at, default=None)) for each in listed]
    return sorted(
        running, key=lambda each: (each.incident.drill is not None, each.clock.due_at if each.clock else _LATE)
    )


def _ticking(incident: IncidentView) -> list[ClockView]:
    return [clock for clock in incident.clocks if clock.remaining_s is not None]


def _level(tx: Connection, ui: Ui, now_ms: int) -> tuple[Level | None, int]:
    """The level of the viewer's own node, else the strictest declared below; and what waits for the viewer."""
    alive = (DeclarationState.PENDING, DeclarationState.APPROVED)
    listed = levels.list_declarations(tx, ui.who, now_ms, states=alive, limit=MAX_LIMIT).items
    waiting = sum(each.state is DeclarationState.PENDING and may_decide(tx, ui, each) for each in listed)
    own = levels.effective(tx, ui.who.node, now_ms)
    below = sorted((each for each in listed if each.in_force), key=lambda each: (each.level, each.node))
    if own < levels.ROUTINE:
        zh, en = tree.names(tx, [ui.who.node]).get(ui.who.node, (tree.TOP.name_zh, tree.TOP.name_en))
        return Level(own, ui.called(zh, en), 0), waiting
    if not below:
        return None, waiting
    others = len({each.node for each in below}) - 1
    return Level(below[0].level, ui.called(below[0].node_zh, below[0].node_en), others), waiting
