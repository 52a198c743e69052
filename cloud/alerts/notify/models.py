"""What the API says of notifications."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it

from cloud.paging import View


class DeliveryView(View):
    """One message to one channel."""

    id: int
    channel_name: str
    status: str
    created_at: datetime
    ended_at: datetime | None
    receipt: str
