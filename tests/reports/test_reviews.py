"""Reviews on real databases: made, archived, scheduled, followed up; scope; the API."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from cloud import timers
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import tree
from cloud.org.audit import audit
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.org.tree import Kind
from cloud.reports import schedule, service
from cloud.reports.models import FollowUpChange, FollowUpState, NewFollowUp, NewReview, ReviewFilter, ReviewState
from cloud.reports.periods import ReviewKind, kind_of, midnight
from cloud.reports.store import reviews
from tests.cloud.cloud_support import wait_for
from tests.reports.reports_support import HOUR, OCTOBER, ZONE, grow, incident, seed_month

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from cloud.db import Database
    from cloud.reports.models import ReviewView
    from tests.cloud.cloud_support import Served
    from tests.reports.reports_support import Town

BOSS = Principal("user", 1, "wang", Role.SUPERVISOR)
SITE = "Asia/Shanghai"
NOW = OCTOBER.to_ms + 10 * HOUR


def october(node: str) -> NewReview:
    return NewReview(node=node, first_day=date(2026, 10, 1), last_day=date(2026, 10, 31))


def make(db: Database, node: str, who: Principal = BOSS, now: int = NOW) -> ReviewView:
    return service.make(db, who, october(node), now, SITE)


def tick(db: Database, now: int) -> None:
    """What the worker does with what is due."""
    acted = 1
    while acted:
        with db.begin() as tx:
            acted = timers.tick(tx, now)
            acted = acted if (timers.next_due(tx) or now + 1) <= now else 0


def listed(db: Database) -> list[ReviewView]:
    with db.read() as tx:
        return list(service.list_reviews(tx, SYSTEM, ReviewFilter()).items)


def test_a_review_is_archived_and_never_changes(db: Database, town: Town) -> None:
    seed_month(db, town)
    made = make(db, town.street)
    assert (made.kind, made.state, made.zone, made.created_by) == (ReviewKind.MONTHLY, ReviewState.MADE, SITE, "wang")
    with db.begin() as tx:
        before = service.archived(tx, BOSS, made.id)
        incident(tx, town.communities[0], OCTOBER.from_ms + 1, 1)
    with db.read() as tx:
        assert service.archived(tx, BOSS, made.id) == before
        chain = tx.execute(sa.select(audit.c.action).where(audit.c.target == f"review/{made.id}")).scalars().all()
    assert chain == ["review.make"]
    assert service.make(db, BOSS, october(town.street), NOW, SITE).id != made.id


@pytest.mark.parametrize(
    ("first", "last", "kind"),
    [
        (date(2026, 2, 1), date(2026, 2, 28), ReviewKind.MONTHLY),
        (date(2024, 2, 1), date(2024, 2, 28), ReviewKind.ON_DEMAND),
        (date(2026, 12, 1), date(2026, 12, 31), ReviewKind.MONTHLY),
        (date(2026, 10, 1), date(2026, 12, 31), ReviewKind.QUARTERLY),
        (date(2026, 11, 1), date(2027, 1, 31), ReviewKind.ON_DEMAND),
        (date(2026, 7, 1), date(2026, 12, 31), ReviewKind.HALF_YEARLY),
        (date(2026, 1, 1), date(2026, 12, 31), ReviewKind.ON_DEMAND),
        (date(2026, 3, 5), date(2026, 3, 5), ReviewKind.ON_DEMAND),
    ],
)
def test_the_days_of_a_calendar_period_make_a_review_of_that_kind(first: date, last: date, kind: ReviewKind) -> None:
    assert kind_of(first, last) == kind


def test_a_month_that_runs_is_reviewed_up_to_now(db: Database, town: Town) -> None:
    seed_month(db, town)
    now = OCTOBER.from_ms + 20 * 86_400_000
    made = service.make(db, BOSS, october(town.street), now, SITE)
    assert (made.kind, round(made.to_at.timestamp() * 1000)) == (ReviewKind.MONTHLY, now)


def test_the_worst_units_are_listed_for_follow_up(db: Database, town: Town) -> None:
    seed_month(db, town)
    made = make(db, town.street)
    with db.begin() as tx:
        asked = service.get_review(tx, BOSS, made.id).follow_ups
        assert [each.node for each in asked] == service.archived(tx, BOSS, made.id).figures.follow_ups
        assert {each.state for each in asked} == {FollowUpState.OPEN}
        assert "%" in asked[0].text
        given = FollowUpChange(state=FollowUpState.UNDERWAY, owner="zhao")
        changed = service.change_follow_up(tx, BOSS, asked[0].id, given, NOW)
        assert (changed.state, changed.owner, changed.updated_by) == (FollowUpState.UNDERWAY, "zhao", "wang")
        own = service.add_follow_up(tx, BOSS, made.id, NewFollowUp(node=town.communities[0], text="换灯"), NOW)
        with pytest.raises(Invalid, match="not a part"):
            service.add_follow_up(tx, BOSS, made.id, NewFollowUp(node=town.town, text="x"), NOW)
        with pytest.raises(Forbidden):
            service.change_follow_up(tx, Principal("user", 2, "li", Role.DISPATCHER), own.id, given, NOW)
    assert listed(db)[0].open_follow_ups == len(asked) + 1


def test_scope_holds_for_reviews_and_follow_ups_S4(db: Database, town: Town) -> None:
    seed_month(db, town)
    made, far = make(db, town.street), make(db, town.communities[1])
    inside = Principal("user", 3, "sun", Role.SUPERVISOR, town.communities[2])
    with db.begin() as tx:
        assert service.list_reviews(tx, inside, ReviewFilter()).items == []
        for review in (made.id, far.id):
            for call in (service.get_review, service.archived):
                with pytest.raises(NotFound):
                    call(tx, inside, review)
        # What the street asks of the community is the community's to see and to answer.
        (mine,) = service.list_follow_ups(tx, inside).items
        assert mine.node == town.communities[2]
        service.change_follow_up(tx, inside, mine.id, FollowUpChange(state=FollowUpState.DONE), NOW)
        others = [each.id for each in service.list_follow_ups(tx, SYSTEM).items if each.node != mine.node]
        with pytest.raises(NotFound):
            service.change_follow_up(tx, inside, others[0], FollowUpChange(), NOW)
    with pytest.raises(NotFound):
        make(db, town.street, inside)
    with pytest.raises(Forbidden):
        make(db, town.street, Principal("user", 4, "li", Role.DISPATCHER))


def test_a_period_that_is_not_over_ends_now(db: Database, town: Town) -> None:
    now = OCTOBER.from_ms + 5 * HOUR
    made = make(db, town.street, now=now)
    assert made.to_at == datetime.fromtimestamp(now / 1000, UTC)
    with pytest.raises(Invalid, match="has not begun"):
        make(db, town.street, now=OCTOBER.from_ms)
    wrong = NewReview(node=town.street, first_day=date(2026, 10, 2), last_day=date(2026, 10, 1))
    with pytest.raises(Invalid, match="lies before"):
        service.make(db, BOSS, wrong, NOW, SITE)
    long = NewReview(node=town.street, first_day=date(2020, 1, 1), last_day=date(2026, 10, 1))
    with pytest.raises(Invalid, match="at most 366 days"):
        service.make(db, BOSS, long, NOW, SITE)


# ---- by themselves


def test_each_level_has_its_reviews_when_they_are_due_D11(db: Database, town: Town) -> None:
    begun = midnight(date(2026, 10, 20), ZONE)
    schedule.begin(db, SITE, begun)
    tick(db, begun)
    assert listed(db) == []
    due = midnight(date(2026, 11, 1), ZONE, 2)
    tick(db, due - 1)
    assert listed(db) == []
    tick(db, due)
    (waiting,) = listed(db)
    assert (waiting.node, waiting.kind, waiting.state) == (town.street, ReviewKind.MONTHLY, ReviewState.PENDING)
    assert (waiting.from_at, waiting.to_at) == tuple(datetime.fromtimestamp(ms / 1000, UTC) for ms in OCTOBER)
    with db.read() as tx, pytest.raises(Conflict, match="being made"):
        service.archived(tx, SYSTEM, waiting.id)
    assert service.make_pending(db, due + 5000)
    assert service.make_pending(db, due + 9000)
    (made,) = listed(db)
    assert (made.state, made.created_by) == (ReviewState.MADE, "system:patrolgrid")
    assert made.created_at == datetime.fromtimestamp((due + 5000) / 1000, UTC)
    january = midnight(date(2027, 1, 1), ZONE, 2)
    tick(db, january)
    kinds = sorted((review.node, review.kind.value) for review in listed(db))
    assert kinds == sorted(
        [(town.street, "monthly")] * 3 + [(town.town, "quarterly"), (town.district, "half-yearly")]
    )  # fmt: skip


def test_what_fell_due_while_the_cloud_was_down_is_made_once_D11(db: Database, town: Town) -> None:
    begun = midnight(date(2026, 10, 20), ZONE)
    schedule.begin(db, SITE, begun)
    tick(db, begun)
    back = midnight(date(2027, 2, 10), ZONE, 9)
    for _ in range(3):  # restarts
        schedule.begin(db, SITE, back)
        tick(db, back)
        assert service.make_pending(db, back)
    months = [review.from_at.astimezone(ZONE).month for review in listed(db) if review.kind is ReviewKind.MONTHLY]
    assert sorted(months) == [1, 10, 11, 12]
    with db.read() as tx:
        street = tree.get_node(tx, SYSTEM, town.street)
        assert timers.due_of(tx, schedule.DUE, str(street.id)) == midnight(date(2027, 3, 1), ZONE, 2)


def test_a_node_made_later_has_reviews_in_its_own_zone(db: Database, town: Town) -> None:
    begun = midnight(date(2026, 10, 20), ZONE)
    schedule.begin(db, SITE, begun)
    tick(db, begun)
    with db.begin() as tx:
        late = tree.add_node(tx, SYSTEM, town.town, Kind.STREET, ("新街", "New"), now_ms=begun, time_zone="Asia/Urumqi")
    tick(db, begun + HOUR)
    tick(db, midnight(date(2026, 11, 1), ZONE, 3))
    assert late.path not in {review.node for review in listed(db)}
    tick(db, midnight(date(2026, 11, 1), ZONE, 4))
    found = next(review for review in listed(db) if review.node == late.path)
    assert found.zone == "Asia/Urumqi"
    assert found.to_at == datetime(2026, 10, 31, 18, tzinfo=UTC)


def test_a_review_that_cannot_be_made_stays_pending_and_stops_no_other(db: Database, town: Town) -> None:
    begun = midnight(date(2026, 10, 20), ZONE)
    schedule.begin(db, SITE, begun)
    tick(db, begun)
    due = midnight(date(2027, 1, 1), ZONE, 2)
    tick(db, due)
    with db.begin() as tx:
        tx.execute(reviews.update().where(reviews.c.node == town.street).values(zone="No/Where"))
    assert service.make_pending(db, due) is False
    states = {review.node: review.state for review in listed(db)}
    assert states == {
        town.street: ReviewState.PENDING, town.town: ReviewState.MADE, town.district: ReviewState.MADE,
    }  # fmt: skip


def test_the_worker_makes_what_is_pending_D11(
    sqlite_db: Database, serve_sqlite: Callable[[], AbstractContextManager[Served]]
) -> None:
    """A row that was left pending when the cloud went down, and the timer that finds the next ones."""
    town = grow(sqlite_db)
    begun = midnight(date(2026, 10, 20), ZONE)
    schedule.begin(sqlite_db, SITE, begun)
    tick(sqlite_db, begun)
    tick(sqlite_db, midnight(date(2026, 11, 1), ZONE, 2))
    assert [review.state for review in listed(sqlite_db)] == [ReviewState.PENDING]
    with serve_sqlite():
        wait_for(
            lambda: {r.state for r in listed(sqlite_db) if r.node == town.street} == {ReviewState.MADE}, 20, "reviews"
        )
        with sqlite_db.read() as tx:
            assert timers.due_of(tx, schedule.SWEEP, "all")


# ---- over HTTP


def test_over_http(service: Served, town: Town) -> None:
    body = {"node": town.street, "first_day": "2026-10-01", "last_day": "2026-10-31"}
    with service.client(Role.SUPERVISOR) as boss, service.client(Role.DISPATCHER) as dispatcher:
        assert dispatcher.post("/reviews", json=body).status_code == 403
        refused = boss.post("/reviews", json={**body, "first_day": "2199-01-01", "last_day": "2199-01-02"})
        assert refused.status_code == 422, refused.text
        assert boss.post("/reviews", json={**body, "first_day": "1999-01-01"}).status_code == 422
        past = {**body, "first_day": "2024-10-01", "last_day": "2024-10-31"}
        made = boss.post("/reviews", json=past)
        assert made.status_code == 201, made.text
        path = f"/reviews/{made.json()['id']}"
        one = dispatcher.get(path).json()
        assert one["figures"]["incidents"] == 0
        assert one["zone"] == "Asia/Shanghai"
        assert dispatcher.get("/reviews", params={"kind": "monthly"}).json()["items"][0]["id"] == one["id"]
        asked = boss.post(f"{path}/follow-ups", json={"node": town.communities[0], "text": "补岗"})
        assert asked.status_code == 201
        change = {"state": "done", "owner": "li"}
        assert boss.post(f"/reviews/follow-ups/{asked.json()['id']}", json=change).json()["state"] == "done"
        done = boss.get("/reviews/follow-ups", params={"state": "done"}).json()["items"]
        assert [(each["text"], each["owner"]) for each in done] == [("补岗", "li")]
        book = dispatcher.get(f"{path}/xlsx", params={"lang": "en"})
        assert book.content[:2] == b"PK"
        assert (
            book.headers["content-disposition"] == f'attachment; filename="review-{one["id"]}-monthly-20240930-en.xlsx"'
        )
        assert dispatcher.get(f"{path}/xlsx", params={"lang": "fr"}).status_code == 422
    with service.client(Role.SUPERVISOR, town.communities[0]) as elsewhere:
        for end in ("", "/pdf", "/xlsx"):
            assert elsewhere.get(path + end).status_code == 404
