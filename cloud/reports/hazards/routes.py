"""The HTTP of hazard reports."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field, StringConstraints

from cloud.org.auth import SignedIn, State, Viewer, require
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page
from cloud.problems import documented
from cloud.reports.hazards import service
from cloud.reports.hazards.models import HazardDetail, HazardFilter, HazardStep, HazardView, NewHazard
from cloud.state import now_ms

router = APIRouter(tags=["hazards"], responses=documented(401, 403, 422, 503))

HazardId = Annotated[int, Path(ge=1, lt=2**63)]
Reporter = Annotated[Principal, Depends(require(Permission.REPORT))]


class HazardQuery(HazardFilter):
    """The query of a list of reports."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100
    cursor: Annotated[str, StringConstraints(max_length=500)] | None = None


@router.get("/hazards")
def list_hazards(state: State, who: Viewer, query: Annotated[HazardQuery, Query()]) -> Page[HazardView]:
    """Reports, newest first; merged ones only with `state=merged`. Several `state` parameters mean any of them."""
    with state.db.read() as tx:
        return service.list_hazards(tx, who, query, limit=query.limit, cursor=query.cursor)


@router.post("/hazards", status_code=201, responses=documented(404))
def report(state: State, who: Reporter, body: NewHazard) -> HazardView:
    """File a report of a thing or a place; never of a person."""
    with state.db.begin() as tx:
        return service.report(tx, who, body, now_ms())


@router.get("/hazards/{hazard_id}", responses=documented(404))
def get_hazard(state: State, who: Viewer, hazard_id: HazardId) -> HazardDetail:
    """One report, its steps, and the reports that were merged into it."""
    with state.db.read() as tx:
        return service.get_hazard(tx, who, hazard_id)


@router.post("/hazards/{hazard_id}/steps", responses=documented(404, 409))
def act(state: State, who: SignedIn, hazard_id: HazardId, body: HazardStep) -> HazardView:
    """Take it up, handle it, hand it over, escalate it, merge it, open it again, or remark on it."""
    with state.db.begin() as tx:
        return service.act(tx, who, hazard_id, body, now_ms())
