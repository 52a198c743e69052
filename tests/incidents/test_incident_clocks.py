"""The response clocks: evidence stops them, breaches are written once at their due time, levels above are told."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud import timers
from cloud.errors import Conflict
from cloud.incidents import service, tell
from cloud.incidents.levels import service as levels
from cloud.incidents.models import PlanGiven
from cloud.incidents.rules import ClockName, How, State
from cloud.incidents.store import sights
from cloud.org.rules import SYSTEM
from tests.cloud.cloud_support import NOW
from tests.incidents.incidents_support import (
    HOUSE,
    LI,
    actions,
    alarm,
    by_hand,
    clear,
    detail,
    fire,
    fix,
    listed,
    patrol,
    stay,
    tick,
    town,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from cloud.alerts.notify.service import Message
    from cloud.db import Database
    from cloud.incidents.models import ClockView

ON, MORE, AREA = ClockName.ON_SCENE, ClockName.REINFORCEMENT, ClockName.AREA
SECOND = 1000


def clock(db: Database, incident: int, name: ClockName, now: int = NOW) -> ClockView:
    return next(each for each in detail(db, incident, now).clocks if each.name is name)


def stopped_s(db: Database, incident: int, name: ClockName) -> float | None:
    stopped = clock(db, incident, name).stopped_at
    return None if stopped is None else stopped.timestamp() - NOW / 1000


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """What the notifications were given."""
    messages: list[Message] = []

    def enqueue(_tx: Connection, message: Message, _now_ms: int) -> int:
        messages.append(message)
        return 1

    monkeypatch.setattr(tell, "enqueue", enqueue)
    return messages


def test_the_first_arrival_stops_on_scene_and_the_second_reinforcement(db: Database) -> None:
    made = town(db)
    first, second = patrol(db, made.community, ["A1", "A2"])
    incident = fire(db)
    fix(db, first, NOW + 60 * SECOND)
    assert clock(db, incident, ON).how is None, "a fix alone is no stay"
    fix(db, first, NOW + 75 * SECOND)
    view = clock(db, incident, ON)
    assert (view.how, view.stopped_by, view.remaining_s) == (How.EVIDENCE, "A1", None)
    assert stopped_s(db, incident, ON) == 60
    assert clock(db, incident, MORE).how is None
    fix(db, second, NOW + 200 * SECOND, kind="checkin")
    assert stopped_s(db, incident, MORE) == 200, "a check-in counts at once"
    whole = detail(db, incident)
    assert whole.state is State.ON_SCENE
    assert [(r.call_sign, r.state.value, r.dispatched_by) for r in whole.responders] == [
        ("A1", "on_scene", ""), ("A2", "on_scene", ""),
    ]  # fmt: skip
    tick(db, NOW + 700 * SECOND)
    assert actions(db, incident).count("breached") == 0


@pytest.mark.parametrize(
    ("away_m", "accuracy_m"), [(150.0, 5.0), (60.0, 150.0), (104.0, 8.0)], ids=["outside", "vague", "edge"]
)
def test_what_does_not_prove_presence_stops_nothing(db: Database, away_m: float, accuracy_m: float) -> None:
    made = town(db)
    [member] = patrol(db, made.community, ["A1"])
    incident = fire(db)
    for at in range(NOW, NOW + 60_000, 10_000):
        fix(db, member, at, away_m=away_m, accuracy_m=accuracy_m)
    assert clock(db, incident, ON).how is None
    assert detail(db, incident).responders == []


def test_who_walks_past_has_not_arrived(db: Database) -> None:
    made = town(db)
    [member] = patrol(db, made.community, ["A1"])
    incident = fire(db)
    for at, away_m in ((0, 0.0), (10, 140.0), (20, 10.0), (30, 300.0)):
        fix(db, member, NOW + at * SECOND, away_m=away_m)
    assert clock(db, incident, ON).how is None


def test_a_late_fix_moves_the_stop_back_and_never_forward(db: Database) -> None:
    made = town(db)
    first, second = patrol(db, made.community, ["A1", "A2"])
    incident = fire(db)
    stay(db, first, NOW + 100 * SECOND)
    assert stopped_s(db, incident, ON) == 100
    stay(db, second, NOW + 40 * SECOND)
    assert stopped_s(db, incident, ON) == 40
    assert clock(db, incident, ON).stopped_by == "A2"
    assert stopped_s(db, incident, MORE) == 100
    assert clock(db, incident, MORE).stopped_by == "A1"
    stay(db, second, NOW + 20 * SECOND)
    assert (stopped_s(db, incident, ON), stopped_s(db, incident, MORE)) == (20, 100)
    stay(db, second, NOW + 300 * SECOND)
    assert stopped_s(db, incident, ON) == 20
    assert actions(db, incident).count("clock-moved") == 2


_seeds = itertools.count()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_order_of_fixes_gives_the_same_stops_D7(db: Database, data: st.DataObject) -> None:
    """Fixes only ever add to what is known: stays that every order finds."""
    seed = next(_seeds)
    [at_first] = listed_nodes(db) or [town(db).building]
    pair = patrol(db, at_first, [f"P{seed}a", f"P{seed}b"])
    begin = NOW + seed * 10_000_000
    incident = by_hand(db, at_first, at=begin, lat=HOUSE[0], lon=HOUSE[1], category="fire")
    fixes = [(pair[0], begin + s * SECOND) for s in (30, 40, 50)] + [(pair[1], begin + s * SECOND) for s in (60, 75)]
    for member, at in data.draw(st.permutations(fixes)):
        fix(db, member, at, now=begin + 100 * SECOND)
    whole = {each.name: each for each in detail(db, incident).clocks}
    stops = [whole[name].stopped_at for name in (ON, MORE)]
    assert [stop.timestamp() * 1000 - begin for stop in stops if stop] == [30_000, 60_000]
    with db.begin() as tx:
        service.close(tx, SYSTEM, incident, begin + 200 * SECOND, cause="x", follow_up="y")
        assert tx.execute(sa.select(sa.func.count()).select_from(sights)).scalar() == 0


def listed_nodes(db: Database) -> list[str]:
    from cloud.org import tree

    with db.read() as tx:
        return [node.path for node in tree.list_nodes(tx, SYSTEM) if node.code == "building-3"]


def test_a_breach_is_written_once_at_its_due_time_and_told_one_level_up_D11(db: Database, told: list[Message]) -> None:
    made = town(db)
    incident = fire(db)
    tick(db, NOW + 299 * SECOND)
    assert "breached" not in actions(db, incident)
    for late in (300, 301, 599):
        tick(db, NOW + late * SECOND)
    [row] = [row for row in detail(db, incident).timeline if row.action == "breached"]
    assert row.at.timestamp() == NOW / 1000 + 300
    assert row.detail == {"clock": "on_scene", "target_s": 300, "to": made.community}
    view = clock(db, incident, ON, NOW + 400 * SECOND)
    assert (view.breached_at, view.escalated_to, view.remaining_s) == (view.due_at, made.community, -100.0)
    [message] = [each for each in told if each.template == "incident.breached"]
    assert (message.node, message.urgent, message.drill) == (made.community, True, False)
    assert message.values["clock_en"] == "on scene"


def test_overdue_deadlines_fire_once_after_a_long_downtime_with_their_true_times_D11(
    db: Database, told: list[Message]
) -> None:
    made = town(db)
    incident = fire(db)
    tick(db, NOW + 2000 * SECOND)
    tick(db, NOW + 2001 * SECOND)
    history = [row for row in detail(db, incident).timeline if row.action in {"breached", "escalated", "untaken"}]
    times = sorted((row.action, row.detail.get("clock", ""), row.at.timestamp() - NOW / 1000) for row in history)
    assert times == [
        ("breached", "area", 1800), ("breached", "on_scene", 300), ("breached", "reinforcement", 600),
        ("escalated", "on_scene", 600), ("escalated", "on_scene", 900),
        ("escalated", "reinforcement", 900), ("escalated", "reinforcement", 1200),
        ("untaken", "", 60), ("untaken", "", 360), ("untaken", "", 660),
    ]  # fmt: skip
    levels_told = [each.node for each in told if each.template == "incident.untaken"]
    assert levels_told == [made.community, made.street, "/"]
    assert len({each.key for each in told}) == len(told)


def test_a_stop_behind_its_due_time_is_a_breach_even_before_the_timer_came(db: Database) -> None:
    made = town(db)
    [member] = patrol(db, made.community, ["A1"])
    incident = fire(db)
    stay(db, member, NOW + 310 * SECOND)
    tick(db, NOW + 400 * SECOND)
    assert actions(db, incident).count("breached") == 1
    view = clock(db, incident, ON)
    assert (view.breached_at, stopped_s(db, incident, ON)) == (view.due_at, 310)
    stay(db, member, NOW + 100 * SECOND)
    view = clock(db, incident, ON)
    assert (view.breached_at, stopped_s(db, incident, ON)) == (view.due_at, 100), "the breach stays"


def test_who_is_inside_when_the_clock_is_due_may_finish_the_dwell(db: Database) -> None:
    made = town(db)
    first, second = patrol(db, made.community, ["A1", "A2"])
    saved, lost = fire(db), by_hand(db, made.building, lat=34.30, lon=HOUSE[1])
    fix(db, first, NOW + 295 * SECOND)
    tick(db, NOW + 300 * SECOND)
    fix(db, first, NOW + 312 * SECOND)
    tick(db, NOW + 340 * SECOND)
    assert "breached" not in actions(db, saved)
    assert stopped_s(db, saved, ON) == 295
    assert actions(db, lost).count("breached") == 1
    fix(db, second, NOW + 590 * SECOND)
    for late in (600, 629, 631):
        tick(db, NOW + late * SECOND)
    assert actions(db, saved).count("breached") == 1, "who left again does not hold the clock for ever"


def test_a_clock_is_stopped_by_hand_once_with_a_reason(db: Database) -> None:
    town(db)
    incident = fire(db)
    with db.begin() as tx:
        service.stop_clock(tx, LI, incident, NOW + 50 * SECOND, name=AREA, reason="已封控")
    view = clock(db, incident, AREA)
    assert (view.how, view.reason, view.stopped_by) == (How.HAND, "已封控", "li")
    with (
        db.begin() as tx,
        pytest.raises(Conflict, match=f"incident {incident}: the clock area does not run"),
    ):
        service.stop_clock(tx, LI, incident, NOW + 51 * SECOND, name=AREA, reason="再次")


def test_the_area_is_safe_by_the_alarms_when_the_plan_says_so(db: Database) -> None:
    made = town(db)
    [member] = patrol(db, made.community, ["A1"])
    first = alarm(db, "gas", device="gas-1")
    second = alarm(db, "gas", device="gas-2", at=NOW + 1)
    [view] = listed(db)
    clear(db, first, NOW + 30 * SECOND)
    stay(db, member, NOW + 60 * SECOND)
    assert clock(db, view.id, AREA).how is None
    clear(db, second, NOW + 90 * SECOND)
    assert (clock(db, view.id, AREA).how, stopped_s(db, view.id, AREA)) == (How.EVIDENCE, 90)


def test_targets_are_those_of_the_nearest_plan(db: Database) -> None:
    made = town(db)
    with db.begin() as tx:
        for node, seconds in ((made.street, 240), (made.building, 120)):
            plan = {"category": "fire", "name_zh": "火", "name_en": "Fire", "targets": {"on_scene": seconds}}
            service.put_plan(tx, SYSTEM, node, PlanGiven.model_validate(plan), NOW)
    assert clock(db, fire(db), ON).target_s == 120
    assert clock(db, by_hand(db, made.community, category="fire"), ON).target_s == 240
    assert clock(db, by_hand(db, made.other, category="fire"), ON).target_s == 300


def test_the_level_shortens_what_people_are_told_and_never_the_clocks(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    town(db)
    halved = levels.Policy(150, 50, 60, 50)
    monkeypatch.setattr(levels, "policy", lambda *_: halved)
    incident = fire(db)
    tick(db, NOW + 500 * SECOND)
    told = [(row.action, row.at.timestamp() - NOW / 1000) for row in detail(db, incident).timeline]
    assert ("untaken", 30) in told
    assert ("breached", 300) in told
    assert ("escalated", 450) in told


def test_a_timer_that_finds_the_incident_held_comes_again(db: Database, parallel: Callable[..., Any]) -> None:
    if db.sqlite:
        pytest.skip("SQLite has one writer at a time: no incident is ever found held")
    town(db)
    incident = fire(db)
    with db.begin() as tx:
        service.comment(tx, LI, incident, NOW + 1, "held")
        parallel(lambda: tick_once(db, NOW + 300 * SECOND))
    assert "breached" not in actions(db, incident)
    tick(db, NOW + 301 * SECOND)
    assert actions(db, incident).count("breached") == 1


def tick_once(db: Database, now: int) -> None:
    with db.begin() as tx:
        timers.tick(tx, now)


@pytest.fixture
def parallel() -> Callable[..., Any]:
    """A function that runs another in a thread, to its end."""
    import threading

    def run(work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()

    return run
