"""The HTTP of presence and coverage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.org.auth import State, Viewer, require
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page, to_ms
from cloud.presence import coverage, posts, rounds, views
from cloud.presence.models import (  # noqa: TC001 - FastAPI reads annotations
    AreaIn,
    AreaView,
    CoverageView,
    MomentView,
    NodePath,
    PostIn,
    PostView,
    PresenceView,
    RouteIn,
    RouteView,
    VisibilityView,
    WhoView,
)
from cloud.presence.rules import PostState  # noqa: TC001
from cloud.problems import documented
from cloud.state import now_ms

router = APIRouter(tags=["presence"], responses=documented(401, 403, 422, 503))

DAY_MS = 86_400_000
Planner = Annotated[Principal, Depends(require(Permission.PATROL))]
Locator = Annotated[Principal, Depends(require(Permission.LOCATE))]
Id = Annotated[int, Path(ge=1, lt=2**63)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=500)]
Below = Annotated[str, Query(pattern=r"^/([0-9]{1,19}/)*$", max_length=255)]
Time = Annotated[datetime | None, Query()]


def _span(from_: datetime | None, to: datetime | None, now: int) -> tuple[int, int]:
    """The time asked for: the last day when nothing is said. Raises Invalid."""
    end = now if to is None else to_ms(to)
    return (end - DAY_MS if from_ is None else to_ms(from_)), end


# ---- posts


@router.get("/posts")
def list_posts(state: State, who: Viewer, limit: Limit = 100, cursor: Cursor = None) -> Page[PostView]:
    """Posts, by id."""
    with state.db.read() as tx:
        return posts.listed(tx, who, limit=limit, cursor=cursor)


@router.post("/posts", status_code=201, responses=documented(404, 409))
def add_post(state: State, who: Planner, body: PostIn) -> PostView:
    """Make a post."""
    with state.db.begin() as tx:
        return posts.add(tx, who, body, now_ms())


@router.get("/posts/{post_id}", responses=documented(404))
def get_post(state: State, who: Viewer, post_id: Id) -> PostView:
    """One post."""
    with state.db.read() as tx:
        return posts.get(tx, who, post_id)


@router.put("/posts/{post_id}", responses=documented(404, 409))
def change_post(state: State, who: Planner, post_id: Id, body: PostIn) -> PostView:
    """Change a post. When its place changes, what is known of members there begins anew."""
    with state.db.begin() as tx:
        return posts.change(tx, who, post_id, body, now_ms())


@router.delete("/posts/{post_id}", status_code=204, responses=documented(404))
def archive_post(state: State, who: Planner, post_id: Id) -> None:
    """Take a post out of use; its history stays."""
    with state.db.begin() as tx:
        posts.archive(tx, who, post_id, now_ms())


@router.get("/posts/{post_id}/history", responses=documented(404))
def post_history(state: State, who: Viewer, post_id: Id, limit: Limit = 100, cursor: Cursor = None) -> Page[MomentView]:
    """When a post's state changed, newest first."""
    with state.db.read() as tx:
        return posts.history(tx, who, post_id, limit=limit, cursor=cursor)


@router.get("/posts/{post_id}/members", responses=documented(404))
def post_members(state: State, who: Locator, post_id: Id) -> list[WhoView]:
    """What is known of each member rostered at a post now. The look is put on record."""
    with state.db.begin() as tx:
        return views.who(tx, who, post_id, now_ms())


# ---- routes and areas


@router.get("/routes")
def list_routes(state: State, who: Viewer, limit: Limit = 100, cursor: Cursor = None) -> Page[RouteView]:
    """Routes, by id."""
    with state.db.read() as tx:
        return rounds.list_routes(tx, who, limit=limit, cursor=cursor)


@router.post("/routes", status_code=201, responses=documented(404, 409))
def add_route(state: State, who: Planner, body: RouteIn) -> RouteView:
    """Make a route, by its checkpoints or by a line that is cut into them."""
    with state.db.begin() as tx:
        return rounds.add_route(tx, who, body, now_ms())


@router.get("/routes/{route_id}", responses=documented(404))
def get_route(state: State, who: Viewer, route_id: Id) -> RouteView:
    """One route, with when each checkpoint was last seen."""
    with state.db.read() as tx:
        return rounds.get_route(tx, who, route_id)


@router.put("/routes/{route_id}", responses=documented(404, 409))
def change_route(state: State, who: Planner, route_id: Id, body: RouteIn) -> RouteView:
    """Change a route. When its checkpoints change, their visits begin anew."""
    with state.db.begin() as tx:
        return rounds.change_route(tx, who, route_id, body, now_ms())


@router.delete("/routes/{route_id}", status_code=204, responses=documented(404))
def archive_route(state: State, who: Planner, route_id: Id) -> None:
    """Take a route out of use."""
    with state.db.begin() as tx:
        rounds.archive_route(tx, who, route_id, now_ms())


@router.get("/areas")
def list_areas(state: State, who: Viewer, limit: Limit = 100, cursor: Cursor = None) -> Page[AreaView]:
    """Areas, by id."""
    with state.db.read() as tx:
        return rounds.list_areas(tx, who, limit=limit, cursor=cursor)


@router.post("/areas", status_code=201, responses=documented(404, 409))
def add_area(state: State, who: Planner, body: AreaIn) -> AreaView:
    """Make an area; it is covered by cells."""
    with state.db.begin() as tx:
        return rounds.add_area(tx, who, body, now_ms())


@router.get("/areas/{area_id}", responses=documented(404))
def get_area(state: State, who: Viewer, area_id: Id) -> AreaView:
    """One area."""
    with state.db.read() as tx:
        return rounds.get_area(tx, who, area_id)


@router.put("/areas/{area_id}", responses=documented(404, 409))
def change_area(state: State, who: Planner, area_id: Id, body: AreaIn) -> AreaView:
    """Change an area. When its outline changes, its cells begin anew."""
    with state.db.begin() as tx:
        return rounds.change_area(tx, who, area_id, body, now_ms())


@router.delete("/areas/{area_id}", status_code=204, responses=documented(404))
def archive_area(state: State, who: Planner, area_id: Id) -> None:
    """Take an area out of use."""
    with state.db.begin() as tx:
        rounds.archive_area(tx, who, area_id, now_ms())


# ---- how it stands


class Board(BaseModel):
    """The query of the board. Several `state` mean any of them."""

    model_config = ConfigDict(extra="forbid")

    state: Annotated[list[PostState], Field(max_length=4)] = []
    below: NodePath = "/"
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100
    cursor: Annotated[str, StringConstraints(max_length=500)] | None = None


class Covered(BaseModel):
    """The query of coverage; the last day when no time is asked for."""

    model_config = ConfigDict(extra="forbid")

    from_: Annotated[datetime | None, Field(alias="from")] = None
    to: datetime | None = None
    below: NodePath = "/"
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, StringConstraints(max_length=500)] | None = None


@router.get("/presence")
def presence(state: State, who: Viewer, query: Annotated[Board, Query()]) -> Page[PresenceView]:
    """How posts stand, worst first."""
    with state.db.read() as tx:
        return posts.board(
            tx, who, states=query.state, below=query.below, limit=query.limit, cursor=query.cursor
        )  # fmt: skip


@router.get("/coverage")
def covered(state: State, who: Viewer, query: Annotated[Covered, Query()]) -> Page[CoverageView]:
    """How well areas, then routes, are seen over a time, the longest unseen places of each first."""
    now = now_ms()
    from_ms, end_ms = _span(query.from_, query.to, now)
    with state.db.read() as tx:
        return coverage.listed(
            tx, who, now, from_ms=from_ms, to_ms=end_ms, below=query.below, limit=query.limit, cursor=query.cursor
        )  # fmt: skip


@router.get("/visibility")
def visible(
    state: State, who: Viewer, from_: Annotated[datetime | None, Query(alias="from")] = None, to: Time = None,
    below: Below = "/",
) -> list[VisibilityView]:  # fmt: skip
    """For what share of the time members on shift could be seen, by node, worst first; over whole hours."""
    from_ms, end_ms = _span(from_, to, now_ms())
    with state.db.read() as tx:
        return coverage.visible(tx, who, from_ms=from_ms, to_ms=end_ms, below=below)
