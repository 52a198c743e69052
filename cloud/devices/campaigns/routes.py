"""The HTTP of campaigns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
from cloud.devices.campaigns.rules import State as Stands  # noqa: TC001 - the same
from cloud.org.auth import State, Viewer, require
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page
from cloud.problems import documented
from cloud.state import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

router = APIRouter(tags=["campaigns"], responses=documented(401, 403, 422, 503))

CampaignId = Annotated[int, Path(ge=1, lt=2**63)]
Administrator = Annotated[Principal, Depends(require(Permission.ADMINISTER))]


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
    with state.db.begin() as tx:
        return service.create(tx, who, body, now_ms())


@router.post("/campaigns/preview", responses=documented(404))
def preview(state: State, who: Administrator, body: NewCampaign) -> Preview:
    """Who would be in it and who would not, and why; nothing is made."""
    with state.db.read() as tx:
        return service.preview(tx, who, body)


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


def _act(
    act: Callable[[Connection, Principal, int, int, str], CampaignDetail], state: State, who: Principal, campaign: int,
    body: Note | None,
) -> CampaignDetail:  # fmt: skip
    with state.db.begin() as tx:
        return act(tx, who, campaign, now_ms(), body.note if body else "")


@router.post("/campaigns/{campaign_id}/approve", responses=documented(404, 409))
def approve(state: State, who: Administrator, campaign_id: CampaignId, body: Note | None = None) -> CampaignDetail:
    """Let it be started, or its next wave be opened; never by its author."""
    return _act(service.approve, state, who, campaign_id, body)


@router.post("/campaigns/{campaign_id}/start", responses=documented(404, 409))
def start(state: State, who: Administrator, campaign_id: CampaignId, body: Note | None = None) -> CampaignDetail:
    """Begin with the first wave."""
    return _act(service.start, state, who, campaign_id, body)


@router.post("/campaigns/{campaign_id}/pause", responses=documented(404, 409))
def pause(state: State, who: Administrator, campaign_id: CampaignId, body: Note | None = None) -> CampaignDetail:
    """Start nobody more; who has started goes on."""
    return _act(service.pause, state, who, campaign_id, body)


@router.post("/campaigns/{campaign_id}/resume", responses=documented(404, 409))
def resume(state: State, who: Administrator, campaign_id: CampaignId, body: Note | None = None) -> CampaignDetail:
    """Go on; what has failed until now is not held against it again."""
    return _act(service.resume, state, who, campaign_id, body)


@router.post("/campaigns/{campaign_id}/abort", responses=documented(404, 409))
def abort(state: State, who: Administrator, campaign_id: CampaignId, body: Note | None = None) -> CampaignDetail:
    """Start nobody any more; who has committed stays."""
    return _act(service.abort, state, who, campaign_id, body)


@router.post("/campaigns/{campaign_id}/rollback", responses=documented(404, 409))
def roll_back(state: State, who: Administrator, campaign_id: CampaignId, body: Note | None = None) -> CampaignDetail:
    """Bring everybody back who has committed."""
    return _act(service.roll_back, state, who, campaign_id, body)


@router.post("/campaigns/{campaign_id}/retry", responses=documented(404, 409))
def retry(state: State, who: Administrator, campaign_id: CampaignId, body: Note | None = None) -> CampaignDetail:
    """Try those again that failed or missed it."""
    return _act(service.retry, state, who, campaign_id, body)
