"""The HTTP of drills."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import ConfigDict

from cloud.incidents.drills import service
from cloud.incidents.drills.models import (  # noqa: TC001 - FastAPI reads annotations
    DrillDetail,
    DrillState,
    DrillView,
    Plan,
)
from cloud.incidents.levels.models import DeclarationView, Declare  # noqa: TC001
from cloud.org.auth import State, Viewer, require
from cloud.org.node_models import NodePath  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import ROOT, Permission, Principal
from cloud.paging import Page, to_ms
from cloud.problems import documented
from cloud.routing import Id, Part
from cloud.state import now_ms

router = APIRouter(tags=["drills"], responses=documented(401, 403, 422, 503))

Driller = Annotated[Principal, Depends(require(Permission.DRILL))]


class DrillQuery(Part):
    """Which drills a list shows."""

    model_config = ConfigDict(extra="forbid")

    node: NodePath = ROOT
    """At and below this one."""
    state: tuple[DrillState, ...] = ()


@router.get("/drills")
def list_drills(state: State, who: Viewer, query: Annotated[DrillQuery, Query()]) -> Page[DrillView]:
    """Drills, newest first."""
    with state.db.read() as tx:
        return service.list_drills(
            tx, who, below=query.node, states=query.state, limit=query.limit, cursor=query.cursor
        )


@router.get("/drills/{drill}", responses=documented(404))
def get_drill(state: State, who: Viewer, drill: Id) -> DrillDetail:
    """One drill with its score; while it runs, with how it stands now."""
    with state.db.read() as tx:
        return service.get_drill(tx, who, drill, now_ms())


@router.post("/drills", responses=documented(404, 409))
def plan(state: State, who: Driller, body: Plan) -> DrillView:
    """Plan a drill, or start one at once."""
    with state.db.begin() as tx:
        return service.plan(tx, who, body, now_ms())


@router.post("/drills/{drill}/start", responses=documented(404, 409))
def start(state: State, who: Driller, drill: Id) -> DrillView:
    """Start a planned drill before its time."""
    with state.db.begin() as tx:
        return service.start(tx, who, drill, now_ms())


@router.post("/drills/{drill}/end", responses=documented(404, 409))
def end(state: State, who: Driller, drill: Id) -> DrillView:
    """End it and score it, or call a planned one off."""
    with state.db.begin() as tx:
        return service.end(tx, who, drill, now_ms())


@router.post("/drills/{drill}/levels", responses=documented(404, 409))
def declare_level(state: State, who: Driller, drill: Id, body: Declare) -> DeclarationView:
    """Declare a response level within the drill; approved like a real one, it changes nothing that is real."""
    starts_at = to_ms(body.starts_at) if body.starts_at else None
    ends_at = to_ms(body.ends_at) if body.ends_at else None
    with state.db.begin() as tx:
        return service.declare_level(tx, who, drill, body, starts_at=starts_at, ends_at=ends_at, now_ms=now_ms())
