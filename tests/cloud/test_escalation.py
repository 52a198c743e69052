"""Escalation on a real database: first notice, steps, repetitions, what stops them, what restarts do (D11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from cloud import importing, timers
from cloud.alerts import chains, escalation, hooks, service
from cloud.alerts.hooks import Happening
from cloud.alerts.models import AlarmDetail, AlarmFilter
from cloud.alerts.notify import channels
from cloud.alerts.notify.models import ChannelIn
from cloud.alerts.notify.targets import Kind
from cloud.alerts.ops_models import ChainBody
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import service as org
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.presence.rosters import service as rosters
from cloud.presence.rosters.models import NewMember
from firmware_specs.readings import Severity
from tests.cloud.cloud_support import NOW, cleared, know, raised

if TYPE_CHECKING:
    from cloud.db import Database
    from firmware_specs.readings import AlarmEvent

LI = Principal("user", 1, "li", Role.DISPATCHER)
S = 1000


def apply(db: Database, *items: tuple[int, AlarmEvent], now: int = NOW) -> None:
    with db.begin() as tx:
        service.apply_events(tx, "gw-1", "e1", items, now)


def tick(db: Database, now: int) -> None:
    with db.begin() as tx:
        timers.tick(tx, now)


def only(db: Database, number: int = 0) -> AlarmDetail:
    with db.read() as tx:
        listed = service.list_alarms(tx, SYSTEM, AlarmFilter()).items
        return service.get_alarm(tx, SYSTEM, sorted(listed, key=lambda alarm: alarm.id)[number].id)


def told(db: Database, number: int = 0) -> list[tuple[int, str, str]]:
    """When what was told, by the seconds since the alarm."""
    steps = {"told", "escalated", "repeated", "grouped", "digested"}
    return [
        (round(entry.at.timestamp() - NOW / 1000), entry.action, entry.detail)
        for entry in only(db, number).history
        if entry.action in steps
    ]


def chain(db: Database, *, actor: Principal = SYSTEM, **body: object) -> int:
    given = {"name": "c", "steps": [{"after_s": 0, "roles": ["dispatcher"]}], **body}
    with db.begin() as tx:
        return chains.add_chain(tx, actor, ChainBody.model_validate(given), NOW).id


def test_a_fire_that_nobody_acknowledges_climbs_and_repeats(db: Database) -> None:
    know(db, "gw-1", node="/1/4/")
    apply(db, (1, raised("o1")))
    assert only(db).escalation == 1, "told at once"
    for at in (119, 120, 121, 299, 300, 899, 900, 1499, 1500):
        tick(db, NOW + at * S)
    assert told(db) == [
        (120, "escalated", "2/3 supervisor /1/4/ ×0"),
        (300, "escalated", "3/3 dispatcher, supervisor /1/ ×0"),
        (900, "repeated", "3/3 dispatcher, supervisor /1/ ×0"),
        (1500, "repeated", "3/3 dispatcher, supervisor /1/ ×0"),
    ]


def test_what_is_overdue_after_a_restart_is_told_once_D11(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")))
    tick(db, NOW + 7200 * S)
    tick(db, NOW + 7200 * S)
    assert [(at, what) for at, what, _ in told(db)] == [(7200, "escalated"), (7200, "escalated")]
    tick(db, NOW + 7800 * S)
    assert told(db)[-1][:2] == (7800, "repeated")


@pytest.mark.parametrize("ending", ["acknowledge", "clear", "shelve", "condition"])
def test_whatever_answers_an_alarm_stops_its_chain(db: Database, ending: str) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")))
    with db.begin() as tx:
        if ending == "shelve":
            service.shelve(tx, LI, only(db).id, NOW + 1, until_ms=NOW + 86_400_000, reason="x")
        elif ending != "condition":
            getattr(service, ending)(tx, LI, only(db).id, NOW + 1)
    if ending == "condition":
        apply(db, (2, cleared("o1", at=NOW + 1)))
    with db.read() as tx:
        assert service.explain(tx, SYSTEM, only(db).id, NOW + 2).next is None
    for at in range(0, 3600, 300):
        tick(db, NOW + at * S)
    assert told(db) == []


def test_what_comes_back_from_shelving_is_told_from_the_first_step(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")))
    tick(db, NOW + 130 * S)
    with db.begin() as tx:
        service.shelve(tx, LI, only(db).id, NOW + 140 * S, until_ms=NOW + 1000 * S, reason="x")
    tick(db, NOW + 600 * S)
    assert only(db).escalation == 0
    tick(db, NOW + 1000 * S)
    assert only(db).escalation == 1
    tick(db, NOW + 1120 * S)
    assert [(at, detail[:3]) for at, _, detail in told(db)] == [(130, "2/3"), (1120, "2/3")]


def test_one_of_a_group_tells_for_those_that_are_no_more_severe(db: Database) -> None:
    know(db, "gw-1")
    minor = raised("o2", "smk-2", NOW + 1, kind="smoke", severity=Severity.MINOR)
    apply(db, (1, raised("o1")), (2, minor), (3, raised("o3", "smk-3", NOW + 30 * S)))
    with db.read() as tx:
        found = service.explain(tx, SYSTEM, only(db, 2).id, NOW + 31 * S)
    assert found.group == [only(db, n).id for n in range(3)]
    assert [(r.kind, r.id) for r in found.reasons] == [("grouped", only(db).id)]
    tick(db, NOW + 150 * S)
    assert [what for _, what, _ in told(db)] == ["escalated"]
    assert [what for _, what, _ in told(db, 2)] == ["grouped"]
    with db.begin() as tx:
        service.acknowledge(tx, LI, only(db).id, NOW + 160 * S)
    tick(db, NOW + 400 * S)
    assert told(db, 2)[-1][1] == "escalated", "the next of the group tells now"


def test_what_flaps_goes_into_a_digest_and_a_fire_never_does(db: Database) -> None:
    know(db, "gw-1")
    door = {"kind": "door-open", "rule": "p/door", "severity": Severity.MAJOR}
    for number in range(12):
        at = NOW + number * 40 * S
        apply(db, (4 * number + 1, raised(f"d{number}", "door-1", at, **door)), now=at)
        apply(db, (4 * number + 2, raised(f"f{number}", "smk-1", at)), now=at)
        apply(db, (4 * number + 3, cleared(f"d{number}", "door-1", at + 20 * S, **door)), now=at + 20 * S)
        apply(db, (4 * number + 4, cleared(f"f{number}", "smk-1", at + 20 * S)), now=at + 20 * S)
    with db.read() as tx:
        flapping = service.list_alarms(tx, SYSTEM, AlarmFilter(flapping=True, kind="door-open")).items
        acted = {a.id: [h.action for h in service.get_alarm(tx, SYSTEM, a.id).history] for a in flapping}
        digested = [a for a in flapping if "digested" in acted[a.id]]
        fires = service.list_alarms(tx, SYSTEM, AlarmFilter(flapping=True, kind="fire")).items
        entries = [h.action for a in fires for h in service.get_alarm(tx, SYSTEM, a.id).history]
    assert len(flapping) >= 8
    assert len(digested) >= 8
    assert "digested" not in entries


def test_a_flapping_alarm_that_stays_is_calm_and_escalates_as_any_other(db: Database) -> None:
    know(db, "gw-1")
    door = {"kind": "door-open", "rule": "p/door", "severity": Severity.MAJOR}
    for number in range(5):
        at = NOW + number * 40 * S
        apply(db, (2 * number + 1, raised(f"d{number}", "door-1", at, **door)), now=at)
        if number < 4:
            apply(db, (2 * number + 2, cleared(f"d{number}", "door-1", at + 20 * S, **door)), now=at + 20 * S)
    assert only(db, 4).flapping
    tick(db, NOW + 1700 * S)
    assert not only(db, 4).flapping
    tick(db, NOW + 2100 * S)
    assert [what for _, what, _ in told(db, 4)][-1] == "escalated"


def test_a_chain_of_the_node_holds_instead_of_the_built_in_one(db: Database) -> None:
    know(db, "gw-1", node="/1/4/")
    steps = [{"after_s": 60, "roles": ["technician"]}, {"after_s": 90, "roles": ["property"], "up": 9 - 1}]
    chain(db, node=ROOT, kinds=["fire"], steps=steps, repeat_s=0)
    apply(db, (1, raised("o1")))
    assert only(db).escalation == 0
    for at in (60, 90, 9999):
        tick(db, NOW + at * S)
    assert told(db) == [(90, "escalated", "2/2 property / ×0")]


def test_a_raise_told_twice_tells_nobody_twice(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")))
    with db.begin() as tx:
        for _ in range(3):
            hooks.tell(tx, Happening.RAISED, only(db).id, NOW + 1)
    assert only(db).escalation == 1


def test_a_new_response_level_moves_what_waits(db: Database) -> None:
    know(db, "gw-1", node="/1/")
    apply(db, (1, raised("o1")))
    with db.begin() as tx:
        waiting = sa.update(timers.timers).values(due_at=NOW + 999 * S)
        tx.execute(waiting)
        escalation.level_changed(tx, "/2/", NOW)
        assert timers.next_due(tx) == NOW + 999 * S
        escalation.level_changed(tx, "/1/", NOW)
        assert timers.next_due(tx) == NOW + 120 * S


def test_chains_are_the_administrators_and_scoped_S4(db: Database) -> None:
    with pytest.raises(Forbidden, match="role supervisor may not administer chains"):
        chain(db, actor=Principal("user", 1, "s", Role.SUPERVISOR))
    inside = Principal("user", 1, "a", Role.ADMINISTRATOR, "/1/")
    mine, top = chain(db, actor=inside), chain(db)
    with pytest.raises(Conflict, match="chain c: exists already at /1/"):
        chain(db, actor=inside)
    with db.begin() as tx:
        assert [each.id for each in chains.list_chains(tx, inside).items] == [mine]
        with pytest.raises(NotFound):
            chains.remove_chain(tx, inside, top, NOW)
        with pytest.raises(NotFound):
            chains.get_chain(tx, inside, top)
        body = ChainBody.model_validate({"name": "d", "steps": [{"after_s": 5, "roles": ["auditor"]}], "repeat_s": 60})
        assert chains.put_chain(tx, inside, mine, body, NOW).name == "d"
        chains.remove_chain(tx, inside, mine, NOW)
        assert chains.list_chains(tx, inside).items == []


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ({"steps": []}, "steps"), ({"repeat_s": 5}, "repeat_s"), ({"min_severity": "x"}, "min_severity"),
        ({"steps": [{"after_s": 9, "roles": ["dispatcher"]}, {"after_s": 3, "roles": ["dispatcher"]}]}, "each must"),
        ({"steps": [{"after_s": 0, "roles": []}]}, "roles"), ({"steps": [{"after_s": 0, "roles": ["boss"]}]}, "roles"),
    ],
)  # fmt: skip
def test_a_chain_that_makes_no_sense_is_refused(body: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ChainBody.model_validate({"name": "c", "steps": [{"after_s": 0, "roles": ["dispatcher"]}], **body})


SECTION: list[dict[str, Any]] = [
    {"node": "str-1", "name": "夜间", "min_severity": "major", "steps": [{"after_s": 0, "roles": ["dispatcher"]}]},
    {"name": "all", "steps": [{"after_s": 0, "roles": ["supervisor"], "up": 1}], "repeat_s": 300},
]


def test_the_importer_brings_chains_in_and_the_same_file_twice_changes_nothing(db: Database) -> None:
    with db.begin() as tx:
        tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, ("街", "Street"), now_ms=NOW, code="str-1")
        assert importing.apply(tx, SYSTEM, {"chains": SECTION}, NOW) == {"chains": 2}
        first = chains.list_chains(tx, SYSTEM).items
        importing.apply(tx, SYSTEM, {"chains": SECTION}, NOW + 9)
        assert chains.list_chains(tx, SYSTEM).items == first
        importing.apply(tx, SYSTEM, {"chains": [{**SECTION[0], "repeat_s": 60}]}, NOW + 9)
        assert [each.repeat_s for each in chains.list_chains(tx, SYSTEM).items] == [60, 300]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"node": "none"}, r"chains\[1\].node: node none: not known"), ({"colour": 1}, r"chains\[1\].colour: "),
        ({"steps": [{"after_s": -1, "roles": ["dispatcher"]}]}, r"chains\[1\].steps.0.after_s: "),
    ],
)  # fmt: skip
def test_the_importer_names_the_entry_and_the_key(db: Database, change: dict[str, object], match: str) -> None:
    with db.begin() as tx, pytest.raises(Invalid, match=match):
        importing.apply(tx, SYSTEM, {"chains": [{**SECTION[1], **change}]}, NOW)


def test_a_step_tells_the_accounts_of_members_on_duty_there(db: Database) -> None:
    with db.begin() as tx:
        names = ("街道", "Street")
        street = tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, names, now_ms=NOW, code="s").path
        other = tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, names, now_ms=NOW, code="o").path
        house = tree.add_node(tx, SYSTEM, street, tree.Kind.BUILDING, names, now_ms=NOW, code="b").path
        for name, node in (("on", street), ("off", street), ("away", other)):
            org.add_user(tx, SYSTEM, name, Role.PROPERTY, NOW)
            new = NewMember(call_sign=f"c-{name}", node=node, user=name)
            member = rosters.add_member(tx, SYSTEM, new, NOW).id
            begins = NOW + 3600 * S if name == "off" else NOW - S
            rosters.plan(tx, SYSTEM, rosters.Plan(member, begins, NOW + 7200 * S), NOW)
        given = ChannelIn(
            node=street, name="n", kind=Kind.APPRISE, target="dingtalk://abcdefghijklmnop", language="en",
            audience=["user:on"],
        )  # fmt: skip
        channels.add_channel(tx, SYSTEM, given, now_ms=NOW, allowed=None)
    know(db, "gw-1", node=house)
    chain(db, node=street, steps=[{"after_s": 0, "roles": ["auditor"], "roster": True}])
    apply(db, (1, raised("o1")))
    with db.read() as tx:
        assert rosters.accounts_on_duty(tx, house, NOW) == ("on",)
    assert [what for _, _, what in told(db)] == [f"1/1 auditor, roster {house} ×1"]
