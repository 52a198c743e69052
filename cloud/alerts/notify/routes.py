"""The HTTP of notifications."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from cloud.alerts.notify import channels, deliveries
from cloud.alerts.notify.models import (
    ChannelChange,
    ChannelIn,
    ChannelMade,
    ChannelView,
    DeliveryFilter,
    DeliveryView,
)
from cloud.org.auth import Administrator, State, Viewer, require
from cloud.org.rules import Permission, Principal
from cloud.paging import Page  # noqa: TC001 - FastAPI reads annotations
from cloud.problems import documented
from cloud.routing import Id, Part, Wanted
from cloud.state import now_ms

router = APIRouter(tags=["notifications"], responses=documented(401, 403, 422, 503))

Responder = Annotated[Principal, Depends(require(Permission.RESPOND))]


class DeliveryQuery(DeliveryFilter, Part):
    """The query of a list of deliveries."""


@router.get("/channels")
def list_channels(state: State, who: Viewer, part: Wanted) -> Page[ChannelView]:
    """Notification channels and how they do."""
    with state.db.read() as tx:
        return channels.list_channels(tx, who, limit=part.limit, cursor=part.cursor)


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
