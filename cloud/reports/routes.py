"""The HTTP of reviews."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.org.auth import SignedIn, State, Viewer, require
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page
from cloud.problems import documented
from cloud.reports import files, service
from cloud.reports.models import (
    FollowUpChange,
    FollowUpState,
    FollowUpView,
    NewFollowUp,
    NewReview,
    ReviewDetail,
    ReviewFilter,
    ReviewView,
)
from cloud.state import now_ms

router = APIRouter(tags=["reviews"], responses=documented(401, 403, 422, 503))

Id = Annotated[int, Path(ge=1, lt=2**63)]
Reviewer = Annotated[Principal, Depends(require(Permission.REVIEW))]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str, StringConstraints(max_length=500)]


def _holds(media_type: str) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "The file", "content": {media_type: binary}}, **documented(404, 409)}


class ReviewQuery(ReviewFilter):
    """The query of a list of reviews."""

    limit: Limit = 100
    cursor: Cursor | None = None


class FollowUpQuery(BaseModel):
    """The query of a list of follow-ups; no state means any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: tuple[FollowUpState, ...] = ()
    limit: Limit = 100
    cursor: Cursor | None = None


LANGUAGE: Final = Query(description="The language of the file")
FileLanguage = Annotated[files.Language, LANGUAGE]


@router.get("/reviews")
def list_reviews(state: State, who: Viewer, query: Annotated[ReviewQuery, Query()]) -> Page[ReviewView]:
    """The archive, the latest period first."""
    with state.db.read() as tx:
        return service.list_reviews(tx, who, query, limit=query.limit, cursor=query.cursor)


@router.post("/reviews", status_code=201, responses=documented(404))
def make(state: State, who: Reviewer, body: NewReview) -> ReviewView:
    """Make a review of a node and a period now, and archive it."""
    return service.make(state.db, who, body, now_ms(), state.config.time_zone)


@router.get("/reviews/follow-ups")
def list_follow_ups(state: State, who: Viewer, query: Annotated[FollowUpQuery, Query()]) -> Page[FollowUpView]:
    """Follow-ups of units within scope, newest first."""
    with state.db.read() as tx:
        return service.list_follow_ups(tx, who, query.state, limit=query.limit, cursor=query.cursor)


@router.post("/reviews/follow-ups/{follow_up_id}", responses=documented(404))
def change_follow_up(state: State, who: SignedIn, follow_up_id: Id, body: FollowUpChange) -> FollowUpView:
    """Say where a follow-up stands, or who owns it."""
    with state.db.begin() as tx:
        return service.change_follow_up(tx, who, follow_up_id, body, now_ms())


@router.get("/reviews/{review_id}", responses=documented(404))
def get_review(state: State, who: Viewer, review_id: Id) -> ReviewDetail:
    """A review with its figures, as they were when it was made, and its follow-ups as they are."""
    with state.db.read() as tx:
        return service.get_review(tx, who, review_id)


@router.post("/reviews/{review_id}/follow-ups", status_code=201, responses=documented(404))
def add_follow_up(state: State, who: SignedIn, review_id: Id, body: NewFollowUp) -> FollowUpView:
    """Ask something of a unit."""
    with state.db.begin() as tx:
        return service.add_follow_up(tx, who, review_id, body, now_ms())


@router.get("/reviews/{review_id}/pdf", response_class=Response, responses=_holds(files.PDF))
def pdf(state: State, who: Viewer, review_id: Id, lang: FileLanguage = files.Language.ZH) -> Response:
    """The review as PDF; the same bytes whenever it is asked for."""
    with state.db.read() as tx:
        archived = service.archived(tx, who, review_id)
    return files.pdf(archived, lang)


@router.get("/reviews/{review_id}/xlsx", response_class=Response, responses=_holds(files.XLSX))
def xlsx(state: State, who: Viewer, review_id: Id, lang: FileLanguage = files.Language.ZH) -> Response:
    """The review as a workbook; the same bytes whenever it is asked for."""
    with state.db.read() as tx:
        archived = service.archived(tx, who, review_id)
    return files.xlsx(archived, lang)
