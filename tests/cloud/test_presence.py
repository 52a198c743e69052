"""Presence on a real database: evidence by shift, states with their reasons, alarms, disorder, restarts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud import timers
from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter, AlarmState, AlarmView
from cloud.app import Role as ServiceRole
from cloud.devices import service as devices
from cloud.devices.liveness import Allowed
from cloud.devices.places import Place
from cloud.incidents.levels import hooks as level_hooks
from cloud.incidents.levels.store import declarations
from cloud.org import audit
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.presence import hooks, posts, service, views
from cloud.presence.judge import Judge
from cloud.presence.models import PostIn
from cloud.presence.rosters.store import looks, shifts
from cloud.presence.rules import HOLD_MS, LOOKBACK_MS, SILENCE_MS, Standing
from cloud.presence.store import evidence, judges, routes, tracks
from cloud.state import now_ms
from cloud.stream import events
from firmware_specs.readings import Position, Quality, Reading, Severity
from tests.cloud.cloud_support import NOW, know, wait_for
from tests.cloud.presence_support import (
    HOUR,
    LAT,
    LON,
    MINUTE,
    Guard,
    add_fixture,
    add_guard,
    add_post,
    fix,
    history,
    settle,
    states,
    stay,
    take,
    token,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from cloud.db import Database
    from tests.cloud.cloud_support import Served


def rows(db: Database) -> list[Any]:
    with db.read() as tx:
        return list(tx.execute(sa.select(evidence).order_by(evidence.c.id)))


def open_alarms(db: Database) -> list[AlarmView]:
    with db.read() as tx:
        query = AlarmFilter(state=(AlarmState.OPEN, AlarmState.ACKNOWLEDGED))
        return list(alerts.list_alarms(tx, SYSTEM, query).items)


# ---- evidence


def test_positions_outside_a_shift_leave_nothing_P1(db: Database) -> None:
    guard = add_guard(db, "A1", starts=NOW, ends=NOW + HOUR)
    other = fix("arm-nobody", NOW + 1)
    readings = [fix(guard.device, at) for at in (NOW - 1, NOW, NOW + HOUR - 1, NOW + HOUR)]
    assert take(db, [*readings, other], NOW + 2 * HOUR) == 2
    assert [row.at for row in rows(db)] == [NOW, NOW + HOUR - 1]
    with db.begin() as tx:
        tx.execute(shifts.update().where(shifts.c.id == guard.shift).values(ended_at=NOW + 10))
    assert take(db, [fix(guard.device, NOW + 11)], NOW + HOUR) == 0


def test_the_same_evidence_again_changes_nothing_D7(db: Database) -> None:
    guard = add_guard(db, "A1")
    for _ in range(3):
        take(db, stay(guard.device, NOW, NOW + MINUTE), NOW + MINUTE)
    assert len(rows(db)) == 6


def test_what_is_no_usable_fix_is_no_evidence(db: Database) -> None:
    guard = add_guard(db, "A1")
    place = Position(LAT, LON, 10)
    bad = [
        Reading(guard.device, "position", place, "", NOW, NOW, quality=Quality.UNCERTAIN),
        Reading(guard.device, "position", Position(float("nan"), LON), "", NOW, NOW),
        Reading(guard.device, "battery", 80.0, "%EL", NOW, NOW),
    ]
    assert take(db, bad, NOW) == 0
    assert take(db, [fix(guard.device, NOW + HOUR, accuracy_m=None)], NOW) == 1
    (row,) = rows(db)
    assert (row.at, row.accuracy_m) == (NOW, 25.0)


def test_badges_count_where_a_terminal_or_door_stands(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id)
    add_fixture(db, "term-1", "terminal", post.id)
    add_fixture(db, "door-1", "door", post.id)
    said = [
        token("term-1", "checkin", "badge-A1", NOW),
        token("door-1", "credential", "badge-A1", NOW + 1),
        token("term-1", "checkin", "badge-of-a-resident", NOW + 2),
        token("term-1", "credential", "badge-A1", NOW + 3),
        token("term-2", "checkin", "badge-A1", NOW + 4),
    ]
    assert take(db, said, NOW + 10) == 2
    assert [(row.kind, row.member, row.post, row.lat) for row in rows(db)] == [
        ("checkin", guard.member, post.id, None),
        ("door", guard.member, post.id, None),
    ]


def test_evidence_is_forgotten_after_its_days_P3(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id)
    take(db, stay(guard.device, NOW, NOW + MINUTE), NOW + MINUTE)
    settle(Judge(db), NOW + MINUTE)
    with db.begin() as tx:
        service.forget(tx, NOW + 30_000)
    assert [row.at for row in rows(db)] == [NOW + 30_000, NOW + 40_000, NOW + 50_000]
    with db.begin() as tx:
        service.forget(tx, NOW + HOUR)
        service.forget_aggregates(tx, NOW + HOUR)
    with db.read() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(tracks)).scalar() == 0
    assert rows(db) == []


def test_what_a_post_has_been_for_longer_than_its_history_is_kept(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id)
    judge = Judge(db)
    for begins in (NOW, NOW + HOUR):
        take(db, stay(guard.device, begins, begins + MINUTE), begins + MINUTE)
        settle(judge, begins + MINUTE)
    before = history(db, post.id)
    assert [state for _, state, *_ in before][-1] == "manned"
    with db.begin() as tx:
        service.forget_aggregates(tx, NOW + 2 * HOUR)
    assert history(db, post.id) == before[-1:]


# ---- states


def test_a_guard_comes_stays_leaves_and_is_missed(db: Database) -> None:
    post = add_post(db, grace_s=120)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    judge = Judge(db)
    take(db, stay(guard.device, NOW, NOW + 5 * MINUTE), NOW + 5 * MINUTE)
    settle(judge, NOW + 5 * MINUTE)
    left = NOW + 5 * MINUTE
    take(db, stay(guard.device, left, left + MINUTE, 120), left + MINUTE)
    settle(judge, left + MINUTE)
    assert states(db, post.id) == [
        (0, "unknown", "settling"), (20, "manned", "present"), (320, "unmanned", "absent"),
    ]  # fmt: skip
    with db.begin() as tx:
        timers.tick(tx, left + 20_000 + 119_000)
    assert open_alarms(db) == []
    with db.begin() as tx:
        timers.tick(tx, left + 20_000 + 121_000)
    (alarm,) = open_alarms(db)
    assert (alarm.kind, alarm.device, alarm.location, alarm.severity) == (
        "post-unmanned", f"post:{post.id}", "东门岗", "minor",
    )  # fmt: skip
    back = left + 3 * MINUTE
    take(db, stay(guard.device, back, back + MINUTE), back + MINUTE)
    settle(judge, back + MINUTE)
    assert open_alarms(db) == []
    with db.read() as tx:
        view = posts.get(tx, SYSTEM, post.id)
        told = tx.execute(sa.select(events.c.data).where(events.c.kind == "presence")).scalars().all()
    assert (view.state, view.reason, view.present, view.required) == ("manned", "present", 1, 1)
    assert len(told) == 4


def test_an_alarm_that_came_beside_the_return_is_cleared(db: Database) -> None:
    """On PostgreSQL the grace's timer may act on what a post was a moment ago."""
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    judge = Judge(db)
    take(db, stay(guard.device, NOW, NOW + MINUTE), NOW + MINUTE)
    settle(judge, NOW + MINUTE)
    with db.begin() as tx:
        alerts.raise_own(
            tx, "", f"post:{post.id}", posts.UNMANNED, Severity.MINOR, at_ms=NOW, now_ms=NOW, where=Place("/", "")
        )
    settle(judge, NOW + MINUTE + 10_000)
    assert open_alarms(db) == []


def test_who_is_back_within_the_grace_is_not_missed(db: Database) -> None:
    post = add_post(db, grace_s=300)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    judge = Judge(db)
    for place, begins in ((0, 0), (120, 60), (0, 120)):
        at = NOW + begins * 1000
        take(db, stay(guard.device, at, at + MINUTE, place), at + MINUTE)
        settle(judge, at + MINUTE)
    with db.begin() as tx:
        assert timers.due_of(tx, posts.UNMANNED, str(post.id)) is None
        timers.tick(tx, NOW + HOUR)
    assert open_alarms(db) == []


def test_what_is_learned_late_is_no_late_deadline(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    take(db, stay(guard.device, NOW, NOW + HOUR, 200), NOW + HOUR)
    settle(Judge(db), NOW + HOUR)
    with db.begin() as tx:
        assert timers.due_of(tx, posts.UNMANNED, str(post.id)) == NOW + HOUR
        timers.tick(tx, NOW + HOUR)
        assert timers.late_since(tx, NOW) == 0
    (alarm,) = open_alarms(db)
    with db.read() as tx:
        since = posts.get(tx, SYSTEM, post.id).since
    assert (alarm.raised_at - since).total_seconds() == 300


def test_a_grace_that_changes_counts_for_the_absence_that_runs(db: Database) -> None:
    post = add_post(db, grace_s=3600)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    take(db, stay(guard.device, NOW, NOW + MINUTE, 200), NOW + MINUTE)
    settle(Judge(db), NOW + MINUTE)
    given = PostIn(node=post.node, name_zh="岗", name_en="Post", lat=post.lat, lon=post.lon, grace_s=120)
    with db.begin() as tx:
        posts.change(tx, SYSTEM, post.id, given, NOW + MINUTE)
        timers.tick(tx, NOW + 3 * MINUTE)
    assert [alarm.kind for alarm in open_alarms(db)] == ["post-unmanned"]


def test_silence_makes_a_post_unknown_and_keeps_its_alarm(db: Database) -> None:
    post = add_post(db, grace_s=0)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    judge = Judge(db)
    take(db, stay(guard.device, NOW, NOW + MINUTE, 200), NOW + MINUTE)
    settle(judge, NOW + MINUTE)
    with db.begin() as tx:
        timers.tick(tx, NOW + MINUTE)
    assert [alarm.kind for alarm in open_alarms(db)] == ["post-unmanned"]
    settle(judge, NOW + 50_000 + SILENCE_MS)
    assert states(db, post.id)[-1] == (50 + SILENCE_MS / 1000, "unknown", "armband-silent")
    assert [alarm.kind for alarm in open_alarms(db)] == ["post-unmanned"]
    settle(judge, NOW + 9 * HOUR)
    assert states(db, post.id)[-1] == (8 * 3600, "unknown", "no-roster")
    assert open_alarms(db) == []


def test_a_gateways_outage_is_told_as_the_reason(db: Database) -> None:
    know(db, "gw-1")
    with db.begin() as tx:
        devices.heard(tx, "gw-1", NOW)
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id)
    judge = Judge(db)
    take(db, stay(guard.device, NOW, NOW + MINUTE), NOW + MINUTE)
    settle(judge, NOW + MINUTE)
    with db.begin() as tx:
        devices.attend(tx, NOW + 3 * MINUTE)
        devices.tick(tx, NOW + 200_000, Allowed())
        devices.tick(tx, NOW + 400_000, Allowed())
    settle(judge, NOW + 50_000 + SILENCE_MS)
    with db.read() as tx:
        assert posts.get(tx, SYSTEM, post.id).reason == "gateway-offline"
    assert states(db, post.id)[-1][2] == "armband-silent"


def test_a_check_in_mans_a_post_at_once_and_holds(db: Database) -> None:
    post = add_post(db)
    add_guard(db, "A1", post=post.id, starts=NOW)
    add_fixture(db, "term-1", "terminal", post.id)
    judge = Judge(db)
    take(db, [token("term-1", "checkin", "badge-A1", NOW + 5000)], NOW + 5000)
    settle(judge, NOW + 6000)
    assert states(db, post.id)[-1] == (5, "manned", "present")
    settle(judge, NOW + 5000 + HOLD_MS)
    assert states(db, post.id)[-1] == (5 + HOLD_MS / 1000, "unknown", "armband-silent")


def test_a_shift_that_ends_early_and_a_new_requirement_count_from_then(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    judge = Judge(db)
    take(db, stay(guard.device, NOW, NOW + MINUTE), NOW + MINUTE)
    settle(judge, NOW + MINUTE)
    given = {"node": "/", "name_zh": "东门岗", "name_en": "East gate", "lat": LAT, "lon": LON, "headcount": 2}
    with db.begin() as tx:
        posts.change(tx, SYSTEM, post.id, PostIn.model_validate(given), NOW + 2 * MINUTE)
    settle(judge, NOW + 2 * MINUTE)
    assert states(db, post.id)[-1] == (120, "understaffed", "too-few-rostered")
    with db.begin() as tx:
        ended = shifts.update().where(shifts.c.id == guard.shift).values(ended_at=NOW + 150_000)
        tx.execute(ended)
    settle(judge, NOW + 180_000)
    assert states(db, post.id)[-1] == (150, "unknown", "no-roster")


def test_a_level_that_changes_has_the_judge_read_anew(db: Database) -> None:
    post = add_post(db)
    judge = Judge(db)
    settle(judge, NOW)
    with db.begin() as tx:
        before = tx.execute(sa.select(judges.c.plan)).scalar_one()
        for listener in level_hooks.LISTENERS:
            listener(tx, post.node, NOW)
        assert tx.execute(sa.select(judges.c.plan)).scalar_one() == before + 1
    settle(judge, NOW + 1)
    assert states(db, post.id) == [(0, "unknown", "no-roster")]


def test_level_3_asks_posts_for_one_for_a_fifth_more_people_and_not_for_twice_as_many(db: Database) -> None:
    made = [add_post(db) for _ in range(5)]
    judge = Judge(db)
    settle(judge, NOW)
    level = {
        "node": "/", "level": 3, "reason": "storm", "scope": "", "starts_at": NOW + MINUTE, "ends_at": NOW + HOUR,
        "state": "approved", "declared_at": NOW, "declared_by": "li", "decided_at": NOW, "decision_note": "",
    }  # fmt: skip
    with db.begin() as tx:
        tx.execute(declarations.insert().values(level))
    found = []
    for now in (NOW + MINUTE, NOW + HOUR):
        with db.begin() as tx:
            level_hooks.tell(tx, "/", now)
        settle(judge, now)
        with db.read() as tx:
            found.append([posts.get(tx, SYSTEM, post.id).required for post in made])
    assert found == [[2, 1, 1, 1, 1], [1, 1, 1, 1, 1]]


def test_a_post_that_moved_is_judged_anew_from_then(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    judge = Judge(db)
    take(db, stay(guard.device, NOW, NOW + MINUTE), NOW + MINUTE)
    settle(judge, NOW + MINUTE)
    moved = PostIn(node="/", name_zh="东门岗", name_en="East gate", lat=LAT + 0.01, lon=LON)
    with db.begin() as tx:
        posts.change(tx, SYSTEM, post.id, moved, NOW + MINUTE)
    settle(judge, NOW + MINUTE)
    take(db, stay(guard.device, NOW + MINUTE, NOW + 2 * MINUTE), NOW + 2 * MINUTE)
    settle(judge, NOW + 2 * MINUTE)
    assert [each[:2] for each in states(db, post.id)[-3:]] == [(20, "manned"), (60, "unknown"), (80, "unmanned")]


def test_listeners_are_told_of_all_evidence(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id)
    add_fixture(db, "term-1", "terminal", post.id)
    told: list[hooks.Evidence] = []
    hooks.LISTENERS.append(listen := lambda _tx, said, _now: told.extend(said))
    try:
        take(db, [fix(guard.device, NOW, 5), token("term-1", "checkin", "badge-A1", NOW + 1)], NOW + 1)
        settle(Judge(db), NOW + 1)
    finally:
        hooks.LISTENERS.remove(listen)
    assert [(each.member, each.kind, each.post) for each in told] == [
        (guard.member, "fix", None), (guard.member, "checkin", post.id),
    ]  # fmt: skip
    assert (told[1].lat, told[1].lon) == (LAT, LON)


def test_a_listener_that_cannot_take_one_piece_holds_up_no_other(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    poison = NOW + 20_000

    def refuse(_tx: object, said: Sequence[hooks.Evidence], _now: int) -> None:
        if any(each.at_ms == poison for each in said):
            raise ValueError("not this one")

    hooks.LISTENERS.append(refuse)
    try:
        take(db, stay(guard.device, NOW, NOW + 2 * MINUTE), NOW + 2 * MINUTE)
        judge = Judge(db)
        for _ in range(30):
            judge.turn(NOW + 2 * MINUTE)
    finally:
        hooks.LISTENERS.remove(refuse)
    assert all(row.done for row in rows(db))
    assert states(db, post.id)[-1][1] == "manned"


def test_a_plan_that_cannot_be_read_costs_no_evidence(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    with db.begin() as tx:
        row = {"node": "/", "name_zh": "线", "name_en": "Line", "kind": "line", "revisit_s": 600, "created_at": NOW}
        tx.execute(routes.insert().values(**row, checkpoints="{"))
    take(db, stay(guard.device, NOW, NOW + MINUTE), NOW + MINUTE)
    judge = Judge(db)
    for _ in range(20):
        judge.turn(NOW + MINUTE)
    assert judge.held
    assert not any(row.done for row in rows(db))
    with db.begin() as tx:
        tx.execute(routes.delete())
    for _ in range(4):
        judge.turn(NOW + MINUTE)
    assert states(db, post.id)[-1][1] == "manned"


def test_one_judge_at_a_time_and_another_takes_over(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    first, second = Judge(db), Judge(db)
    settle(first, NOW)
    take(db, stay(guard.device, NOW, NOW + 15_000, every_ms=5000), NOW + 10_000)
    assert second.turn(NOW + 5000) == 0
    assert second.turn(NOW + 20_000) == 3
    assert states(db, post.id)[-1][1] == "unknown"
    take(db, [fix(guard.device, NOW + 25_000)], NOW + 25_000)
    assert first.turn(NOW + 25_000) == 0
    settle(second, NOW + 25_000)


# ---- order


Story = list[tuple[str, int]]
"""What a member did in each minute, and for how long: here, away, silent."""
stories = st.lists(st.tuples(st.sampled_from(["here", "away", "silent", "poor"]), st.integers(1, 8)), max_size=6)
_names = itertools.count()


def told(guard: Guard, story: Story) -> Iterator[Reading]:
    """What the armband sends."""
    at = NOW
    for act, minutes in story:
        end = at + minutes * MINUTE
        if act != "silent":
            for n, moment in enumerate(range(at, end, 15_000)):
                yield fix(guard.device, moment + n % 3 * 700, 150 if act == "away" else 5, 300 if act == "poor" else 10)
        at = end


def tell(db: Database, post: int, names: Sequence[str], stories_told: Sequence[Story]) -> list[Reading]:
    guards = [add_guard(db, name, post=post, starts=NOW) for name in names]
    return sorted(
        (each for guard, story in zip(guards, stories_told, strict=True) for each in told(guard, story)),
        key=lambda each: each.observed_at,
    )


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(stories, min_size=2, max_size=2), st.data())
def test_permuted_and_late_fixes_give_the_same_history_D7(db: Database, acts: list[Story], data: st.DataObject) -> None:
    end = NOW + HOUR
    orderly, disorderly = (add_post(db, headcount=2, now=NOW - 1).id for _ in range(2))
    number = next(_names)
    judge = Judge(db)
    plain = tell(db, orderly, [f"a{number}", f"b{number}"], acts)
    for minute in range(NOW, end + 1, 5 * MINUTE):
        take(db, (each for each in plain if minute - 5 * MINUTE <= each.observed_at < minute), minute)
        settle(judge, minute)
    shuffled = tell(db, disorderly, [f"c{number}", f"d{number}"], acts)
    for begin in range(0, len(mixed := data.draw(st.permutations(shuffled))), 40):
        take(db, mixed[begin : begin + 40], end)
        settle(judge, end)
        if data.draw(st.booleans()):
            judge = Judge(db)  # a restart
            settle(judge, end + 11_000)
    settle(judge, end + 11_000)
    assert history(db, disorderly) == history(db, orderly)


def test_what_comes_beyond_the_look_back_is_kept_and_changes_no_history(db: Database) -> None:
    began = NOW - 10 * HOUR
    post = add_post(db, now=began)
    guard = add_guard(db, "A1", post=post.id, starts=began)
    judge = Judge(db)
    settle(judge, NOW)
    before = history(db, post.id)
    old = NOW - LOOKBACK_MS - HOUR
    take(db, stay(guard.device, old, old + 5 * MINUTE), NOW)
    settle(judge, NOW)
    assert history(db, post.id) == before
    assert all(row.done for row in rows(db))
    assert len(rows(db)) == 30


def test_a_restart_reads_on_where_the_judge_was_D11(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    take(db, stay(guard.device, NOW, NOW + 10 * MINUTE), NOW + 10 * MINUTE)
    settle(Judge(db), NOW + 10 * MINUTE)
    left = NOW + 10 * MINUTE
    take(db, stay(guard.device, left, left + MINUTE, 120), left + MINUTE)
    settle(Judge(db), NOW + 2 * HOUR)
    assert [each[:2] for each in states(db, post.id)[-3:]] == [
        (20, "manned"), (620, "unmanned"), (600 + 50 + SILENCE_MS / 1000, "unknown"),
    ]  # fmt: skip


# ---- who


def test_who_is_at_a_post_is_told_to_those_who_may_locate_and_put_on_record_P5(db: Database) -> None:
    post = add_post(db)
    guard = add_guard(db, "A1", post=post.id, starts=NOW)
    add_guard(db, "B2", post=post.id, starts=NOW)
    take(db, stay(guard.device, NOW, NOW + MINUTE), NOW + MINUTE)
    settle(Judge(db), NOW + MINUTE)
    li = Principal("user", 1, "li", Role.DISPATCHER)
    with db.begin() as tx:
        found = views.who(tx, li, post.id, NOW + MINUTE)
    assert [(each.call_sign, each.standing) for each in found] == [
        ("A1", Standing.PRESENT), ("B2", Standing.UNKNOWN),
    ]  # fmt: skip
    with db.read() as tx:
        seen = [tuple(row) for row in tx.execute(sa.select(looks.c.member, looks.c.viewer).order_by(looks.c.id))]
        actions = tx.execute(sa.select(audit.audit.c.action)).scalars().all()
    assert (guard.member, "li") in seen
    assert "position.view" in actions
    with db.read() as tx:
        newest = service.last_fixes(tx, [guard.member], NOW + MINUTE)
        assert newest[guard.member].at_ms == NOW + 50_000
        assert service.last_fixes(tx, [guard.member], NOW + HOUR) == {}


@pytest.mark.parametrize("role", [Role.TECHNICIAN, Role.PROPERTY, Role.AUDITOR])
def test_others_are_not_told_who(db: Database, role: Role) -> None:
    post = add_post(db)
    with db.begin() as tx, pytest.raises(Exception, match="may not locate"):
        views.who(tx, Principal("user", 1, "zhao", role), post.id, NOW)


def test_the_worker_judges_by_itself(serve: Callable[..., AbstractContextManager[Served]]) -> None:
    with serve(ServiceRole.WORKER) as served:
        now = now_ms()
        post = add_post(served.db, now=now - HOUR)
        guard = add_guard(served.db, "A1", post=post.id, starts=now - HOUR, ends=now + HOUR)
        take(served.db, stay(guard.device, now - MINUTE, now), now)
        wait_for(
            lambda: states(served.db, post.id)[-1:] and states(served.db, post.id)[-1][1] == "manned", 20, "manned"
        )
