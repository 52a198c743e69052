"""The HTTP of notifications."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field, StringConstraints

from cloud.alerts.notify import channels, deliveries
from cloud.alerts.notify.models import (
    ChannelChange,
    ChannelIn,
    ChannelMade,
    ChannelView,
    DeliveryFilter,
    DeliveryView,
)
from cloud.org.auth import State, Viewer, require
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page
from cloud.problems import documented
from cloud.state import now_ms

router = APIRouter(tags=["notifications"], responses=documented(401, 403, 422, 503))

Id = Annotated[int, Path(ge=1, lt=2**63)]
Administrator = Annotated[Principal, Depends(require(Permission.ADMINISTER))]
Responder = Annotated[Principal, Depends(require(Permission.RESPOND))]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


class DeliveryQuery(DeliveryFilter):
    """The query of a list of deliveries."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100
    cursor: Annotated[str, StringConstraints(max_length=500)] | None = None


@router.get("/channels")
def list_channels(
    state: State, who: Viewer, limit: Limit = 100, cursor: Annotated[str | None, Query(max_length=500)] = None
) -> Page[ChannelView]:
    """Notification channels and how they do."""
    with state.db.read() as tx:
        return channels.list_channels(tx, who, limit=limit, cursor=cursor)


@router.post("/channels", status_code=201, responses=documented(404, 409))
def add_channel(state: State, who: Administrator, body: ChannelIn) -> ChannelMade:
    """Make a channel."""
    with state.db.begin() as tx:
        allowed = channels.hosts_of(state.config.notify.allow_hosts)
        return channels.add_channel(tx, who, body, now_ms=now_ms(), allowed=allowed)


@router.get("/channels/{channel_id}", responses=documented(404))
def get_channel(state: State, who: Viewer, channel_id: Id) -> ChannelView:
    """One channel."""
    with state.db.read() as tx:
        return channels.get_channel(tx, who, channel_id)


@router.patch("/channels/{channel_id}", responses=documented(404, 409))
def change_channel(state: State, who: Administrator, channel_id: Id, body: ChannelChange) -> ChannelView:
    """Change a channel; what is left out stays."""
    with state.db.begin() as tx:
        allowed = channels.hosts_of(state.config.notify.allow_hosts)
        return channels.change_channel(tx, who, channel_id, body, now_ms=now_ms(), allowed=allowed)


@router.delete("/channels/{channel_id}", status_code=204, responses=documented(404))
def remove_channel(state: State, who: Administrator, channel_id: Id) -> None:
    """Remove a channel; what waits for it has failed."""
    with state.db.begin() as tx:
        channels.remove_channel(tx, who, channel_id, now_ms())


@router.post("/channels/{channel_id}/test", responses=documented(404, 409))
def try_channel(state: State, who: Administrator, channel_id: Id) -> DeliveryView:
    """Send a test message."""
    with state.db.begin() as tx:
        return channels.try_out(tx, who, channel_id, now_ms())


@router.get("/deliveries")
def list_deliveries(state: State, who: Viewer, query: Annotated[DeliveryQuery, Query()]) -> Page[DeliveryView]:
    """What was told, newest first."""
    with state.db.read() as tx:
        return deliveries.list_deliveries(tx, who, query, limit=query.limit, cursor=query.cursor)


@router.get("/deliveries/{delivery_id}", responses=documented(404))
def get_delivery(state: State, who: Viewer, delivery_id: Id) -> DeliveryView:
    """One delivery."""
    with state.db.read() as tx:
        return deliveries.get_delivery(tx, who, delivery_id)


@router.post("/deliveries/{delivery_id}/resend", responses=documented(404, 409))
def resend(state: State, who: Responder, delivery_id: Id) -> DeliveryView:
    """Send one that has ended again."""
    with state.db.begin() as tx:
        return deliveries.resend(tx, who, delivery_id, now_ms())
