"""The HTTP of the event stream."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from cloud.errors import Invalid
from cloud.org.auth import State, Viewer, identify
from cloud.problems import documented

router = APIRouter(tags=["stream"], responses=documented(401, 403, 422, 503))


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    },
)
async def stream(
    state: State,
    who: Viewer,
    request: Request,
    last_event_id: Annotated[str | None, Header()] = None,
    from_id: Annotated[str | None, Query(alias="last_event_id")] = None,
) -> StreamingResponse:
    """`alarm`, `gateway` and `device` events as they happen.

    Events with an id can be resumed: send the last as `Last-Event-ID` or `last_event_id`. When it is too old a `reset`
    event comes first: read the lists again. Live values have no id. A comment comes every 15 s.
    """
    given = last_event_id or from_id
    if given is not None and not (given.isascii() and given.isdigit() and len(given) <= 18):
        raise Invalid("Last-Event-ID: not one of this stream")
    frames = state.broadcaster.frames(who, int(given) if given else None, lambda: identify(request))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(frames, media_type="text/event-stream", headers=headers)
