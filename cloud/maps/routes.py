"""The HTTP of the map."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from cloud.errors import Forbidden
from cloud.maps import service
from cloud.maps.datum import Datum
from cloud.maps.models import MapView  # noqa: TC001 - FastAPI reads annotations
from cloud.maps.rules import window_of
from cloud.org.auth import State, Viewer  # noqa: TC001
from cloud.org.rules import Permission
from cloud.problems import documented
from cloud.state import now_ms

router = APIRouter(tags=["map"], responses=documented(401, 403, 422, 503))


@router.get("/map")
def look(
    state: State,
    who: Viewer,
    bbox: Annotated[str, Query(max_length=200)] = "",
    datum: Datum = Datum.WGS84,
    members: bool = False,
) -> MapView:
    """What lies in a window of the map: `bbox` is west,south,east,north, by default the world.

    `members` asks where the members on shift are: for who may locate, and each look at each member is recorded.
    `datum` shifts everything for display over tiles that are drawn on it; `bbox` is then on it too.
    """
    window = window_of(bbox, datum)
    if members and not who.may(Permission.LOCATE):
        raise Forbidden(f"role {who.role} may not {Permission.LOCATE}")
    now = now_ms()
    with state.db.read() as tx:
        found = service.look(tx, who, window, now, datum)
    if not members:
        return found
    with state.db.begin() as tx:
        located = service.members(tx, who, window, now, datum)
    return found.model_copy(update={"members": located})
