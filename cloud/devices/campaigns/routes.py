"""The HTTP of campaigns."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.devices.campaigns import service
from cloud.devices.campaigns.models import (  # noqa: TC001 - FastAPI reads annotations
    CampaignDetail,
    CampaignView,
    KindName,
    MemberQuery,
    MemberView,
    NewCampaign,
    Note,
    Preview,
)
from cloud.devices.campaigns.rules import Act
from cloud.devices.campaigns.rules import State as Stands
from cloud.org.auth import State, Viewer, require
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page
from cloud.problems import documented
from cloud.state import now_ms

router = APIRouter(tags=["campaigns"], responses=documented(401, 403, 422, 503))

CampaignId = Annotated[int, Path(ge=1, lt=2**63)]
Administrator = Annotated[Principal, Depends(require(Permission.ADMINISTER))]
Move = Literal["approve", "start", "pause", "resume", "abort", "rollback", "retry"]


class CampaignQuery(BaseModel):
    """Which campaigns a list shows."""

    model_config = ConfigDict(extra="forbid")

    state: tuple[Stands, ...] = ()
    kind: KindName | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100
    cursor: Annotated[str, StringConstraints(max_length=500)] | None = None


@router.get("/campaigns")
def list_campaigns(state: State, who: Viewer, query: Annotated[CampaignQuery, Query()]) -> Page[CampaignView]:
    """Campaigns, newest first."""
    with state.db.read() as tx:
        return service.list_campaigns(
            tx, who, states=query.state, kind=query.kind or "", limit=query.limit, cursor=query.cursor
        )


@router.post("/campaigns", responses=documented(404))
def create(state: State, who: Administrator, body: NewCampaign) -> CampaignDetail:
    """Choose members, now and for good, and make a draft; somebody else approves it."""
    with state.db.read() as tx:
        chosen = service.choose(tx, who, body, now_ms())
    with state.db.begin() as tx:
        return service.create(tx, who, body, now_ms(), chosen)


@router.post("/campaigns/preview", responses=documented(404))
def preview(state: State, who: Administrator, body: NewCampaign) -> Preview:
    """Who would be in it and who would not, and why; nothing is made."""
    with state.db.read() as tx:
        return service.preview(tx, who, body, now_ms())


@router.get("/campaigns/{campaign_id}", responses=documented(404))
def get_campaign(state: State, who: Viewer, campaign_id: CampaignId) -> CampaignDetail:
    """One campaign with its waves, reasons of failure and history."""
    with state.db.read() as tx:
        return service.get_campaign(tx, who, campaign_id)


@router.get("/campaigns/{campaign_id}/members", responses=documented(404))
def list_members(
    state: State, who: Viewer, campaign_id: CampaignId, query: Annotated[MemberQuery, Query()]
) -> Page[MemberView]:
    """Its members, in the order in which they are taken."""
    with state.db.read() as tx:
        return service.list_members(tx, who, campaign_id, query)


@router.post("/campaigns/{campaign_id}/{move}", responses=documented(404, 409))
def move_on(
    state: State, who: Administrator, campaign_id: CampaignId, move: Move, body: Note | None = None
) -> CampaignDetail:  # fmt: skip
    """Move it on; `approve` is never its author's, `resume` forgives what failed, `abort` leaves who has committed."""
    with state.db.begin() as tx:
        return service.ACTS[Act(move)](tx, who, campaign_id, now_ms(), body.note if body else "")
