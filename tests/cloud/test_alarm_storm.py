"""Many alarms at once: what they cost each other, and how long acts and deadlines wait behind them (D1, D11)."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from cloud import timers, work
from cloud.alerts import service
from cloud.alerts.models import AlarmFilter
from cloud.alerts.rules import Why
from cloud.db import Turns
from cloud.devices.liveness import Allowed
from cloud.org.rules import SYSTEM
from cloud.state import now_ms
from firmware_specs.readings import Severity
from tests.cloud.cloud_support import NOW, cleared, know, raised, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud.alerts.models import AlarmView
    from cloud.db import Database
    from firmware_specs.readings import AlarmEvent
    from tests.cloud.cloud_support import Served

POWER: dict[str, Any] = {"kind": "power-lost", "severity": Severity.MAJOR}
LINK: dict[str, Any] = {"kind": "link-down", "severity": Severity.MAJOR}


def apply(db: Database, gateway: str, *items: tuple[int, AlarmEvent], now: int = NOW) -> None:
    with db.begin() as tx:
        service.apply_events(tx, gateway, "e1", items, now)


def links(db: Database) -> list[AlarmView]:
    with db.read() as tx:
        return list(service.list_alarms(tx, SYSTEM, AlarmFilter(kind="link-down"), limit=1000).items)


@pytest.fixture
def statements(db: Database) -> Iterator[list[str]]:
    """What the database is asked."""
    asked: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    yield asked
    sa.event.remove(db.engine, "before_cursor_execute", note)


def test_an_alarm_costs_few_queries(db: Database, statements: list[str]) -> None:
    know(db, "gw-1", node="/1/")
    apply(db, "gw-1", (1, raised("o1", "d-1", **LINK)))
    statements.clear()
    apply(db, "gw-1", (2, raised("o2", "d-2", kind="frost", severity=Severity.MAJOR)))
    assert len(statements) <= 40, statements


@pytest.mark.parametrize("many", [4, 40])
def test_a_district_without_power_is_looked_at_once_for_all_its_gateways(
    db: Database, statements: list[str], many: int
) -> None:
    names = [f"gw-{n:02}" for n in range(many)]
    know(db, *names, node="/1/")
    for name in names:
        apply(db, name, (1, raised("p", "d-1", **POWER)), (2, raised("l", "d-2", **LINK)))
    statements.clear()
    with db.begin() as tx:
        timers.tick(tx, NOW)
    reads = [each for each in statements if "FROM alarms" in each and "alarms.group_key" in each]
    assert len(reads) <= 8, "one look, not one for each gateway"
    assert {alarm.quiet for alarm in links(db)} == {Why.INHIBITED}
    assert all(timer.kind != "alarm-effects" for timer in waiting(db)), "the others of the node are done with it"


def waiting(db: Database) -> list[Any]:
    with db.read() as tx:
        return list(tx.execute(sa.select(timers.timers)).all())


def test_each_gateway_is_told_of_once_the_last_cause_of_its_node_ends(db: Database) -> None:
    know(db, "gw-1", "gw-2", node="/1/")
    for name in ("gw-1", "gw-2"):
        apply(db, name, (1, raised("p", "d-1", **POWER)))
    apply(db, "gw-2", (2, raised("l", "d-2", **LINK)))
    first, second = (f"alarm of {name}" for name in ("gw-1", "gw-2"))
    apply(db, "gw-1", (2, cleared("p", "d-1", NOW + 1, **POWER)), now=NOW + 1)
    with db.begin() as tx:
        timers.tick(tx, NOW + 1)
    assert links(db)[0].quiet is Why.INHIBITED, f"{first} has ended, {second} still explains it"
    apply(db, "gw-2", (3, cleared("p", "d-1", NOW + 2, **POWER)), now=NOW + 2)
    with db.begin() as tx:
        timers.tick(tx, NOW + 2)
    assert links(db)[0].quiet is Why.NOTHING


def queued(turns: Turns, many: int) -> bool:
    return len(turns._waiting) == many


def test_the_lock_of_writers_is_given_in_order() -> None:
    turns, order = Turns(), list[int]()

    def take(number: int) -> None:
        with turns:
            order.append(number)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(5)]
    with turns:
        for number, thread in enumerate(threads, 1):
            thread.start()
            wait_for(partial(queued, turns, number), 5, "its place in the queue")
    with turns:  # who lets go and asks again comes last
        order.append(99)
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3, 4, 99]


def test_lateness_is_measured_by_the_clock_of_each_look_D11(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm of deadlines takes long; what comes last in it is as late as it is."""
    monkeypatch.setitem(timers.HANDLERS, "nothing", lambda _tx, _timer, _now: None)
    state = service.app.state.patrol
    with state.db.begin() as tx:
        for number in range(timers.BATCH + 1):
            timers.set_timer(tx, "nothing", str(number), now_ms() - 1)
    looks = [work.judge_once(state, Allowed(), now_ms(), now_ms()) for _ in range(2)]
    assert [more for _, more in looks] == [True, False], "the clock is read again before what is left is looked at"
