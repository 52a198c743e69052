"""Alarms on a real database: life cycle, disorder and repeats, what people do."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from cloud.alerts import service
from cloud.alerts.models import AlarmFilter, AlarmState, AlarmView, ClearReason
from cloud.alerts.store import alarms
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.stream import events
from firmware_specs.readings import Evidence, Severity
from tests.cloud.cloud_support import NOW, cleared, know, raised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud.db import Database
    from firmware_specs.readings import AlarmEvent

LI = Principal("user", 1, "li", Role.DISPATCHER)
MINUTE = 60_000


def apply(
    db: Database, *items: tuple[int, AlarmEvent], gateway: str = "gw-1", epoch: str = "e1", now: int = NOW
) -> None:
    with db.begin() as tx:
        service.apply_events(tx, gateway, epoch, items, now)


def listed(db: Database, **query: object) -> list[AlarmView]:
    with db.read() as tx:
        return list(service.list_alarms(tx, SYSTEM, AlarmFilter.model_validate(query)).items)


def test_raise_acknowledge_clear_and_raise_again(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1", evidence=(Evidence("smoke", 0.9, NOW),))))
    (alarm,) = listed(db)
    assert (alarm.state, alarm.kind, alarm.device, alarm.late) == (AlarmState.OPEN, "fire", "smk-1", False)
    assert alarm.rule == "generic-smoke-senml/smoke-high"
    assert [(e.metric, e.value) for e in alarm.evidence] == [("smoke", 0.9)]
    with db.begin() as tx:
        assert service.acknowledge(tx, LI, alarm.id, NOW + 1, "on it").state is AlarmState.ACKNOWLEDGED
    apply(db, (2, cleared("o1", at=NOW + 5000)))
    (alarm,) = listed(db)
    assert (alarm.state, alarm.acknowledged_by, alarm.clear_reason) == (AlarmState.CLEARED, "li", ClearReason.CONDITION)
    apply(db, (3, raised("o2", at=NOW + 9000)))
    again, before = listed(db)
    assert again.id != before.id
    assert (again.state, again.acknowledged_at) == (AlarmState.OPEN, None)
    with db.read() as tx:
        detail = service.get_alarm(tx, SYSTEM, before.id)
    assert [(h.action, h.actor, h.detail) for h in detail.history] == [
        ("raised", "gateway", "generic-smoke-senml/smoke-high"),
        ("acknowledged", "li", "on it"),
        ("cleared", "gateway", ""),
    ]  # fmt: skip


def test_a_clear_that_nobody_acknowledged_stays_visible_as_such(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")), (2, cleared("o1")))
    (alarm,) = listed(db)
    assert (alarm.state, alarm.acknowledged_at) == (AlarmState.CLEARED, None)
    with db.read() as tx:
        assert service.open_counts(tx, SYSTEM, NOW).unacknowledged_cleared == 1


def test_repeats_make_one_alarm_D7(db: Database) -> None:
    know(db, "gw-1")
    for _ in range(50):
        apply(db, (1, raised("o1")))
    assert len(listed(db)) == 1
    with db.read() as tx:
        told = sa.select(sa.func.count()).where(events.c.kind == "alarm")
        assert tx.execute(told).scalar() == 1


def test_a_late_alarm_is_labelled_and_kept(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1", at=NOW - 16 * MINUTE)), (2, raised("o2", device="smk-2", at=NOW - 14 * MINUTE)))
    assert {a.device: a.late for a in listed(db)} == {"smk-1": True, "smk-2": False}


def test_two_rules_of_one_kind_are_one_open_alarm(db: Database) -> None:
    know(db, "gw-1")
    bit = "generic-smoke-senml/alarm"
    apply(db, (1, raised("o1")), (2, raised("o2", rule=bit)))
    (shown,) = listed(db, folded=False)
    assert shown.folded == 1
    with db.begin() as tx:
        service.acknowledge(tx, LI, shown.id, NOW)
    apply(db, (3, cleared("o1")))
    (shown,) = listed(db, folded=False, state=["open", "acknowledged"])
    assert (shown.occurrence, shown.state) == ("o2", AlarmState.ACKNOWLEDGED)
    apply(db, (4, cleared("o2", rule=bit)))
    assert not listed(db, state=["open", "acknowledged"])


def test_the_database_refuses_a_second_open_alarm(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")))
    with db.read() as tx:
        row = {**tx.execute(sa.select(alarms)).mappings().one(), "id": 999, "occurrence": "other"}
    with pytest.raises(IntegrityError), db.begin() as tx:
        tx.execute(alarms.insert().values(row))


def state_of(db: Database, gateway: str) -> list[tuple[Any, ...]]:
    """Everything that must not depend on the order of arrival."""
    columns = (
        alarms.c.occurrence, alarms.c.rank, alarms.c.raised_at, alarms.c.cleared_at, alarms.c.clear_reason,
        alarms.c.open_key.is_not(None), alarms.c.severity,
    )  # fmt: skip
    ids = dict[int | None, str | None]({None: None})
    with db.read() as tx:
        named = sa.select(alarms.c.id, alarms.c.occurrence).where(alarms.c.gateway == gateway)
        ids.update((alarm_id, name) for alarm_id, name in tx.execute(named))
        rows = tx.execute(
            sa.select(*columns, alarms.c.folded_into).where(alarms.c.gateway == gateway).order_by(alarms.c.occurrence)
        )
        return [(*row[:-1], ids[row[-1]]) for row in rows]


def story(steps: Sequence[tuple[str, str]]) -> list[tuple[int, AlarmEvent]]:
    """What a gateway would send: per step a rule raises, clears, or loses its memory and raises again."""
    current: dict[str, str] = {}
    items: list[tuple[int, AlarmEvent]] = []
    for number, (rule, step) in enumerate(steps, 1):
        at = NOW + number * 1000
        if step == "clear" and rule in current:
            items.append((number, cleared(current.pop(rule), at=at, rule=rule)))
        elif step == "forget" or rule not in current:
            current[rule] = f"o{number:02d}"
            items.append((number, raised(current[rule], at=at, rule=rule)))
    return items


stories = st.lists(
    st.tuples(st.sampled_from(["p/a", "p/b"]), st.sampled_from(["raise", "clear", "forget"])), max_size=7
)
_names = itertools.count()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stories, st.data())
def test_any_order_and_repetition_of_events_gives_the_same_alarms_D7(
    db: Database, steps: list[tuple[str, str]], data: st.DataObject
) -> None:
    items = story(steps)
    orderly, disorderly = (f"gw-{next(_names)}" for _ in range(2))
    know(db, orderly, disorderly)
    for item in items:
        apply(db, item, gateway=orderly)
    for item in data.draw(st.permutations(items * 2)):
        apply(db, item, gateway=disorderly)
    assert state_of(db, disorderly) == state_of(db, orderly)


def test_a_clock_that_jumps_back_does_not_hide_a_fire_D8(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")), (3, raised("o2", at=0)), now=NOW)
    apply(db, (2, cleared("o1", at=NOW + 1)))
    (alarm,) = listed(db, state=["open"])
    assert alarm.occurrence == "o2"


def test_a_new_epoch_comes_after_the_old_one(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (900, raised("o1")))
    apply(db, (1, raised("o2")), epoch="e2")
    assert {a.occurrence: a.state for a in listed(db)} == {"o1": AlarmState.CLEARED, "o2": AlarmState.OPEN}


def test_what_a_gateway_calls_things_cannot_break_a_column(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1", kind="k\x00" * 100, rule="r" * 9999, at=2**70)))
    (alarm,) = listed(db)
    assert len(alarm.kind) == 64
    assert alarm.raised_at.year == 9999


def test_manual_clear_comment_assign_shelve(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")))
    (alarm,) = listed(db)
    with db.begin() as tx:
        service.comment(tx, LI, alarm.id, NOW + 1, "smells of toast")
        assert service.assign(tx, LI, alarm.id, NOW + 2, "wang").assigned_to == "wang"
        shelved = service.shelve(tx, LI, alarm.id, NOW + 3, until_ms=NOW + 60_000, reason="kitchen works")
        assert shelved.shelve_reason == "kitchen works"
        assert service.shelve(tx, LI, alarm.id, NOW + 4, until_ms=NOW, reason="done").shelved_until is None
        after = service.clear(tx, LI, alarm.id, NOW + 5, "false alarm")
        assert (after.state, after.cleared_by, after.clear_reason) == (AlarmState.CLEARED, "li", ClearReason.MANUAL)
        assert service.clear(tx, LI, alarm.id, NOW + 6) == after
    apply(db, (2, cleared("o1", at=NOW + 9000)))
    with db.read() as tx:
        detail = service.get_alarm(tx, SYSTEM, alarm.id)
    assert detail.clear_reason is ClearReason.MANUAL
    actions = ["raised", "comment", "assigned", "shelved", "unshelved", "cleared"]
    assert [h.action for h in detail.history] == actions


@pytest.mark.parametrize(
    ("role", "verb", "allowed"),
    [
        (Role.AUDITOR, "acknowledge", False),
        (Role.AUDITOR, "comment", False),
        (Role.TECHNICIAN, "acknowledge", True),
        (Role.PROPERTY, "clear", False),
        (Role.DISPATCHER, "clear", True),
    ],
)
def test_roles(db: Database, role: Role, verb: str, allowed: bool) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")))
    (alarm,) = listed(db)
    who = Principal("user", 1, "zhao", role)
    more = {"text": "x"} if verb == "comment" else {}
    with db.begin() as tx:
        if allowed:
            getattr(service, verb)(tx, who, alarm.id, NOW, **more)
        else:
            with pytest.raises(Forbidden, match=f"role {role} may not {verb} alarms"):
                getattr(service, verb)(tx, who, alarm.id, NOW, **more)


def test_scope_holds_for_list_count_and_action_S4(db: Database) -> None:
    know(db, "gw-1", node="/1/")
    know(db, "gw-2", node="/10/")
    apply(db, (1, raised("o1")))
    apply(db, (1, raised("o2")), gateway="gw-2")
    inside = Principal("user", 1, "li", Role.DISPATCHER, "/1/")
    with db.begin() as tx:
        mine = service.list_alarms(tx, inside, AlarmFilter()).items
        assert [a.gateway for a in mine] == ["gw-1"]
        assert service.open_counts(tx, inside, NOW).open == 1
        (foreign,) = service.list_alarms(tx, SYSTEM, AlarmFilter(gateway="gw-2")).items
        with pytest.raises(NotFound, match=f"alarm {foreign.id}: not found"):
            service.acknowledge(tx, inside, foreign.id, NOW)


def test_lists_page_and_filter(db: Database) -> None:
    know(db, "gw-1")
    apply(db, *((n, raised(f"o{n}", device=f"d{n}", at=NOW + n, severity=Severity.MINOR)) for n in range(1, 8)))
    apply(db, (8, raised("o8", kind="sos", at=NOW + 8, drill=True)))
    with db.read() as tx:
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = service.list_alarms(tx, SYSTEM, AlarmFilter(), limit=3, cursor=cursor)
            seen += [a.occurrence for a in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert seen == [f"o{n}" for n in range(8, 0, -1)]
    assert [a.occurrence for a in listed(db, kind="sos")] == ["o8"]
    assert [a.occurrence for a in listed(db, drill=True)] == ["o8"]
    assert len(listed(db, severity=["minor"])) == 7
    assert len(listed(db, device="d3")) == 1


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "W10", "WyJhIiwgMV0", "WzFlOTksIDFd", "\ud800"])
def test_a_cursor_that_we_did_not_make_is_refused(db: Database, cursor: str) -> None:
    with db.read() as tx:
        if cursor:
            with pytest.raises(Invalid, match="cursor: not one that this API gave out"):
                service.list_alarms(tx, SYSTEM, AlarmFilter(), cursor=cursor)
