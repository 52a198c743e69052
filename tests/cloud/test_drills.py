"""Drills on a real database: lineage, time, the end of all that was opened, the score, and what is never a drill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from cloud import timers
from cloud.alerts import drilled
from cloud.alerts import service as alerts
from cloud.alerts.facts import facts
from cloud.alerts.models import AlarmFilter, AlarmState
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.incidents.drills import service
from cloud.incidents.drills.models import DrillKind, DrillState, Plan
from cloud.incidents.levels import service as levels
from cloud.incidents.levels.models import Declare
from cloud.incidents.store import clocks, incidents
from cloud.org import tree
from cloud.org.audit import audit
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.paging import at
from cloud.stream import events
from tests.cloud.cloud_support import NOW, cleared, know, raised

if TYPE_CHECKING:
    from cloud.alerts.models import AlarmView
    from cloud.db import Database
    from cloud.incidents.drills.models import DrillDetail, DrillView

MINUTE = 60_000
HOUR = 60 * MINUTE
CHIEF = Principal("user", 1, "sun", Role.SUPERVISOR)


def street(db: Database, *gateways: str) -> str:
    """A street with gateways."""
    with db.begin() as tx:
        path = tree.add_node(tx, SYSTEM, "/", tree.Kind.STREET, ("翠华", "Cuihua"), now_ms=NOW).path
    know(db, *gateways, node=path)
    return path


def plan(db: Database, node: str, kind: str = "script", who: Principal = CHIEF, **more: Any) -> DrillView:  # noqa: ANN401
    values = {"node": node, "kind": kind, "name": "消防演练", "ends_at": at(NOW + HOUR), **more}
    with db.begin() as tx:
        return service.plan(tx, who, Plan.model_validate(values), NOW)


def get(db: Database, drill: int, now: int = NOW) -> DrillDetail:
    with db.read() as tx:
        return service.get_drill(tx, SYSTEM, drill, now)


def tick(db: Database, now: int) -> None:
    with db.begin() as tx:
        timers.tick(tx, now)


def alarm(db: Database, occurrence: str, *, gateway: str = "gw-1", now: int = NOW, drill: bool = True) -> AlarmView:
    """An alarm as it comes from a gateway."""
    with db.begin() as tx:
        event = raised(occurrence, device=f"d-{occurrence}", at=now, drill=drill)
        alerts.apply_events(tx, gateway, "e", [(now + len(occurrence), event)], now)
        return next(a for a in alerts.list_alarms(tx, SYSTEM, AlarmFilter()).items if a.occurrence == occurrence)


def lineage(db: Database, alarm_id: int) -> int | None:
    with db.read() as tx:
        return facts(tx, [alarm_id])[alarm_id].drill_id


def test_a_real_alarm_during_a_drill_is_never_taken_for_drill(db: Database) -> None:
    node = street(db, "gw-1")
    drill = plan(db, node)
    real, marked = alarm(db, "real", drill=False), alarm(db, "marked")
    assert (lineage(db, real.id), lineage(db, marked.id)) == (None, drill.id)
    with db.begin() as tx:
        drilled.tie(tx, real.id, drill.id, NOW)  # not even by mistake
        service.end(tx, CHIEF, drill.id, NOW + MINUTE)
        now = {a.id: a for a in alerts.list_alarms(tx, SYSTEM, AlarmFilter()).items}
    assert lineage(db, real.id) is None
    assert (now[real.id].state, now[real.id].drill) == (AlarmState.OPEN, False)
    assert (now[marked.id].state, now[marked.id].drill) == (AlarmState.CLEARED, True)
    assert get(db, drill.id).alarms == [marked.id]


def test_a_script_covers_its_node_and_what_is_below_while_it_runs_D11(db: Database) -> None:
    node = street(db, "gw-1")
    know(db, "gw-2")
    drill = plan(db, node, starts_at=at(NOW + 10 * MINUTE))
    before, elsewhere = alarm(db, "before"), alarm(db, "elsewhere", gateway="gw-2", now=NOW + 11 * MINUTE)
    # The timer was not called yet: time alone decides.
    within = alarm(db, "within", now=NOW + 10 * MINUTE)
    tick(db, NOW + 20 * MINUTE)
    assert get(db, drill.id).state is DrillState.RUNNING
    late = alarm(db, "late", now=NOW + HOUR)
    assert [lineage(db, a.id) for a in (before, elsewhere, within, late)] == [None, None, drill.id, None]
    with db.read() as tx:
        assert service.running(tx, f"{node}77/", NOW + 10 * MINUTE) == drill.id
        assert service.running(tx, "/", NOW + 10 * MINUTE) is None
        assert service.running(tx, node, NOW + HOUR) is None
    for _ in range(2):
        tick(db, NOW + 3 * HOUR)
    done = get(db, drill.id)
    assert (done.state, done.ended_at, done.ended_by) == (DrillState.ENDED, at(NOW + HOUR), SYSTEM.label)
    with db.read() as tx:
        actions = tx.execute(sa.select(audit.c.action).where(audit.c.target == f"drill/{drill.id}")).scalars().all()
        assert tx.execute(sa.select(sa.func.count()).where(events.c.kind == "drill")).scalar() == 3
    assert actions == ["drill.plan", "drill.start", "drill.end"]


def test_an_incident_drill_goes_through_the_production_rules_and_is_scored(db: Database) -> None:
    node = street(db)
    drill = plan(db, node, "incident", category="fire", place="3 号楼", lat=34.26, lon=108.95)
    (incident,) = get(db, drill.id).incidents
    with db.begin() as tx:
        row = tx.execute(sa.select(incidents).where(incidents.c.id == incident)).one()
        assert (row.drill, row.node, row.category, row.state) == (drill.id, node, "fire", "open")
        mine = incidents.update().where(incidents.c.id == incident)
        tx.execute(
            mine.values(owned_at=NOW + 90_000, owner="li", checklist='[{"zh":"断电","en":"","done_at":1},{"zh":"x"}]')
        )
        stop = clocks.update().where(clocks.c.incident == incident, clocks.c.name == "on_scene")
        tx.execute(stop.values(stopped_at=NOW + 240_000, how="evidence"))
    assert get(db, drill.id, NOW + 5 * MINUTE).score is not None
    with db.begin() as tx:
        service.end(tx, CHIEF, drill.id, NOW + 15 * MINUTE)
        closed = tx.execute(sa.select(incidents.c.state).where(incidents.c.drill == drill.id)).scalars().all()
    assert closed == ["closed"]
    done = get(db, drill.id)
    assert done.score
    # 10 of 20 for the receipt after 90 s, 25 for 4 min to the scene, 0 of 15 for no reinforcement in 10 min, half the
    # steps; the area's clock had time left and no message was tried.
    assert {p.name: p.got for p in done.score.parts} == {
        "receipt": 10.0, "on_scene": 25.0, "reinforcement": 0.0, "area": None, "steps": 10.0, "messages": None,
    }  # fmt: skip
    assert done.total == done.score.total == 56
    (run,) = done.score.runs
    assert [(t.name, t.took_s, t.judged) for t in run.timings] == [
        ("receipt", 90.0, True), ("on_scene", 240.0, True), ("reinforcement", None, True), ("area", None, False),
    ]  # fmt: skip


def test_what_closing_puts_to_rest_does_not_count_as_reached(db: Database) -> None:
    drill = plan(db, street(db), "incident")
    (incident,) = get(db, drill.id).incidents
    with db.begin() as tx:
        tx.execute(clocks.update().where(clocks.c.incident == incident).values(stopped_at=NOW + 1000, how="closed"))
        service.end(tx, CHIEF, drill.id, NOW + 20 * MINUTE)
    score = get(db, drill.id).score
    assert score
    assert score.total == 0


def test_an_alarm_of_a_script_that_opened_no_incident_is_scored_by_its_acknowledgement(db: Database) -> None:
    drill = plan(db, street(db, "gw-1"))
    one = alarm(db, "o1")
    with db.begin() as tx:
        alerts.acknowledge(tx, CHIEF, one.id, NOW + 30_000)
        alerts.apply_events(tx, "gw-1", "e", [(NOW + 99, cleared("o1", device="d-o1", at=NOW + 40_000))], NOW + 40_000)
        service.end(tx, CHIEF, drill.id, NOW + 5 * MINUTE)
    score = get(db, drill.id).score
    assert score
    lone = [run for run in score.runs if run.alarm == one.id]
    assert [(t.name, t.took_s) for t in lone[0].timings] == [("receipt", 30.0)] if lone else score.runs


def test_a_level_of_a_drill_counts_in_the_drills_own_view_only(db: Database) -> None:
    node = street(db)
    drill = plan(db, node)
    given = Declare(node=node, level=1, reason="演练", scope="全街道")
    with db.begin() as tx:
        with pytest.raises(Invalid, match="lies outside the drill"):
            service.declare_level(
                tx, CHIEF, drill.id, given.model_copy(update={"node": "/"}), starts_at=None, ends_at=NOW + 1, now_ms=NOW
            )
        with pytest.raises(Invalid, match="would outlast the drill"):
            service.declare_level(tx, CHIEF, drill.id, given, starts_at=None, ends_at=NOW + 2 * HOUR, now_ms=NOW)
        made = service.declare_level(tx, CHIEF, drill.id, given, starts_at=None, ends_at=NOW + HOUR, now_ms=NOW)
        levels.approve(tx, Principal("user", 2, "zhou", Role.SUPERVISOR), made.id, NOW)
        assert [levels.effective(tx, node, NOW), levels.effective(tx, node, NOW, drill.id)] == [4, 1]
        service.end(tx, CHIEF, drill.id, NOW + 1)
        assert levels.effective(tx, node, NOW + 1, drill.id) == 4
        with pytest.raises(Conflict, match="is ended already"):
            service.declare_level(tx, CHIEF, drill.id, given, starts_at=None, ends_at=NOW + HOUR, now_ms=NOW + 2)


def test_two_scripts_do_not_cover_the_same_nodes_at_one_time(db: Database) -> None:
    node = street(db)
    first = plan(db, node, starts_at=at(NOW + HOUR), ends_at=at(NOW + 2 * HOUR))
    for start, end_ in ((0, 90), (90, 100), (0, 180)):
        with pytest.raises(Conflict, match=f"drill {first.id}: covers {node} at that time"):
            plan(db, "/", starts_at=at(NOW + start * MINUTE), ends_at=at(NOW + end_ * MINUTE))
    second = plan(db, node, ends_at=at(NOW + HOUR))
    assert plan(db, node, "incident", starts_at=at(NOW + HOUR), ends_at=at(NOW + 2 * HOUR)).id
    with db.begin() as tx:
        with pytest.raises(Conflict, match=f"drill {second.id}: covers"):
            service.start(tx, CHIEF, first.id, NOW + MINUTE)
        service.end(tx, CHIEF, second.id, NOW + MINUTE)
        assert service.start(tx, CHIEF, first.id, NOW + 2 * MINUTE).state is DrillState.RUNNING
        with pytest.raises(Conflict, match="is running already"):
            service.start(tx, CHIEF, first.id, NOW + 3 * MINUTE)
        assert service.running(tx, node, NOW + 3 * MINUTE) == first.id


def test_a_planned_drill_is_called_off_and_one_whose_time_passed_never_begins(db: Database) -> None:
    node = street(db)
    one = plan(db, node, "incident", starts_at=at(NOW + 10 * MINUTE))
    two = plan(db, node, "incident", starts_at=at(NOW + 20 * MINUTE))
    with db.begin() as tx:
        called_off = service.end(tx, CHIEF, one.id, NOW + MINUTE)
        with pytest.raises(Conflict, match="is ended already"):
            service.end(tx, CHIEF, one.id, NOW + MINUTE)
    tick(db, NOW + 5 * HOUR)
    missed = get(db, two.id)
    assert [called_off.began_at, missed.began_at, missed.score, missed.incidents] == [None, None, None, []]
    assert missed.state is DrillState.ENDED


def test_drills_are_scoped_and_for_those_who_may_S4(db: Database) -> None:
    node = street(db)
    other = street(db)
    drill = plan(db, node)
    stranger = Principal("user", 3, "he", Role.SUPERVISOR, other)
    with db.begin() as tx:
        assert service.list_drills(tx, stranger).items == []
        assert [each.id for each in service.list_drills(tx, CHIEF, states=(DrillState.RUNNING,)).items] == [drill.id]
        for act in (service.start, service.end, service.get_drill):
            with pytest.raises(NotFound, match=f"drill {drill.id}: not found"):
                act(tx, stranger, drill.id, NOW)
        with pytest.raises(Forbidden, match="role dispatcher may not run drills"):
            service.end(tx, Principal("user", 4, "li", Role.DISPATCHER), drill.id, NOW)
    for wrong, said in (({"lat": 1.0}, "one without the other"), ({"ends_at": at(NOW)}, "over before")):
        with pytest.raises(Invalid, match=said):
            plan(db, node, DrillKind.INCIDENT, **wrong)
