"""The HTTP of alarms."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from cloud.alerts import service
from cloud.alerts.models import AlarmDetail, AlarmFilter, AlarmView, Assign, Comment, Note, OpenCounts, Shelve
from cloud.org.auth import SignedIn, State, Viewer  # noqa: TC001 - FastAPI reads annotations
from cloud.paging import Page  # noqa: TC001 - FastAPI reads annotations
from cloud.problems import documented
from cloud.routing import Id, Part
from cloud.state import now_ms

router = APIRouter(tags=["alarms"], responses=documented(401, 403, 422, 503))


class AlarmQuery(AlarmFilter, Part):
    """The query of a list of alarms."""


@router.get("/alarms")
def list_alarms(state: State, who: Viewer, query: Annotated[AlarmQuery, Query()]) -> Page[AlarmView]:
    """Alarms, newest raised first. Several `state` or `severity` parameters mean any of them."""
    with state.db.read() as tx:
        return service.list_alarms(tx, who, query, limit=query.limit, cursor=query.cursor)


@router.get("/alarms/counts")
def counts(state: State, who: Viewer) -> OpenCounts:
    """How many alarms are not cleared."""
    with state.db.read() as tx:
        return service.open_counts(tx, who, now_ms())


@router.get("/alarms/{alarm_id}", responses=documented(404))
def get_alarm(state: State, who: Viewer, alarm_id: Id) -> AlarmDetail:
    """One alarm and everything that happened to it."""
    with state.db.read() as tx:
        return service.get_alarm(tx, who, alarm_id)


@router.post("/alarms/{alarm_id}/ack", responses=documented(404))
def acknowledge(state: State, who: SignedIn, alarm_id: Id, body: Note | None = None) -> AlarmView:
    """Somebody has seen it."""
    with state.db.begin() as tx:
        return service.acknowledge(tx, who, alarm_id, now_ms(), body.comment if body else None)


@router.post("/alarms/{alarm_id}/clear", responses=documented(404))
def clear(state: State, who: SignedIn, alarm_id: Id, body: Note | None = None) -> AlarmView:
    """Clear it by hand."""
    with state.db.begin() as tx:
        return service.clear(tx, who, alarm_id, now_ms(), body.comment if body else None)


@router.post("/alarms/{alarm_id}/comment", responses=documented(404))
def comment(state: State, who: SignedIn, alarm_id: Id, body: Comment) -> AlarmView:
    """Add a remark."""
    with state.db.begin() as tx:
        return service.comment(tx, who, alarm_id, now_ms(), body.comment)


@router.post("/alarms/{alarm_id}/assign", responses=documented(404))
def assign(state: State, who: SignedIn, alarm_id: Id, body: Assign) -> AlarmView:
    """Give it to somebody, or with null to nobody."""
    with state.db.begin() as tx:
        return service.assign(tx, who, alarm_id, now_ms(), body.user)


@router.post("/alarms/{alarm_id}/shelve", responses=documented(404))
def shelve(state: State, who: SignedIn, alarm_id: Id, body: Shelve) -> AlarmView:
    """Take it out of sight for a while; 0 seconds bring it back."""
    now = now_ms()
    with state.db.begin() as tx:
        return service.shelve(tx, who, alarm_id, now, until_ms=now + body.seconds * 1000, reason=body.reason)
