"""The HTTP of incidents and their plans."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from cloud.errors import Invalid
from cloud.incidents import models, service
from cloud.incidents.models import (  # noqa: TC001 - FastAPI reads annotations
    CandidateView,
    IncidentDetail,
    IncidentView,
    MissedView,
    PlanView,
)
from cloud.incidents.rules import Category, ClockName  # noqa: TC001 - the same
from cloud.incidents.views import plan_view
from cloud.org import tree
from cloud.org.auth import SignedIn, State, Viewer, require
from cloud.org.node_models import NodePath  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission, Principal
from cloud.paging import Page, to_ms
from cloud.problems import documented
from cloud.routing import Id, Part
from cloud.state import now_ms

router = APIRouter(tags=["incidents"], responses=documented(401, 403, 422, 503))

Responding = Annotated[Principal, Depends(require(Permission.RESPOND))]
LONGEST = timedelta(days=400)
NDJSON = "application/x-ndjson"


class IncidentQuery(models.IncidentFilter, Part):
    """The query of a list of incidents."""


class Form(StrEnum):
    """How a timeline is given."""

    JSON = "json"
    JSONL = "jsonl"


@router.get("/incidents")
def list_incidents(state: State, who: Viewer, query: Annotated[IncidentQuery, Query()]) -> Page[IncidentView]:
    """Incidents, the last opened first. Several `state` or `category` parameters mean any of them."""
    with state.db.read() as tx:
        return service.list_incidents(tx, who, query, now_ms(), limit=query.limit, cursor=query.cursor)


@router.post("/incidents", status_code=201, responses=documented(404))
def open_incident(state: State, who: Responding, body: models.Open) -> IncidentDetail:
    """Open an incident by hand."""
    now = now_ms()
    with state.db.begin() as tx:
        made = service.open_by_hand(
            tx, who, node=body.node, category=body.category, title=body.title, place=body.place, lat=body.lat,
            lon=body.lon, severity=body.severity, now_ms=now,
            event_at=None if body.event_at is None else to_ms(body.event_at),
        )  # fmt: skip
        return service.get_incident(tx, who, made, now)


@router.get("/incidents/missed")
def missed(
    state: State, who: Viewer, from_: Annotated[datetime, Query(alias="from")], to: datetime
) -> Page[MissedView]:
    """What was missed in a period of at most 400 days, newest first: alarms without an incident or acknowledged late,
    and incidents taken late. At most 1,000 alarms and 1,000 incidents are looked at; there is no cursor."""  # noqa: D205, D209 - one sentence
    begin, end = to_ms(from_), to_ms(to)
    if not 0 <= end - begin <= LONGEST // timedelta(milliseconds=1):
        raise Invalid("from, to: a period of at most 400 days")
    with state.db.read() as tx:
        return Page(items=service.missed(tx, who, begin, end, now_ms()))


@router.get("/incidents/{incident_id}", responses=documented(404))
def get_incident(state: State, who: Viewer, incident_id: Id) -> IncidentDetail:
    """One incident with its clocks, responders, alarms, checklist and timeline."""
    with state.db.read() as tx:
        return service.get_incident(tx, who, incident_id, now_ms())


@router.get(
    "/incidents/{incident_id}/timeline",
    response_model=Page[models.TimelineRow],
    responses={
        **documented(404),
        200: {"content": {NDJSON: {"schema": {"type": "string"}}}, "description": "The timeline"},
    },
)
def timeline(state: State, who: Viewer, incident_id: Id, format: Form = Form.JSON) -> Any:  # noqa: A002, ANN401 - the parameter's name; FastAPI checks the page
    """What happened, oldest first. As `jsonl` it is what `verify_timeline.py` checks offline."""
    with state.db.read() as tx:
        if format is Form.JSONL:
            text = service.export_timeline(tx, who, incident_id)
            name = f'attachment; filename="incident-{incident_id}-timeline.jsonl"'
            return Response(text.encode(), media_type=NDJSON, headers={"Content-Disposition": name})
        return Page(items=service.get_incident(tx, who, incident_id, now_ms()).timeline)


@router.get("/incidents/{incident_id}/nearest", responses=documented(404))
def nearest(
    state: State, who: Responding, incident_id: Id, limit: Annotated[int, Query(ge=1, le=50)] = 20
) -> Page[CandidateView]:
    """Members on duty, the free before the busy, the nearest first. Every look at a position is recorded."""
    with state.db.begin() as tx:
        return Page(items=service.nearest(tx, who, incident_id, now_ms(), limit=limit))


@router.post("/incidents/{incident_id}/take", responses=documented(404, 409))
def take(state: State, who: SignedIn, incident_id: Id, body: models.Take | None = None) -> IncidentView:
    """Become its owner: the first one does. A supervisor takes it over with a reason."""
    with state.db.begin() as tx:
        return service.take(tx, who, incident_id, now_ms(), body.reason if body else None)


@router.post("/incidents/{incident_id}/handover", responses=documented(404, 409))
def hand_over(state: State, who: SignedIn, incident_id: Id, body: models.HandOver) -> IncidentView:
    """Give it to a user who may respond and sees its node."""
    with state.db.begin() as tx:
        return service.hand_over(tx, who, incident_id, now_ms(), body.user)


@router.post("/incidents/{incident_id}/dispatch", responses=documented(404, 409))
def dispatch(state: State, who: SignedIn, incident_id: Id, body: models.Send) -> IncidentView:
    """Send members on duty."""
    with state.db.begin() as tx:
        return service.dispatch(tx, who, incident_id, now_ms(), body.members)


@router.post("/incidents/{incident_id}/responders/{member}/accept", responses=documented(404, 409))
def accept(state: State, who: SignedIn, incident_id: Id, member: Id) -> IncidentView:
    """A responder said that they are on the way."""
    with state.db.begin() as tx:
        return service.accept(tx, who, incident_id, now_ms(), member)


@router.post("/incidents/{incident_id}/responders/{member}/release", responses=documented(404, 409))
def release(state: State, who: SignedIn, incident_id: Id, member: Id) -> IncidentView:
    """A responder is no longer needed."""
    with state.db.begin() as tx:
        return service.release(tx, who, incident_id, now_ms(), member)


@router.post("/incidents/{incident_id}/clocks/{clock}/stop", responses=documented(404, 409))
def stop_clock(state: State, who: SignedIn, incident_id: Id, clock: ClockName, body: models.Stop) -> IncidentView:
    """Stop a clock by hand, with a reason."""
    with state.db.begin() as tx:
        return service.stop_clock(tx, who, incident_id, now_ms(), name=clock, reason=body.reason)


@router.post("/incidents/{incident_id}/checklist/{line}", responses=documented(404, 409))
def tick(
    state: State, who: SignedIn, incident_id: Id, line: Annotated[int, Path(ge=0, le=999)],
    body: models.Tick | None = None,
) -> IncidentView:  # fmt: skip
    """Tick a line of the checklist, counted from 0, or take the tick back."""
    with state.db.begin() as tx:
        return service.tick(tx, who, incident_id, now_ms(), line, is_done=body.done if body else True)


@router.post("/incidents/{incident_id}/comment", responses=documented(404))
def comment(state: State, who: SignedIn, incident_id: Id, body: models.Remark) -> IncidentView:
    """Add a remark."""
    with state.db.begin() as tx:
        return service.comment(tx, who, incident_id, now_ms(), body.comment)


@router.post("/incidents/{incident_id}/close", responses=documented(404, 409))
def close(state: State, who: SignedIn, incident_id: Id, body: models.Close) -> IncidentView:
    """End it: what it was and what follows."""
    with state.db.begin() as tx:
        return service.close(tx, who, incident_id, now_ms(), cause=body.cause, follow_up=body.follow_up)


@router.post("/incidents/{incident_id}/reopen", responses=documented(404, 409))
def reopen(state: State, who: SignedIn, incident_id: Id, body: models.Reopen) -> IncidentView:
    """Open it again, within an hour."""
    with state.db.begin() as tx:
        return service.reopen(tx, who, incident_id, now_ms(), body.reason)


@router.get("/plans")
def list_plans(state: State, who: Viewer) -> Page[PlanView]:
    """Response plans within scope, and the built-in ones (id 0) at the end."""
    with state.db.read() as tx:
        return Page(items=[plan_view(plan) for plan in service.list_plans(tx, who)])


@router.get("/plans/effective", responses=documented(404))
def effective_plan(state: State, who: Viewer, node: Annotated[NodePath, Query()], category: Category) -> PlanView:
    """The plan that holds at a node: of the nearest node upwards that has one, else the built-in."""
    with state.db.read() as tx:
        tree.get_node(tx, who, node)
        return plan_view(service.effective_plan(tx, node, category))


@router.put("/plans", responses=documented(404))
def put_plan(state: State, who: SignedIn, body: models.PlanPut) -> PlanView:
    """Keep a node's plan of a category, in place of the one it had."""
    with state.db.begin() as tx:
        return plan_view(service.put_plan(tx, who, body.node, body, now_ms()))


@router.delete("/plans/{plan_id}", status_code=204, responses=documented(404))
def drop_plan(state: State, who: SignedIn, plan_id: Id) -> None:
    """Take a plan away: the next one upwards holds again."""
    with state.db.begin() as tx:
        service.drop_plan(tx, who, plan_id, now_ms())
