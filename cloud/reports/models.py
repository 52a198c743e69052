"""What the API says of reviews, and what it takes."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.paging import View
from cloud.reports.periods import ReviewKind  # noqa: TC001 - pydantic reads it

NodePath = Annotated[str, StringConstraints(max_length=255, pattern=r"^/([0-9]{1,19}/)*$")]
Who = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
OneLine = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Day = Annotated[date, Field(ge=date(2000, 1, 1), le=date(2200, 1, 1))]


class ReviewState(StrEnum):
    """Whether a review's figures are there."""

    PENDING = "pending"
    """It is due; the worker makes it."""
    MADE = "made"


class FollowUpState(StrEnum):
    """Where a follow-up stands."""

    OPEN = "open"
    UNDERWAY = "underway"
    DONE = "done"


class ReviewView(View):
    """A review in the archive."""

    id: int
    node: str
    node_zh: str
    node_en: str
    kind: ReviewKind
    state: ReviewState
    from_at: datetime
    to_at: datetime
    """The end of the period; it does not belong to it."""
    zone: str
    """The time zone in which its days, hours and weekdays are counted."""
    created_at: datetime
    created_by: str
    open_follow_ups: int = 0


class FollowUpView(View):
    """What a review asks of a unit."""

    id: int
    review: int
    node: str
    node_zh: str
    node_en: str
    text: str
    state: FollowUpState
    owner: str | None
    updated_at: datetime
    updated_by: str


class ReviewDetail(ReviewView):
    """A review with its figures as they were archived, and its follow-ups as they are now."""

    figures: dict[str, Any] | None
    """Durations in milliseconds, shares from 0 to 1, null for what could not be known; null while it is pending."""
    follow_ups: list[FollowUpView]


class ReviewFilter(BaseModel):
    """Which reviews a list shows; empty means any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: NodePath | None = None
    """This node and what is below it."""
    kind: ReviewKind | None = None


class NewReview(BaseModel):
    """A review of a node from one day to another, both included, in the node's time zone.

    The days of just a calendar month, quarter or half-year make a review of that kind, others one on demand.
    """

    model_config = ConfigDict(extra="forbid")

    node: NodePath
    first_day: Day
    last_day: Day
    """A period that is not over yet ends now."""


class NewFollowUp(BaseModel):
    """Something that a review asks of a unit."""

    model_config = ConfigDict(extra="forbid")

    node: NodePath
    text: OneLine
    owner: Who | None = None


class FollowUpChange(BaseModel):
    """What changes about a follow-up; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    state: FollowUpState | None = None
    owner: Who | None = None
    text: OneLine | None = None
