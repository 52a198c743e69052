"""What people and workers do to one alarm at the same moment: one of them is first, and nobody is told too much."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cloud import timers
from cloud.alerts import service
from cloud.alerts.models import AlarmDetail, AlarmFilter
from cloud.alerts.ops_models import ReasonKind
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from firmware_specs.readings import Severity
from tests.cloud.cloud_support import NOW, cleared, know, raised, wait_for, waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from cloud.db import Database

LI = Principal("user", 1, "li", Role.DISPATCHER)
WANG = Principal("user", 2, "wang", Role.DISPATCHER)
S = 1000


@pytest.fixture
def alarm(db: Database) -> int:
    know(db, "gw-1")
    with db.begin() as tx:
        service.apply_events(tx, "gw-1", "e1", [(1, raised("o1"))], NOW)
        return service.list_alarms(tx, SYSTEM, AlarmFilter()).items[0].id


def detail(db: Database, alarm: int) -> AlarmDetail:
    with db.read() as tx:
        return service.get_alarm(tx, SYSTEM, alarm)


def during(db: Database, first: Callable[[Connection], object], second: Callable[[Connection], object]) -> None:
    """Do the second thing while the transaction of the first is not over yet."""

    def follow() -> None:
        with db.begin() as tx:
            second(tx)

    with ThreadPoolExecutor(1) as pool:
        with db.begin() as tx:
            first(tx)
            following = pool.submit(follow)
            wait_for(lambda: waits(db), 10, "the second transaction")
        following.result(20)


def test_of_two_who_acknowledge_at_once_the_first_is_named_and_the_other_is_answered_D7(
    db: Database, alarm: int
) -> None:
    answers: list[str | None] = []
    during(
        db,
        lambda tx: service.acknowledge(tx, LI, alarm, NOW + 1),
        lambda tx: answers.append(service.acknowledge(tx, WANG, alarm, NOW + 2).acknowledged_by),
    )
    assert answers == ["li"]
    assert [entry.actor for entry in detail(db, alarm).history if entry.action == "acknowledged"] == ["li"]


def test_nobody_is_told_once_an_acknowledgement_was_under_way(db: Database, alarm: int) -> None:
    during(db, lambda tx: service.acknowledge(tx, LI, alarm, NOW + 1), lambda tx: timers.tick(tx, NOW + 120 * S))
    found = detail(db, alarm)
    assert (found.acknowledged_by, found.escalation) == ("li", 1)
    assert not [entry for entry in found.history if entry.action == "escalated"]


def test_an_acknowledgement_that_comes_while_the_condition_ends_is_kept(db: Database, alarm: int) -> None:
    during(
        db,
        lambda tx: service.apply_events(tx, "gw-1", "e1", [(2, cleared("o1", at=NOW + 1))], NOW + 1),
        lambda tx: service.acknowledge(tx, LI, alarm, NOW + 2),
    )
    found = detail(db, alarm)
    assert (found.state, found.acknowledged_by) == ("cleared", "li")


def test_two_workers_that_take_one_step_tell_once_D11(db: Database, alarm: int) -> None:
    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: tick(db), range(2)))
    assert [entry.detail[:3] for entry in detail(db, alarm).history if entry.action == "escalated"] == ["2/3"]


def tick(db: Database) -> None:
    with db.begin() as tx:
        timers.tick(tx, NOW + 120 * S)


def test_a_step_whose_telling_fails_is_not_lost_D11(db: Database, alarm: int, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = timers.HANDLERS["alarm-step"]

    def fail(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
        handler(tx, timer, now_ms)
        raise ValueError("what nobody foresaw")

    with monkeypatch.context() as broken:
        broken.setitem(timers.HANDLERS, "alarm-step", fail)
        tick(db)
    assert detail(db, alarm).escalation == 1, "nothing of the failed try is kept"
    with db.begin() as tx:
        timers.tick(tx, NOW + 120 * S + timers.RETRY_MS)
    assert detail(db, alarm).escalation == 2


def test_whoever_tells_for_an_alarm_is_not_named_beyond_the_viewers_scope_S4(db: Database) -> None:
    with db.begin() as tx:
        house = tree.add_node(tx, SYSTEM, ROOT, tree.Kind.BUILDING, ("楼", "House"), now_ms=NOW).path
        floor = tree.add_node(tx, SYSTEM, house, tree.Kind.FLOOR, ("层", "Floor"), now_ms=NOW).path
    know(db, "gw-1", node=house)
    know(db, "gw-2", node=floor)
    frost = {"kind": "frost", "severity": Severity.MAJOR}
    for name, sequence in (("gw-1", 1), ("gw-2", 2)):
        with db.begin() as tx:
            service.apply_events(tx, name, "e1", [(1, raised(f"o{sequence}", at=NOW + sequence, **frost))], NOW)
    with db.read() as tx:
        first, second = sorted(alarm.id for alarm in service.list_alarms(tx, SYSTEM, AlarmFilter()).items)
        for who, named in ((SYSTEM, first), (Principal("user", 3, "sun", Role.PROPERTY, floor), None)):
            reasons = service.explain(tx, who, second, NOW + 5).reasons
            assert [(each.kind, each.id) for each in reasons] == [(ReasonKind.GROUPED, named)]
