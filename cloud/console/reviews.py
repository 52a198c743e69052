"""The pages of reviews: the archive, one review with its follow-ups, and its files."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.console import choose
from cloud.console.forms import Id, Sent, checked
from cloud.console.pages import View, back_to, page_router, render
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.reports import files, sections, service
from cloud.reports import render as reports
from cloud.reports.models import (
    FollowUpChange,
    FollowUpState,
    NewFollowUp,
    NewReview,
    OneLine,
    ReviewFilter,
    ReviewState,
    ReviewView,
    Who,
)
from cloud.reports.periods import ReviewKind
from cloud.state import now_ms

PAGE: Final = 50
SHOWN_FOLLOW_UPS: Final = 20

pages = page_router()


class Making(Sent):
    """The form above the archive."""

    node: str = Field(max_length=255, pattern=r"^/([0-9]{1,19}/)*$")
    first_day: date = Field(ge=date(2000, 1, 1), le=date(2200, 1, 1))
    last_day: date = Field(ge=date(2000, 1, 1), le=date(2200, 1, 1))


class Asking(Sent):
    """A new follow-up."""

    node: str = Field(max_length=255, pattern=r"^/([0-9]{1,19}/)*$")
    text: OneLine
    owner: str = Field("", max_length=64)


class Changing(Sent):
    """Where a follow-up stands."""

    state: FollowUpState
    owner: Who | None = None


def _days(review: ReviewView) -> str:
    """The first and the last day of a review, in its zone."""
    zone = ZoneInfo(review.zone)
    last = (review.to_at - timedelta(milliseconds=1)).astimezone(zone)
    return f"{review.from_at.astimezone(zone):%Y-%m-%d} – {last:%Y-%m-%d}"


@pages.get("/reviews")
def review_list(ui: View, state: State) -> Response:
    """The archive, the latest period first, and what is still to be followed up."""
    chosen = ui.query.get("kind", "")
    kind = ReviewKind(chosen) if chosen in set(ReviewKind) else None
    with state.db.read() as tx:
        page = service.list_reviews(
            tx, ui.who, ReviewFilter(kind=kind), limit=PAGE, cursor=ui.query.get("cursor") or None
        )
        waiting = service.list_follow_ups(
            tx, ui.who, (FollowUpState.OPEN, FollowUpState.UNDERWAY), limit=SHOWN_FOLLOW_UPS
        ).items
        nodes = choose.nodes(tx, ui, choose.LARGE) if ui.may("review") else []
    last = ui.now.astimezone(ui.zone_info).date().replace(day=1) - timedelta(days=1)
    return render(
        ui, "reviews.html", page=page, waiting=waiting, chosen=chosen, nodes=nodes, first_day=last.replace(day=1),
        last_day=last, periods={each.id: _days(each) for each in page.items},
        kinds=[("", ui.t("reviews.all")), *((each.value, ui.t(f"reviews.kind_{each}")) for each in ReviewKind)],
        states=[(each.value, ui.t(f"reviews.follow_up_{each}")) for each in FollowUpState],
        next=ui.link(cursor=page.next_cursor), first=ui.link(cursor=None),
    )  # fmt: skip


@pages.post("/reviews")
def make(ui: View, state: State, sent: Annotated[Making, Form()]) -> Response:
    """Make one now, and show it."""
    given = checked(NewReview, node=sent.node, first_day=sent.first_day, last_day=sent.last_day)
    made = service.make(state.db, ui.who, given, now_ms(), state.config.time_zone)
    return back_to(f"/reviews/{made.id}")


@pages.post("/reviews/follow-ups/{follow_up_id}")
def change(ui: View, state: State, follow_up_id: Id, sent: Annotated[Changing, Form()]) -> Response:
    """Say where a follow-up stands."""
    with state.db.begin() as tx:
        given = FollowUpChange(state=sent.state, owner=sent.owner)
        service.change_follow_up(tx, ui.who, follow_up_id, given, now_ms())
    return back_to(sent.back or "/reviews")


@pages.get("/reviews/{review_id}")
def review_page(ui: View, state: State, review_id: Id) -> Response:
    """One review."""
    with state.db.read() as tx:
        review = service.get_review(tx, ui.who, review_id)
        archived = service.archived(tx, ui.who, review_id) if review.state is ReviewState.MADE else None
        nodes = choose.nodes(tx, ui, choose.LARGE) if ui.may("review") else []
    document = sections.write(ui.t, archived) if archived else None
    return render(
        ui, "review.html", review=review, document=document, body=reports.fragment(document) if document else "",
        nodes=[(path, shown) for path, shown in nodes if path.startswith(review.node)],
        states=[(each.value, ui.t(f"reviews.follow_up_{each}")) for each in FollowUpState],
    )  # fmt: skip


@pages.post("/reviews/{review_id}/follow-ups")
def ask(ui: View, state: State, review_id: Id, sent: Annotated[Asking, Form()]) -> Response:
    """Ask something of a unit."""
    given = checked(NewFollowUp, node=sent.node, text=sent.text, owner=sent.owner.strip())
    with state.db.begin() as tx:
        service.add_follow_up(tx, ui.who, review_id, given, now_ms())
    return back_to(f"/reviews/{review_id}")


@pages.get("/reviews/{review_id}/pdf")
def pdf(ui: View, state: State, review_id: Id) -> Response:
    """The review on paper, in the viewer's language."""
    with state.db.read() as tx:
        archived = service.archived(tx, ui.who, review_id)
    return files.pdf(archived, files.Language(ui.t.code))


@pages.get("/reviews/{review_id}/xlsx")
def xlsx(ui: View, state: State, review_id: Id) -> Response:
    """The review as a workbook, in the viewer's language."""
    with state.db.read() as tx:
        archived = service.archived(tx, ui.who, review_id)
    return files.xlsx(archived, files.Language(ui.t.code))
