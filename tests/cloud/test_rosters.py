"""Members, equipment and shifts on both databases: what may be planned, what is told, what is imported."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from cloud import importing, stream
from cloud.errors import Conflict, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.paging import at as time_of
from cloud.presence.rosters import service as rosters
from cloud.presence.rosters.models import Kind, MemberChange, NewEquipment, NewMember, ShiftState
from cloud.presence.rosters.store import equipment, members, pseudonyms, shifts
from tests.cloud.cloud_support import NOW
from tests.cloud.roster_support import DISPATCHER, HOUR, PLANNER, Patrol, make_patrol, plan

if TYPE_CHECKING:
    from cloud.db import Database


@pytest.fixture
def patrol(db: Database) -> Patrol:
    return make_patrol(db)


def test_who_is_on_duty_and_who_carries_what(db: Database, patrol: Patrol) -> None:
    shift = plan(db, patrol, post=patrol.far_post)
    with db.read() as tx:
        (duty,) = rosters.on_duty(tx, NOW)
        assert duty == rosters.Duty(
            shift, patrol.member, "鹰-1", patrol.west, patrol.far_post, None, NOW, NOW + 8 * HOUR
        )
        assert rosters.on_duty(tx, NOW - 1) == rosters.on_duty(tx, NOW + 8 * HOUR) == []
        assert rosters.on_duty(tx, NOW, patrol.east) == [], "a shift is where its post is"
        assert rosters.holder(tx, "gw-1", "arm-1", NOW) == duty
        assert rosters.holder(tx, "gw-1", "arm-1", NOW - 1) is None
        assert rosters.holder(tx, "gw-1", "rad-1", NOW) is None
        assert rosters.carried(tx) == {("gw-1", "arm-1"), ("gw-1", "rad-1")}
        assert rosters.member_names(tx, [patrol.member, patrol.other]) == {patrol.member: "鹰-1", patrol.other: "鹰-2"}


def test_overlapping_shifts_of_a_member_or_of_what_is_carried_are_refused(db: Database, patrol: Patrol) -> None:
    first = plan(db, patrol, radio=patrol.radio)
    for who in ("member", "armband", "radio"):
        _check_overlaps(db, patrol, first, who)


def _check_overlaps(db: Database, patrol: Patrol, first: int, who: str) -> None:
    choices: dict[str, dict[str, Any]] = {
        "member": {"member": patrol.member, "armband": None}, "armband": {"member": patrol.other},
        "radio": {"member": patrol.other, "armband": None, "radio": patrol.radio},
    }  # fmt: skip
    mine = choices[who]
    for begins, ends in ((NOW - HOUR, NOW + 1), (NOW + HOUR, NOW + 2 * HOUR), (NOW + 8 * HOUR - 1, NOW + 9 * HOUR)):
        with pytest.raises(Conflict, match=rf"on shift {first}|has shift {first}"):
            plan(db, patrol, begins, ends, **mine)
    touching = [plan(db, patrol, *span, **mine) for span in ((NOW - HOUR, NOW), (NOW + 8 * HOUR, NOW + 9 * HOUR))]
    with db.begin() as tx:
        for shift in touching:
            rosters.remove(tx, PLANNER, shift, NOW - 2 * HOUR)


def test_two_who_plan_at_once_cannot_give_one_armband_to_two(db: Database, patrol: Patrol) -> None:
    begun = threading.Barrier(2)

    def give(member: int) -> str:
        begun.wait(10)
        try:
            plan(db, patrol, member=member)
        except Conflict:
            return "refused"
        return "planned"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(give, (patrol.member, patrol.other))) == ["planned", "refused"]


def test_what_cannot_be_planned_says_why(db: Database, patrol: Patrol) -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"ends": NOW}, Invalid, "not later than"), ({"ends": NOW + 30 * HOUR}, Invalid, "25 hours"),
        ({"member": 999}, NotFound, "member 999"), ({"armband": patrol.radio}, Invalid, "is a radio"),
        ({"armband": 999}, NotFound, "equipment 999"), ({"post": 999}, NotFound, "post 999"),
        ({"route": 999}, NotFound, "route 999"), ({"route": 1, "post": patrol.post}, Invalid, "at a post or on a"),
    ]  # fmt: skip
    for given, error, says in cases:
        with pytest.raises(error, match=says):
            plan(db, patrol, **given)
    with db.read() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(shifts)).scalar() == 0


def test_a_shift_is_begun_early_and_ended_early(db: Database, patrol: Patrol) -> None:
    shift = plan(db, patrol)
    with db.begin() as tx:
        with pytest.raises(Conflict, match="more than an hour"):
            rosters.begin(tx, DISPATCHER, shift, NOW - HOUR - 1)
        with pytest.raises(Conflict, match="has not begun"):
            rosters.end(tx, DISPATCHER, shift, NOW - 1)
        begun = rosters.begin(tx, DISPATCHER, shift, NOW - HOUR // 2)
        assert begun.state is ShiftState.RUNNING
        assert rosters.begin(tx, DISPATCHER, shift, NOW) == begun, "a repeat changes nothing"
        assert rosters.on_duty(tx, NOW - HOUR // 2)
        ended = rosters.end(tx, DISPATCHER, shift, NOW + HOUR, "ill")
        assert (ended.state, ended.note) == (ShiftState.ENDED, "ill")
        assert rosters.end(tx, DISPATCHER, shift, NOW + 2 * HOUR, "again").note == "ill"
        assert rosters.on_duty(tx, NOW + HOUR - 1)
        assert not rosters.on_duty(tx, NOW + HOUR)
        with pytest.raises(Conflict, match="has ended"):
            rosters.begin(tx, DISPATCHER, _second(tx, patrol), NOW + 20 * HOUR)
    plan(db, patrol, NOW + HOUR, NOW + 2 * HOUR)


def _second(tx: Any, patrol: Patrol) -> int:  # noqa: ANN401 - a connection
    wanted = rosters.Plan(patrol.other, NOW, NOW + HOUR)
    return rosters.plan(tx, PLANNER, wanted, NOW).id


def test_a_shift_is_handed_over_with_its_armband_and_a_note(db: Database, patrol: Patrol) -> None:
    first = plan(db, patrol)
    second = plan(db, patrol, NOW + 8 * HOUR, NOW + 16 * HOUR, member=patrol.other)
    at = NOW + 7 * HOUR + HOUR // 2
    with db.begin() as tx:
        with pytest.raises(Conflict, match="does not run"):
            rosters.hand_over(tx, DISPATCHER, second, first, at)
        with pytest.raises(Invalid, match="same member"):
            rosters.hand_over(tx, DISPATCHER, first, first, at)
        handed = rosters.hand_over(tx, DISPATCHER, first, second, at, note="gate 3 is broken")
        assert (handed.handed_to, handed.note, handed.state) == (second, "gate 3 is broken", ShiftState.ENDED)
        carrier = rosters.holder(tx, "gw-1", "arm-1", at)
        assert carrier
        assert carrier.member == patrol.other
    with db.read() as tx:
        told = tx.execute(sa.select(audit.audit.c.action).where(audit.audit.c.target.like("shift/%"))).scalars().all()
        assert told == ["shift.plan", "shift.plan", "shift.hand-over", "shift.begin"]


def test_what_is_planned_can_be_forgotten_and_what_has_run_cannot(db: Database, patrol: Patrol) -> None:
    shift = plan(db, patrol)
    with db.begin() as tx:
        with pytest.raises(Conflict, match="end it instead"):
            rosters.remove(tx, PLANNER, shift, NOW)
        with pytest.raises(Conflict, match="has shifts"):
            rosters.archive_member(tx, PLANNER, patrol.member, NOW)
        with pytest.raises(Conflict, match="have it"):
            rosters.archive_equipment(tx, PLANNER, patrol.armband, NOW)
        rosters.remove(tx, PLANNER, shift, NOW - 1)
        rosters.archive_member(tx, PLANNER, patrol.member, NOW)
        rosters.archive_equipment(tx, PLANNER, patrol.armband, NOW)
        assert rosters.carried(tx) == {("gw-1", "rad-1")}
        assert ("gw-1", "arm-1") in rosters.worn(tx, ["gw-1"]), "what it told stays guarded"
        new = NewEquipment(gateway="gw-1", device="arm-1", kind=Kind.ARMBAND, node=patrol.east)
        assert rosters.add_equipment(tx, PLANNER, new, NOW).id == patrol.armband
        with pytest.raises(Conflict, match="known already"):
            rosters.add_equipment(tx, PLANNER, new, NOW)


def test_nothing_outside_the_scope_is_found_or_planned(db: Database, patrol: Patrol) -> None:
    shift = plan(db, patrol, post=patrol.post)
    west = Principal("user", 3, "west", Role.SUPERVISOR, patrol.west)
    with db.begin() as tx:
        assert [m.call_sign for m in rosters.list_members(tx, west, NOW).items] == ["鹰-2"]
        assert rosters.list_equipment(tx, west, NOW).items == []
        assert rosters.list_shifts(tx, west, NOW).items == []
        for call in (
            lambda: rosters.get_shift(tx, west, shift, NOW),
            lambda: rosters.end(tx, west, shift, NOW + 1),
            lambda: rosters.get_member(tx, west, patrol.member, NOW),
            lambda: rosters.plan(tx, west, rosters.Plan(patrol.member, NOW, NOW + HOUR), NOW),
            lambda: rosters.plan(tx, west, rosters.Plan(patrol.other, NOW, NOW + HOUR, armband=patrol.armband), NOW),
            lambda: rosters.add_member(tx, west, NewMember(call_sign="x", node=patrol.east), NOW),
            lambda: rosters.add_equipment(
                tx, west, NewEquipment(gateway="gw-1", device="d", kind=Kind.DOOR, node=patrol.west), NOW
            ),
            lambda: rosters.strengths(tx, west, patrol.street, NOW),
        ):
            with pytest.raises(NotFound):
                call()


def test_members_are_changed_and_their_call_signs_are_unique(db: Database, patrol: Patrol) -> None:
    with db.begin() as tx:
        with pytest.raises(Conflict, match="call sign 鹰-2: taken"):
            rosters.change_member(tx, PLANNER, patrol.member, MemberChange(call_sign="鹰-2"), NOW)
        with pytest.raises(NotFound, match="user nobody"):
            rosters.change_member(tx, PLANNER, patrol.member, MemberChange(user="nobody"), NOW)
        moved = rosters.change_member(tx, PLANNER, patrol.member, MemberChange(node=patrol.west), NOW)
        assert moved.node == patrol.west
        before = len(tx.info["work"].buffers["audit"])
        rosters.change_member(tx, PLANNER, patrol.member, MemberChange(node=patrol.west), NOW)
        assert len(tx.info["work"].buffers["audit"]) == before, "the same again changes nothing"


def test_strength_is_that_of_the_nearest_node_with_people(db: Database, patrol: Patrol) -> None:
    plan(db, patrol, post=patrol.post)
    with db.read() as tx:
        figures = rosters.strengths(tx, PLANNER, patrol.street, NOW)
    assert [(f.node, f.basis, f.on_duty, f.per_100k, f.target, f.required, f.short) for f in figures] == [
        (node, patrol.street, 1, 5.0, 50, 10, 9) for node in (patrol.street, patrol.east, patrol.west)
    ]
    with db.begin() as tx:
        tree.add_node(
            tx, SYSTEM, patrol.street, tree.Kind.COMMUNITY, ("村", "Village"), now_ms=NOW, population=3000,
            settlement="rural",
        )  # fmt: skip
        village = rosters.strengths(tx, PLANNER, patrol.street, NOW)[-1]
    assert (village.basis, village.on_duty, village.target, village.required) == (village.node, 0, 30, 1)


def test_pages_hear_of_what_changes(db: Database, patrol: Patrol) -> None:
    shift = plan(db, patrol, post=patrol.post)
    with db.read() as tx:
        row = tx.execute(sa.select(stream.events).order_by(stream.events.c.id.desc()).limit(1)).one()
    assert (row.kind, row.node, row.data) == ("presence", patrol.east, f'{{"subject":"shift","id":{shift}}}')


def sections(**changed: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    base: dict[str, list[dict[str, Any]]] = {
        "members": [{"call_sign": "鹰-1", "node": "east"}, {"call_sign": "鹰-3", "node": "west"}],
        "equipment": [{"device": "gw-1/arm-3", "kind": "armband", "node": "west"},
                      {"device": "gw-1/term-1", "kind": "terminal", "node": "west", "post": "p-west"}],
        "pseudonyms": [{"pseudonym": "k-1", "member": "鹰-3"}],
        "shifts": [
            {"member": "鹰-3", "post": "p-west", "armband": "gw-1/arm-3", "from": "20:00", "to": "08:00",
             "days": ["mon", "wed"], "weeks": 2},
            {"member": "鹰-1", "radio": "gw-1/rad-1", "starts_at": "2027-01-16T08:00:00+08:00",
             "ends_at": "2027-01-16T20:00:00+08:00"},
        ],
    }  # fmt: skip
    return base | changed


def test_a_roster_is_brought_in_and_the_same_again_changes_nothing(db: Database, patrol: Patrol) -> None:
    with db.begin() as tx:
        done = importing.apply(tx, PLANNER, sections(), NOW)
    assert done == {"members": 1, "equipment": 2, "pseudonyms": 1, "shifts": 2}
    with db.begin() as tx:
        counts = [tx.execute(sa.select(sa.func.count()).select_from(t)).scalar() for t in (members, equipment, shifts)]
        assert counts == [3, 4, 5]
        assert tx.execute(sa.select(pseudonyms.c.pseudonym)).scalars().all() == ["k-1"]
        member = rosters.member_by_pseudonym(tx, "k-1")
        assert rosters.member_names(tx, [member or 0]) == {member: "鹰-3"}
        assert importing.apply(tx, PLANNER, sections(), NOW) == dict.fromkeys(done, 0)
        moved = sections(shifts=[sections()["shifts"][0] | {"armband": None, "post": None, "note": "x"}])
        moved["shifts"][0] = {k: v for k, v in moved["shifts"][0].items() if v is not None}
        assert importing.apply(tx, PLANNER, moved, NOW)["shifts"] == 1
        assert tx.execute(sa.select(sa.func.count()).where(shifts.c.note == "x")).scalar() == 4


def test_a_file_that_comes_again_after_a_shift_was_ended_or_handed_over_changes_nothing(
    db: Database, patrol: Patrol
) -> None:
    first_at, second_at, ends_at = NOW, NOW + 8 * HOUR, NOW + 16 * HOUR
    file = {
        "shifts": [
            {"member": call_sign, "armband": "gw-1/arm-1", "starts_at": time_of(begins), "ends_at": time_of(ends)}
            for call_sign, begins, ends in (("鹰-1", first_at, second_at), ("鹰-2", second_at, ends_at))
        ]
    }
    with db.begin() as tx:
        assert importing.apply(tx, PLANNER, file, first_at - HOUR)["shifts"] == 2
        first, second = tx.execute(sa.select(shifts.c.id).order_by(shifts.c.starts_at)).scalars()
        rosters.hand_over(tx, DISPATCHER, first, second, second_at - HOUR // 2)
    for now in (second_at - HOUR // 4, second_at + HOUR):
        with db.begin() as tx:
            assert importing.apply(tx, PLANNER, file, now) == {"shifts": 0}
    with db.begin() as tx:
        rosters.end(tx, DISPATCHER, second, second_at + 2 * HOUR)
        assert importing.apply(tx, PLANNER, file, second_at + 3 * HOUR) == {"shifts": 0}


def test_who_plans_while_somebody_begins_early_cannot_have_the_armband_too(db: Database, patrol: Patrol) -> None:
    shift = plan(db, patrol)
    with ThreadPoolExecutor(1) as pool:
        with db.begin() as tx:
            rosters.begin(tx, DISPATCHER, shift, NOW - HOUR // 2)
            before = pool.submit(plan, db, patrol, NOW - HOUR, NOW, member=patrol.other)
            with pytest.raises(TimeoutError):
                before.result(0.3)
        with pytest.raises(Conflict, match="鹰-1 has it on shift"):
            before.result(10)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("members", {"call_sign": "x", "node": "nowhere"}, r"members\[1\]: node nowhere: not known"),
    ("members", {"callsign": "x", "node": "east"}, r"members\[1\]\.callsign: no such key.*call_sign"),
    ("members", {"call_sign": "x"}, r"members\[1\]: node: field required"),
    ("equipment", {"device": "arm", "kind": "armband", "node": "east"}, r"equipment\[1\]: device: string should"),
    ("equipment", {"device": "gw-1/x", "kind": "armband", "node": "east", "post": "p-east"}, r"\[1\]: post: an"),
    ("pseudonyms", {"pseudonym": "p", "member": "nobody"}, r"pseudonyms\[1\]: member nobody: not known"),
    ("shifts", {"member": "鹰-1", "from": "08:00"}, r"shifts\[1\]: give either"),
    ("shifts", {"member": "鹰-1", "from": "25:00", "to": "08:00"}, r"shifts\[1\]: from: string should"),
    ("shifts", {"member": "鹰-1", "from": "08:00", "to": "20:00", "days": ["monday"]}, r"shifts\[1\]: days\.0"),
    ("shifts", {"member": "鹰-1", "from": "08:00", "to": "20:00", "post": "p-x"}, r"shifts\[1\]: post p-x: not"),
]  # fmt: skip


def test_what_cannot_be_brought_in_is_named(db: Database, patrol: Patrol) -> None:
    for section, table, says in WRONG:
        with db.begin() as tx, pytest.raises((Invalid, NotFound), match=says):
            importing.apply(tx, PLANNER, {section: [table]}, NOW)
