"""What a review needs to know of incidents: facts of a node and a period, not yet figures.

Owns the reading. An incident belongs to the period in which it was opened, so each is in exactly one; drills are told
apart and counted only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from cloud.incidents.store import clocks, incident_alarms, incidents

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

CLOSED: Final = "closed"
"""How a clock ends that nothing stopped before its incident was closed: that is no arrival."""


class IncidentFact(NamedTuple):
    """One incident. cause: what was said when it was closed."""

    id: int
    node: str
    category: str
    event_at: int
    closed_at: int | None
    cause: str


class ClockFact(NamedTuple):
    """One response clock. stopped_at: event time of what stopped it; None when nothing did but the incident's end."""

    incident: int
    node: str
    name: str
    started_at: int
    due_at: int
    stopped_at: int | None
    closed_at: int | None


class IncidentFigures(NamedTuple):
    """What happened, drills left out. drills: how many incidents were drills. of_alarm: the incident of an alarm."""

    incidents: list[IncidentFact]
    clocks: list[ClockFact]
    of_alarm: dict[int, int]
    drills: int


def figures(tx: Connection, node: str, from_ms: int, to_ms: int) -> IncidentFigures:
    """The incidents of a node and what is below it that were opened in a period."""
    period = _period(node, from_ms, to_ms)
    real = (*period, incidents.c.drill.is_(None))
    columns = (incidents.c.id, incidents.c.node, incidents.c.category, incidents.c.event_at, incidents.c.closed_at)
    found = [
        IncidentFact(*row)
        for row in tx.execute(sa.select(*columns, incidents.c.cause).where(*real).order_by(columns[0]))
    ]
    timed = (
        sa.select(
            clocks.c.incident, incidents.c.node, clocks.c.name,
            (clocks.c.due_at - sa.cast(clocks.c.target_s, sa.BigInteger) * 1000).label("started_at"), clocks.c.due_at,
            sa.case((sa.func.coalesce(clocks.c.how, "") != CLOSED, clocks.c.stopped_at)).label("stopped_at"),
            incidents.c.closed_at,
        )
        .join(incidents, incidents.c.id == clocks.c.incident)
        .where(*real)
        .order_by(clocks.c.incident, clocks.c.name)
    )  # fmt: skip
    joined = sa.select(incident_alarms.c.alarm, incident_alarms.c.incident).join(
        incidents, incidents.c.id == incident_alarms.c.incident
    )
    drills = sa.select(sa.func.count()).select_from(incidents).where(*period, incidents.c.drill.is_not(None))
    return IncidentFigures(
        found, [ClockFact(*row) for row in tx.execute(timed)],
        {row.alarm: row.incident for row in tx.execute(joined.where(*real))}, tx.execute(drills).scalar_one(),
    )  # fmt: skip


def _period(node: str, from_ms: int, to_ms: int) -> tuple[ColumnElement[bool], ...]:
    return (
        incidents.c.node.startswith(node, autoescape=True), incidents.c.opened_at >= from_ms,
        incidents.c.opened_at < to_ms,
    )  # fmt: skip
