"""From alarms to incidents: what opens one, what joins, what does not, and where it is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from cloud.alerts import hooks
from cloud.alerts import service as alerts
from cloud.alerts.facts import facts
from cloud.alerts.hooks import Happening
from cloud.alerts.store import alarms
from cloud.devices import service as devices
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.incidents import service
from cloud.incidents.models import Source
from cloud.incidents.rules import Category, State
from cloud.org.rules import Principal, Role
from cloud.stream import events
from firmware_specs.readings import Position, Severity
from tests.cloud.cloud_support import NOW, reading
from tests.incidents.incidents_support import (
    ANNA,
    DAY,
    HOUSE,
    LI,
    MINOR,
    NORTH_M,
    actions,
    alarm,
    by_hand,
    clear,
    detail,
    fire,
    fix,
    listed,
    patrol,
    seen,
    town,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from cloud.alerts.facts import Facts
    from cloud.db import Database


def test_a_fire_opens_an_incident_with_three_clocks_and_its_plan(db: Database) -> None:
    made = town(db)
    first = alarm(db, at=NOW - 4000, now=NOW)
    [view] = listed(db)
    assert (view.category, view.source, view.state, view.node) == (
        Category.FIRE,
        Source.ALARM,
        State.OPEN,
        made.building,
    )
    assert view.position is not None
    assert (view.position.lat, view.position.lon) == HOUSE
    assert view.event_at.timestamp() * 1000 == NOW - 4000
    assert [(clock.name.value, clock.target_s) for clock in view.clocks] == [
        ("on_scene", 300), ("reinforcement", 600), ("area", 1800),
    ]  # fmt: skip
    assert view.clocks[0].remaining_s == 296.0
    whole = detail(db, view.id)
    assert [ref.id for ref in whole.alarms] == [first]
    assert "119" in whole.checklist[0].zh
    assert [row.action for row in whole.timeline] == ["opened"]
    with db.read() as tx:
        told = tx.execute(sa.select(events.c.kind, events.c.node).where(events.c.kind == "incident")).all()
    assert told == [("incident", made.building)]


def test_alarms_of_the_same_building_and_category_join_D7(db: Database) -> None:
    town(db)
    incident = fire(db)
    second = alarm(db, "smoke", device="smk-2", at=NOW + 1000)
    other = alarm(db, "door-forced", device="door-1", at=NOW + 2000)
    assert [len(detail(db, each.id).alarms) for each in listed(db)] == [2, 1]
    assert actions(db, incident) == ["opened", "alarm-joined"]
    clear(db, second, NOW + 5000)
    assert actions(db, incident)[-1] == "alarm-cleared"
    with db.begin() as tx:
        alerts.acknowledge(tx, LI, other, NOW + 6000)
    assert actions(db, listed(db)[1].id)[-1] == "alarm-acknowledged"


def test_the_more_severe_alarm_that_joins_makes_it_more_severe(db: Database) -> None:
    town(db)
    alarm(db, "smoke", severity=MINOR)
    assert listed(db)[0].severity is Severity.MINOR
    alarm(db, device="smk-2", at=NOW + 1)
    assert [view.severity for view in listed(db)] == [Severity.CRITICAL]


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that has every further alarm marked before anybody judges it, as the alarms' own folder does."""
    listeners = tuple(hooks.LISTENERS)

    def begin(**values: object) -> None:
        def mark(tx: Connection, happening: Happening, alarm: Facts, now: int) -> None:
            if happening is Happening.RAISED:
                tx.execute(alarms.update().where(alarms.c.id == alarm.id).values(**values))
            for listener in listeners:
                listener(tx, happening, facts(tx, [alarm.id])[alarm.id], now)

        monkeypatch.setattr(hooks, "LISTENERS", [mark])

    return begin


def test_alarms_of_a_group_join_wherever_they_are(db: Database, marked: Callable[..., None]) -> None:
    town(db)
    marked(group_key="g7")
    incident = fire(db)
    alarm(db, "door-forced", device="door-9", gateway="gw-9", at=NOW + 1)
    assert [view.id for view in listed(db)] == [incident]
    assert len(detail(db, incident).alarms) == 2


def test_a_fire_during_maintenance_is_loud_and_opens_one(db: Database, marked: Callable[..., None]) -> None:
    town(db)
    marked(maintenance=3, quiet="")
    assert fire(db)


def test_an_alarm_under_maintenance_opens_none_and_is_not_missed(db: Database, marked: Callable[..., None]) -> None:
    town(db)
    marked(maintenance=3, quiet="maintenance")
    alarm(db)
    assert listed(db) == []
    with db.read() as tx:
        assert service.missed(tx, LI, NOW - DAY, NOW + DAY, NOW + DAY) == []


def test_what_is_no_incident_opens_none(db: Database) -> None:
    town(db)
    alarm(db, "battery-low")
    alarm(db, "temperature-high", device="t-1")
    assert listed(db) == []


def test_an_alarm_after_the_closing_opens_another(db: Database) -> None:
    town(db)
    first = fire(db)
    with db.begin() as tx:
        service.take(tx, LI, first, NOW)
        service.close(tx, LI, first, NOW, cause="烤面包", follow_up="无")
    assert [view.state for view in listed(db)] == [State.CLOSED]
    alarm(db, device="smk-2", at=NOW + 1)
    assert [view.state for view in listed(db)] == [State.CLOSED, State.OPEN]


def test_a_late_alarm_runs_from_its_own_time_and_a_wrong_clock_from_its_arrival_D8(db: Database) -> None:
    town(db)
    alarm(db, at=NOW - 20 * 60_000, now=NOW)
    alarm(db, device="smk-9", gateway="gw-9", at=1000, now=NOW)
    late, wrong = listed(db)
    assert (late.event_at.timestamp() * 1000, wrong.event_at.timestamp() * 1000) == (NOW - 20 * 60_000, NOW)


def test_a_drill_opens_an_incident_of_its_own(db: Database) -> None:
    town(db)
    alarm(db, drill=True)
    alarm(db, device="smk-2")
    drill, real = listed(db)
    assert (drill.drill, real.drill) == (0, None)
    assert [view.id for view in listed(db, drill=False)] == [real.id]


@pytest.mark.parametrize("known", [True, False])
def test_an_sos_is_where_its_caller_is_who_is_no_responder(db: Database, known: bool) -> None:
    made = town(db)
    caller, helper = patrol(db, made.community, ["H1", "H2"])
    if known:
        seen(db, caller, NOW - 1000, away_m=11)
    alarm(db, "sos", device="arm-H1")
    [view] = listed(db)
    assert (view.source, view.category) == (Source.SOS, Category.VIOLENCE)
    for at in range(NOW, NOW + 40_000, 10_000):
        fix(db, caller, at)
    assert detail(db, view.id).responders == []
    assert (view.position is not None) is known
    for at in range(NOW + 1000, NOW + 40_000, 10_000):
        fix(db, helper, at)
    whole = detail(db, view.id)
    assert whole.position is not None
    assert whole.position.lat == pytest.approx(HOUSE[0] + (11 * NORTH_M if known else 0))
    assert [responder.call_sign for responder in whole.responders] == ["H2"]
    assert whole.state is State.ON_SCENE


def test_a_device_that_knows_where_it_is_says_where_the_scene_is(db: Database) -> None:
    town(db)
    with db.begin() as tx:
        place = reading("pole-1", "position", Position(34.2601, 108.9501, 6.0))
        devices.apply_readings(tx, "gw-1", "e1", [(1, place)], NOW)
    alarm(db, "sos", device="pole-1")
    [view] = listed(db)
    assert view.position is not None
    assert (view.position.lat, view.position.lon) == (34.2601, 108.9501)


def test_what_somebody_reports_opens_by_hand_within_scope_S4(db: Database) -> None:
    made = town(db)
    incident = by_hand(db, made.building, place="大厅")
    view = detail(db, incident)
    assert (view.source, view.opened_by, view.place) == (Source.HAND, "li", "大厅")
    inside = Principal("user", 9, "zhao", Role.DISPATCHER, made.other)
    given = {"category": "fire", "title": "x", "now_ms": NOW}
    with db.begin() as tx:
        with pytest.raises(NotFound, match="not known"):
            service.open_by_hand(tx, inside, node=made.building, **given)  # type: ignore[arg-type]
        with pytest.raises(NotFound, match=f"incident {incident}: not found"):
            service.get_incident(tx, inside, incident, NOW)
        with pytest.raises(NotFound):
            service.take(tx, inside, incident, NOW)
        with pytest.raises(Forbidden, match="role auditor may not respond to incidents"):
            service.open_by_hand(tx, ANNA, node=made.building, **given)  # type: ignore[arg-type]
        with pytest.raises(Invalid, match="event_at: more than a day ago"):
            service.open_by_hand(tx, LI, node=made.building, event_at=NOW - DAY - 1, **given)  # type: ignore[arg-type]
        assert service.open_places(tx, inside) == []
        [place] = service.open_places(tx, LI)
    assert (place.id, place.category, place.lat, place.drill) == (incident, Category.MEDICAL, HOUSE[0], False)


def test_an_alarm_joins_what_was_opened_by_hand(db: Database) -> None:
    made = town(db)
    incident = by_hand(db, made.building, category="fire", title="有烟")
    alarm(db, at=NOW + 1)
    assert [view.id for view in listed(db)] == [incident]
    second = by_hand(db, made.building, category="fire", title="又一处")
    assert second != incident, "a hand means what it says"


def test_alarms_at_the_same_moment_open_one_incident(db: Database) -> None:
    town(db)
    gate = threading.Barrier(4)

    def burn(n: int) -> None:
        gate.wait(10)
        alarm(db, device=f"smk-{n}", at=NOW + n)

    threads = [threading.Thread(target=burn, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    [view] = listed(db)
    assert len(detail(db, view.id).alarms) == 4


def test_the_first_receiver_wins_and_only_one_does(db: Database) -> None:
    town(db)
    incident = fire(db)
    gate = threading.Barrier(6)
    won: list[str] = []
    lost: list[str] = []

    def take(n: int) -> None:
        who = Principal("user", 10 + n, f"u{n}", Role.DISPATCHER)
        gate.wait(10)
        try:
            with db.begin() as tx:
                service.take(tx, who, incident, NOW + 1)
        except Conflict as e:
            lost.append(str(e))
        else:
            won.append(who.name)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    view = detail(db, incident)
    assert won == [view.owner]
    assert lost == [f"incident {incident}: taken by {view.owner}"] * 5
    assert actions(db, incident).count("taken") == 1
