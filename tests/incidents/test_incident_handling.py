"""What people do: first receiver, hand-over, checklist, closing and reopening, responders, plans, what was missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from cloud import importing
from cloud.alerts import service as alerts
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.incidents import service
from cloud.incidents.models import MissedWhy, PlanGiven
from cloud.incidents.plans import category_of
from cloud.incidents.rules import Category, ClockName, How, State
from cloud.org import audit
from cloud.org import service as org
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.presence.rosters.store import looks
from tests.cloud.cloud_support import NOW
from tests.incidents.incidents_support import (
    ANNA,
    CHIEF,
    DAY,
    HOUR,
    LI,
    WANG,
    actions,
    alarm,
    by_hand,
    detail,
    fire,
    fix,
    listed,
    patrol,
    seen,
    stay,
    tick,
    town,
)  # fmt: skip

if TYPE_CHECKING:
    from cloud.db import Database

SECOND = 1000


def users(db: Database, node: str) -> None:
    """Accounts to hand over to: wang sees everything, far only another street, pan may not respond."""
    far = Principal("system", 0, "tests", Role.ADMINISTRATOR, node)
    with db.begin() as tx:
        org.add_user(tx, SYSTEM, "wang", Role.DISPATCHER, NOW)
        org.add_user(tx, far, "far", Role.DISPATCHER, NOW)
        org.add_user(tx, SYSTEM, "pan", Role.PROPERTY, NOW)
        org.add_user(tx, SYSTEM, "gone", Role.DISPATCHER, NOW)
        org.disable_user(tx, SYSTEM, "gone", NOW)


def test_who_takes_it_owns_it_until_handed_over(db: Database) -> None:
    made = town(db)
    users(db, made.other)
    incident = fire(db)
    with db.begin() as tx:
        with pytest.raises(Conflict, match="nobody has taken it yet"):
            service.hand_over(tx, LI, incident, NOW, "wang")
        assert service.take(tx, LI, incident, NOW).owner == "li"
        assert service.take(tx, LI, incident, NOW + 1).owned_at == service.take(tx, LI, incident, NOW + 2).owned_at
        with pytest.raises(Conflict, match=f"incident {incident}: taken by li"):
            service.take(tx, WANG, incident, NOW, "I am nearer")
        with pytest.raises(Conflict, match="owned by li"):
            service.close(tx, WANG, incident, NOW, cause="x", follow_up="y")
        for nobody in ("far", "pan", "gone", "who"):
            with pytest.raises(Invalid, match=f"user: '{nobody}'"):
                service.hand_over(tx, LI, incident, NOW, nobody)
        assert service.hand_over(tx, LI, incident, NOW + 5, "wang").owner == "wang"
        with pytest.raises(Conflict, match="needs a reason"):
            service.take(tx, CHIEF, incident, NOW)
        assert service.take(tx, CHIEF, incident, NOW + 9, "交接班").owner == "chief"
    assert actions(db, incident) == ["opened", "taken", "handed-over", "taken-over"]
    tick(db, NOW + 200 * SECOND)
    assert "untaken" not in actions(db, incident)
    with db.read() as tx:
        told = tx.execute(sa.select(audit.audit.c.action).where(audit.audit.c.target == f"incident/{incident}"))
        assert list(told.scalars()) == ["incident.taken", "incident.handed-over", "incident.taken-over"]


def test_closing_says_cause_and_follow_up_and_ends_the_clocks(db: Database) -> None:
    town(db)
    incident = fire(db)
    with db.begin() as tx:
        service.take(tx, LI, incident, NOW)
        view = service.close(tx, LI, incident, NOW + 60 * SECOND, cause="炒菜油烟", follow_up="加装隔板")
    assert (view.state, view.cause, view.follow_up, view.closed_by) == (State.CLOSED, "炒菜油烟", "加装隔板", "li")
    assert [(clock.how, clock.stopped_at is not None) for clock in view.clocks] == [
        (How.CLOSED, False), (How.CLOSED, False), (How.CLOSED, True),
    ]  # fmt: skip
    tick(db, NOW + HOUR)
    assert actions(db, incident) == ["opened", "taken", "closed"]
    with db.begin() as tx, pytest.raises(Conflict, match="is closed"):
        service.take(tx, WANG, incident, NOW)
    with db.begin() as tx:
        service.comment(tx, LI, incident, NOW + DAY, "已复查")


def test_closing_what_is_overdue_keeps_the_breach(db: Database) -> None:
    town(db)
    incident = fire(db)
    with db.begin() as tx:
        service.take(tx, LI, incident, NOW)
        service.close(tx, LI, incident, NOW + 301 * SECOND, cause="x", follow_up="y")
    assert actions(db, incident) == ["opened", "taken", "breached", "closed"]


def test_reopening_within_an_hour_runs_what_had_not_stopped(db: Database) -> None:
    made = town(db)
    [member] = patrol(db, made.community, ["A1"])
    incident = fire(db)
    stay(db, member, NOW + 10 * SECOND)
    with db.begin() as tx:
        service.take(tx, LI, incident, NOW)
        with pytest.raises(Conflict, match="is not closed"):
            service.reopen(tx, LI, incident, NOW, "x")
        service.close(tx, LI, incident, NOW + 60 * SECOND, cause="x", follow_up="y")
        back = NOW + 600 * SECOND
        view = service.reopen(tx, LI, incident, back, "复燃")
    assert view.state is State.ON_SCENE
    assert [(clock.how, clock.due_at.timestamp() - NOW / 1000) for clock in view.clocks] == [
        (How.EVIDENCE, 300), (None, 1200), (None, 2400),
    ]  # fmt: skip
    tick(db, back + 601 * SECOND)
    assert actions(db, incident)[-2:] == ["reopened", "breached"]
    alarm(db, device="smk-2", at=back + 1)
    assert [view.id for view in listed(db)] == [incident], "what was reopened stands for its place again"
    with db.begin() as tx:
        service.close(tx, LI, incident, back, cause="x", follow_up="y")
        with pytest.raises(Conflict, match="more than an hour ago"):
            service.reopen(tx, LI, incident, back + HOUR + 1, "x")


def test_the_checklist_has_names_and_times(db: Database) -> None:
    town(db)
    incident = fire(db)
    with db.begin() as tx:
        service.tick(tx, LI, incident, NOW + 5, 1, is_done=True)
        service.tick(tx, WANG, incident, NOW + 6, 1, is_done=True)
        with pytest.raises(NotFound, match="has no line 99"):
            service.tick(tx, LI, incident, NOW, 99, is_done=True)
        with pytest.raises(Forbidden):
            service.tick(tx, ANNA, incident, NOW, 0, is_done=True)
    line = detail(db, incident).checklist[1]
    assert (line.done_by, line.done_at and line.done_at.timestamp() * 1000) == ("li", NOW + 5)
    with db.begin() as tx:
        service.tick(tx, LI, incident, NOW + 7, 1, is_done=False)
    assert detail(db, incident).checklist[1].done_by is None
    assert actions(db, incident) == ["opened", "ticked", "unticked"]


def test_the_nearest_free_responders_come_first_and_looks_are_recorded_P5(db: Database) -> None:
    made = town(db)
    near, far, busy, dark = patrol(db, made.community, ["NEAR", "FAR", "BUSY", "DARK"])
    elsewhere = by_hand(db, made.community, category="crowd")
    incident = fire(db)
    for member, away_m in ((near, 200.0), (far, 900.0), (busy, 10.0)):
        seen(db, member, NOW - 5000, away_m=away_m)
    with db.begin() as tx:
        service.dispatch(tx, LI, elsewhere, NOW, [busy])
        found = service.nearest(tx, LI, incident, NOW)
    assert [(each.call_sign, each.busy) for each in found] == [
        ("NEAR", None), ("FAR", None), ("DARK", None), ("BUSY", elsewhere),
    ]  # fmt: skip
    assert found[0].travel_m == pytest.approx(260, abs=1)
    assert found[2].travel_m is None
    with db.read() as tx:
        looked = tx.execute(sa.select(looks.c.member, looks.c.viewer, looks.c.what).order_by(looks.c.member)).all()
    assert [tuple(row) for row in looked] == [(member, "li", f"incident/{incident}") for member in (near, far, busy)]
    assert dark not in {row.member for row in looked}
    with db.begin() as tx, pytest.raises(Forbidden, match="role auditor may not respond"):
        service.nearest(tx, ANNA, incident, NOW)


def test_responders_are_sent_accept_arrive_and_are_released(db: Database) -> None:
    made = town(db)
    first, second = patrol(db, made.community, ["A1", "A2"])
    incident = fire(db)
    with db.begin() as tx:
        service.dispatch(tx, LI, incident, NOW + 1, [first, second, first])
        with pytest.raises(Conflict, match="member 999: not on duty"):
            service.dispatch(tx, LI, incident, NOW, [999])
        service.accept(tx, LI, incident, NOW + 2, first)
        with pytest.raises(Conflict, match="is accepted"):
            service.accept(tx, LI, incident, NOW + 3, first)
        with pytest.raises(NotFound, match="no responder"):
            service.accept(tx, LI, incident, NOW + 3, 999)
        service.release(tx, LI, incident, NOW + 50 * SECOND, second)
    stay(db, first, NOW + 60 * SECOND)
    stay(db, second, NOW + 60 * SECOND)
    states = {each.call_sign: each.state.value for each in detail(db, incident).responders}
    assert states == {"A1": "on_scene", "A2": "released"}, "who was released before does not arrive"
    clocks = {clock.name: clock.how for clock in detail(db, incident).clocks}
    assert clocks[ClockName.REINFORCEMENT] is None
    with db.begin() as tx:
        service.dispatch(tx, LI, incident, NOW + 90 * SECOND, [second])
    fix(db, second, NOW + 95 * SECOND, kind="checkin")
    clocks = {clock.name: clock.how for clock in detail(db, incident).clocks}
    assert clocks[ClockName.REINFORCEMENT] is How.EVIDENCE


PLAN: dict[str, Any] = {
    "node": "building-3", "category": "facility", "name_zh": "电梯困人", "name_en": "Lift", "kinds": ["lift-stopped"],
    "checklist": [{"zh": "安抚"}, {"zh": "叫维保", "en": "Call the maker"}], "calls": ["dispatcher"],
    "targets": {"on_scene": 600}, "scene_m": 30, "area_by": "alarms",
}  # fmt: skip


def bring_in(db: Database, *plans: dict[str, Any]) -> dict[str, int]:
    with db.begin() as tx:
        return importing.apply(tx, SYSTEM, {"plans": list(plans)}, NOW)


def test_plans_are_brought_in_and_the_same_file_twice_changes_nothing(db: Database) -> None:
    made = town(db)
    assert bring_in(db, PLAN) == {"plans": 1}
    with db.read() as tx:
        before = (audit_rows := sa.select(sa.func.count()).select_from(audit.audit), tx.execute(audit_rows).scalar())
        plan = service.effective_plan(tx, made.building, Category.FACILITY)
        assert category_of(tx, made.building, "lift-stopped") is Category.FACILITY
        assert category_of(tx, made.other, "lift-stopped") is None
    assert (plan.name_en, plan.checklist[0].en, plan.targets[ClockName.ON_SCENE]) == ("Lift", "安抚", 600)
    assert bring_in(db, PLAN) == {"plans": 1}
    with db.begin() as tx:
        assert tx.execute(before[0]).scalar() == before[1]
        assert service.effective_plan(tx, made.building, Category.FACILITY).id == plan.id
        service.drop_plan(tx, SYSTEM, plan.id, NOW)
        assert service.effective_plan(tx, made.building, Category.FACILITY).id == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node": "nowhere"}, r"plans\[1\].node: node nowhere: not known"),
        ({"node": 7}, r"plans\[1\].node: not the code of a node"),
        ({"category": "flood"}, r"plans\[1\].category"),
        ({"targets": {"on_scene": 0}}, r"plans\[1\].targets.on_scene"),
        ({"scene_m": float("inf")}, r"plans\[1\].scene_m"),
        ({"colour": "red"}, r"plans\[1\].colour"),
    ],
)
def test_a_wrong_plan_is_named_by_section_entry_and_key(db: Database, change: dict[str, Any], message: str) -> None:
    town(db)
    with pytest.raises(Invalid, match=message):
        bring_in(db, {**PLAN, **change})


def test_an_sos_is_medical_where_the_plan_says_so(db: Database) -> None:
    made = town(db)
    given = PlanGiven.model_validate({"category": "medical", "name_zh": "养老院", "name_en": "Home", "kinds": ["sos"]})
    with db.begin() as tx:
        service.put_plan(tx, SYSTEM, made.street, given, NOW)
        with pytest.raises(Forbidden, match="may not administer"):
            service.put_plan(tx, LI, made.street, given, NOW)
    alarm(db, "sos", device="arm-7")
    alarm(db, "sos", device="arm-9", gateway="gw-9")
    assert [view.category for view in listed(db)] == [Category.MEDICAL, Category.VIOLENCE]


def test_what_was_missed_is_listed_with_how_late_it_was(db: Database) -> None:
    made = town(db)
    late = fire(db)
    prompt = by_hand(db, made.other)
    with db.begin() as tx:
        service.take(tx, LI, late, NOW + 90 * SECOND)
        service.take(tx, WANG, prompt, NOW + 5 * SECOND)
        alerts.acknowledge(tx, LI, 1, NOW + 400 * SECOND)
    with db.read() as tx:
        found = service.missed(tx, SYSTEM, NOW - DAY, NOW + DAY, NOW + DAY)
        outside = service.missed(tx, Principal("user", 9, "z", Role.DISPATCHER, made.other), NOW - DAY, NOW + DAY, NOW)
    assert {(each.why, each.alarm, each.incident, each.late_s) for each in found} == {
        (MissedWhy.LATE_ACKNOWLEDGEMENT, 1, late, 100.0), (MissedWhy.LATE_RECEIPT, None, late, 30.0),
    }  # fmt: skip
    assert outside == []


def test_an_alarm_without_an_incident_is_missed(db: Database) -> None:
    town(db)
    alarm(db)
    with db.begin() as tx:
        from cloud.incidents.store import incident_alarms

        tx.execute(incident_alarms.delete())
        found = service.missed(tx, SYSTEM, NOW - DAY, NOW + DAY, NOW + 1)
    assert [each.why for each in found] == [MissedWhy.NO_INCIDENT]
