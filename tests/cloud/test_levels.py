"""Response levels on a real database: who declares, who approves, what is in force, who hears of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import sqlalchemy as sa

from cloud import importing, timers
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.incidents.levels import hooks, service
from cloud.incidents.levels.models import DeclarationState
from cloud.incidents.levels.rules import BUILT_IN, Policy
from cloud.org import service as org
from cloud.org import tree
from cloud.org.audit import audit
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.stream import events
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from cloud.db import Database
    from cloud.incidents.levels.models import DeclarationView

HOUR = 3_600_000
DAY = 24 * HOUR


class Town(NamedTuple):
    """Paths of a district with two streets, and who works there."""

    district: str
    street: str
    community: str
    other: str

    def who(self, name: str, role: Role = Role.DISPATCHER, node: str = "") -> Principal:
        return Principal("user", 1, name, role, node or self.district)


def grow(db: Database) -> Town:
    """A district > street > community, and another street."""
    with db.begin() as tx:
        district = tree.add_node(tx, SYSTEM, "/", tree.Kind.DISTRICT, ("雁塔", "Yanta"), now_ms=NOW, code="yt").path
        street = tree.add_node(tx, SYSTEM, district, tree.Kind.STREET, ("翠华", "Cuihua"), now_ms=NOW, code="ch").path
        home = tree.add_node(tx, SYSTEM, street, tree.Kind.COMMUNITY, ("幸福", "Xingfu"), now_ms=NOW, code="xf").path
        other = tree.add_node(tx, SYSTEM, district, tree.Kind.STREET, ("小寨", "Xiaozhai"), now_ms=NOW, code="xz").path
    return Town(district, street, home, other)


@pytest.fixture
def town(db: Database) -> Town:
    return grow(db)


@pytest.fixture
def told() -> Iterator[list[tuple[str, int]]]:
    """What a folder that derives numbers from levels hears."""
    heard: list[tuple[str, int]] = []

    def listen(_tx: object, node: str, now_ms: int) -> None:
        heard.append((node, now_ms))

    hooks.LISTENERS.append(listen)
    yield heard
    hooks.LISTENERS.remove(listen)


def declare(db: Database, who: Principal, node: str, level: int, **more: int) -> DeclarationView:
    times: dict[str, Any] = {} if level == 4 else {"ends_at": NOW + 2 * HOUR}
    with db.begin() as tx:
        return service.declare(tx, who, node, level, "大型活动", now_ms=NOW, **(times | more))


def in_force(db: Database, town: Town, node: str, level: int, **more: int) -> DeclarationView:
    """Declared by one and approved by another."""
    made = declare(db, town.who("li"), node, level, **more)
    with db.begin() as tx:
        return service.approve(tx, town.who("sun", Role.SUPERVISOR), made.id, NOW)


def test_nobody_decides_on_their_own_declaration_nor_does_a_token_of_theirs(db: Database, town: Town) -> None:
    ada = Principal("user", 9, "ada", Role.ADMINISTRATOR, town.district)
    made = declare(db, ada, town.street, 2)
    with db.begin() as tx:
        secret = org.add_token(tx, ada, "desk", Role.SUPERVISOR, now_ms=NOW)
        token = org.token_principal(tx, secret, NOW)
        assert token
        for decide in (service.approve, service.reject):
            with pytest.raises(Forbidden, match="whoever declared it may not decide on it"):
                decide(tx, token, made.id, NOW, "同意")
        assert service.approve(tx, town.who("sun", Role.SUPERVISOR), made.id, NOW).in_force


def level(db: Database, node: str, now: int = NOW) -> int:
    with db.read() as tx:
        return service.effective(tx, node, now)


def test_a_level_takes_effect_by_approval_of_another_and_ends_by_itself(
    db: Database, town: Town, told: list[tuple[str, int]]
) -> None:
    made = declare(db, town.who("li"), town.street, 2)
    assert (made.state, made.in_force, made.approver) == ("pending", False, Role.SUPERVISOR)
    assert (level(db, town.street), told) == (4, [])
    with db.begin() as tx:
        assert service.approve(tx, town.who("sun", Role.SUPERVISOR), made.id, NOW, "同意").in_force
    assert [level(db, node) for node in (town.district, town.street, town.community, town.other)] == [4, 2, 2, 4]
    assert told == [(town.street, NOW)]
    assert level(db, town.street, NOW + 2 * HOUR - 1) == 2
    # Nobody called the timer yet: time alone decides.
    assert level(db, town.community, NOW + 2 * HOUR) == 4
    for late in (3 * HOUR, 4 * HOUR):
        with db.begin() as tx:
            timers.tick(tx, NOW + late)
    assert told == [(town.street, NOW), (town.street, NOW + 3 * HOUR)]
    with db.read() as tx:
        assert service.get_declaration(tx, SYSTEM, made.id, NOW + 4 * HOUR).state is DeclarationState.EXPIRED
        done = tx.execute(sa.select(audit.c.action).where(audit.c.target == f"level/{made.id}")).scalars().all()
        assert set(tx.execute(sa.select(events.c.node).where(events.c.kind == "level")).scalars()) == {
            town.street, town.community,
        }  # fmt: skip
    assert done == ["level.declare", "level.approve", "level.expire"]


def test_a_level_that_begins_later_begins_on_time_even_when_the_worker_was_down_D11(
    db: Database, town: Town, told: list[tuple[str, int]]
) -> None:
    in_force(db, town, town.street, 1, starts_at=NOW + HOUR)
    assert [level(db, town.street, NOW + at) for at in (0, HOUR - 1, HOUR, 2 * HOUR - 1, 2 * HOUR)] == [4, 4, 1, 1, 4]
    assert told == []
    with db.begin() as tx:
        timers.tick(tx, NOW + 5 * HOUR)
        assert timers.next_due(tx) is None
    assert told == [(town.street, NOW + 5 * HOUR)]
    assert level(db, town.street, NOW + 5 * HOUR) == 4


def test_nobody_approves_what_they_declared_and_only_the_role_set_for_the_district_may(
    db: Database, town: Town
) -> None:
    chief = town.who("sun", Role.SUPERVISOR)
    mine = declare(db, chief, town.street, 3)
    with db.begin() as tx:
        with pytest.raises(Forbidden, match="whoever declared it may not decide"):
            service.approve(tx, chief, mine.id, NOW)
        with pytest.raises(Forbidden, match=f"it takes a {Role.SUPERVISOR}"):
            service.approve(tx, town.who("wang"), mine.id, NOW)
        with pytest.raises(Forbidden, match="it takes a"):
            service.reject(tx, town.who("wang"), mine.id, NOW, "no")
        with pytest.raises(NotFound):
            service.approve(tx, town.who("zhou", Role.SUPERVISOR, town.other), mine.id, NOW)
        service.put_approver(tx, SYSTEM, town.district, Role.DISPATCHER, NOW)
        with pytest.raises(Forbidden, match="it takes a dispatcher"):
            service.approve(tx, town.who("zhou", Role.SUPERVISOR), mine.id, NOW)
        assert service.approve(tx, town.who("wang"), mine.id, NOW).decided_by == "wang"


def token(tx: Connection, maker: Principal, name: str) -> Principal:
    """A supervisor's token that somebody made."""
    made = org.token_principal(tx, org.add_token(tx, maker, name, Role.SUPERVISOR, now_ms=NOW), NOW)
    assert made
    return made


@pytest.mark.parametrize("first", ["user", "token"])
def test_a_token_is_no_second_pair_of_eyes(db: Database, town: Town, first: str) -> None:
    chief = town.who("sun", Role.SUPERVISOR)
    admin = town.who("sun", Role.ADMINISTRATOR)
    with db.begin() as tx:
        bot, second, other = (
            token(tx, maker, name) for maker, name in ((admin, "bot"), (admin, "bot2"), (SYSTEM, "cli"))
        )
    mine = declare(db, chief if first == "user" else bot, town.street, 3)
    with db.begin() as tx:
        for same in (chief, bot, second):
            with pytest.raises(Forbidden, match="whoever declared it may not decide"):
                service.approve(tx, same, mine.id, NOW)
        assert service.approve(tx, other, mine.id, NOW).decided_by == "token:cli"
        with pytest.raises(Invalid, match="auditor cannot approve levels"):
            service.put_approver(tx, SYSTEM, town.district, Role.AUDITOR, NOW)
        with pytest.raises(Forbidden, match="may not declare levels"):
            service.declare(
                tx, town.who("he", Role.PROPERTY), town.street, 3, "x", now_ms=NOW, ends_at=NOW + 1
            )  # fmt: skip


def test_a_lower_unit_cannot_declare_laxer_and_the_node_above_is_named(db: Database, town: Town) -> None:
    in_force(db, town, town.district, 2)
    below = town.who("qian", node=town.community)
    for laxer in (3, 4):
        with pytest.raises(
            Conflict, match=rf"laxer than level 2 in force above it, at {town.district} \(雁塔, Yanta\)"
        ):
            declare(db, below, town.community, laxer)
    assert declare(db, below, town.community, 2).state == "pending"
    assert declare(db, below, town.community, 3, starts_at=NOW + 3 * HOUR, ends_at=NOW + 4 * HOUR).id
    with db.read() as tx:
        seen = service.node_level(tx, below, town.community, NOW)
    assert (seen.level, seen.declared, seen.since_node, seen.declaration, seen.pending) == (
        2, None, town.district, None, 2,
    )  # fmt: skip


def test_level_four_ends_a_stricter_one_early(db: Database, town: Town, told: list[tuple[str, int]]) -> None:
    with pytest.raises(Conflict, match="level 4 holds already"):
        declare(db, town.who("li"), town.street, 4)
    first = in_force(db, town, town.street, 1)
    later = in_force(db, town, town.street, 3, starts_at=NOW + HOUR)
    with pytest.raises(Invalid, match="has no times"):
        declare(db, town.who("li"), town.street, 4, ends_at=NOW + HOUR)
    assert declare(db, town.who("li"), town.street, 4).state == "ended"
    assert [level(db, town.street, NOW + at) for at in (0, HOUR)] == [4, 4]
    assert told == [(town.street, NOW)] * 2
    with db.begin() as tx:
        for each in (first, later):
            assert service.get_declaration(tx, SYSTEM, each.id, NOW).ended_by == "li"
            with pytest.raises(Conflict, match="is over already"):
                service.end(tx, town.who("li"), each.id, NOW)
        timers.tick(tx, NOW + DAY)
    assert len(told) == 2


def test_the_strictest_counts_and_what_remains_after_it_holds_again(
    db: Database, town: Town, told: list[tuple[str, int]]
) -> None:
    in_force(db, town, town.community, 2)
    in_force(db, town, town.street, 3)
    in_force(db, town, town.street, 1, ends_at=NOW + HOUR)
    assert [node for node, _ in told] == [town.community, town.street, town.street]
    assert [level(db, town.community, NOW + at) for at in (0, HOUR, 2 * HOUR)] == [1, 2, 4]
    assert [level(db, town.street, NOW + at) for at in (0, HOUR, 2 * HOUR)] == [1, 3, 4]


def test_a_level_is_renewed_by_a_new_decision_without_a_gap(db: Database, town: Town) -> None:
    made = in_force(db, town, town.street, 2, ends_at=NOW + 30 * DAY)
    with db.begin() as tx:
        with pytest.raises(Invalid, match="at most 30 days"):
            service.renew(tx, town.who("li"), made.id, ends_at=NOW + 61 * DAY, reason="still", now_ms=NOW + DAY)
        more = service.renew(tx, town.who("li"), made.id, ends_at=NOW + 60 * DAY, reason="still", now_ms=NOW + DAY)
        assert (more.level, more.state) == (2, "pending")
        service.approve(tx, town.who("sun", Role.SUPERVISOR), more.id, NOW + 2 * DAY)
    assert [level(db, town.street, NOW + days * DAY) for days in (29, 30, 59, 60)] == [2, 2, 2, 4]


def test_what_nobody_decided_lapses_and_what_was_rejected_stays_so(db: Database, town: Town) -> None:
    chief = town.who("sun", Role.SUPERVISOR)
    one, two = (declare(db, town.who("li"), town.street, 2) for _ in range(2))
    with db.begin() as tx:
        assert service.reject(tx, chief, two.id, NOW, "没有必要").decision_note == "没有必要"
        with pytest.raises(Conflict, match="its time is over"):
            service.approve(tx, chief, one.id, NOW + 3 * HOUR)
        timers.tick(tx, NOW + 3 * HOUR)
        with pytest.raises(Conflict, match="is expired already"):
            service.approve(tx, chief, one.id, NOW + 3 * HOUR)
        with pytest.raises(Conflict, match="is rejected already by sun"):
            service.approve(tx, chief, two.id, NOW)
    assert level(db, town.street) == 4


@pytest.mark.parametrize("second", [service.approve, service.reject])
def test_of_two_decisions_at_once_exactly_one_is_taken_D7(
    db: Database, town: Town, second: Callable[..., DeclarationView]
) -> None:
    made = declare(db, town.who("li"), town.street, 2)
    barrier = threading.Barrier(2)
    done: list[str] = []

    def decide(who: str, verb: Callable[..., DeclarationView]) -> None:
        barrier.wait(10)
        try:
            with db.begin() as tx:
                verb(tx, town.who(who, Role.SUPERVISOR), made.id, NOW, "x")
            done.append("decided")
        except Conflict as e:
            done.append(str(e))

    both = [
        threading.Thread(target=decide, args=("sun", service.approve)),
        threading.Thread(target=decide, args=("zhou", second)),
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(20)
    assert sorted(text[:7] for text in done) == ["decided", "level d"]
    with db.read() as tx:
        decided = sa.select(sa.func.count()).where(audit.c.action.in_(["level.approve", "level.reject"]))
        assert tx.execute(decided).scalar() == 1


def test_the_tree_is_scoped_and_pages_S4(db: Database, town: Town) -> None:
    in_force(db, town, town.street, 2)
    with db.read() as tx:
        seen: list[tuple[str, int, int]] = []
        cursor = None
        while True:
            page = service.tree_levels(tx, SYSTEM, NOW, limit=2, cursor=cursor)
            seen += [(each.node, each.depth, each.level) for each in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        inside = service.tree_levels(tx, town.who("q", node=town.street), NOW).items
        outside = service.list_declarations(tx, town.who("q", node=town.other), NOW).items
        with pytest.raises(NotFound):
            service.get_policies(tx, town.who("q", node=town.street), town.district)
        for wrong in ("x", "WyJhIl0"):
            with pytest.raises(Invalid, match="cursor"):
                service.tree_levels(tx, SYSTEM, NOW, cursor=wrong)
    assert seen == [
        ("/", 0, 4), (town.district, 1, 4), (town.street, 2, 2), (town.community, 3, 2), (town.other, 2, 4),
    ]  # fmt: skip
    assert [each.node for each in inside] == [town.street, town.community]
    assert inside[1].until
    assert list(outside) == []


def test_a_drills_level_changes_nothing_that_is_real(db: Database, town: Town, told: list[tuple[str, int]]) -> None:
    made = in_force(db, town, town.street, 1, drill=7)
    assert made.drill == 7
    assert [level(db, node) for node in (town.street, town.community)] == [4, 4]
    with db.begin() as tx:
        assert service.effective(tx, town.community, NOW, drill=7) == 1
        assert service.effective(tx, town.community, NOW, drill=8) == 4
        assert service.list_declarations(tx, SYSTEM, NOW).items == []
        assert [d.id for d in service.list_declarations(tx, SYSTEM, NOW, drill=7).items] == [made.id]
        assert service.declare(
            tx, town.who("li"), town.community, 3, "real", now_ms=NOW, ends_at=NOW + HOUR
        ).state == "pending"  # fmt: skip
        assert service.end_drill(tx, SYSTEM, 7, NOW) == 1
        assert service.effective(tx, town.street, NOW, drill=7) == 4
    assert told == []


def test_policies_come_from_the_nearest_table_and_may_not_be_laxer(
    db: Database, town: Town, told: list[tuple[str, int]]
) -> None:
    with db.begin() as tx:
        assert service.policy(tx, town.community, 1) == BUILT_IN[1]
        assert service.put_policies(tx, SYSTEM, town.district, {1: Policy(300, 30, 20, 30)}, NOW)
        assert not service.put_policies(tx, SYSTEM, town.district, {1: Policy(300, 30, 20, 30)}, NOW)
        assert service.policy(tx, town.community, 1).headcount_percent == 300
        assert service.put_policies(tx, SYSTEM, town.street, {2: Policy(200, 50, 45, 50)}, NOW)
        assert service.policy(tx, town.community, 2).headcount_percent == 200
        assert service.policy(tx, town.other, 2) == BUILT_IN[2]
        with pytest.raises(Invalid, match="headcount_percent: level 1 is laxer than level 2"):
            service.put_policies(tx, SYSTEM, town.street, {1: Policy(150, 30, 20, 30)}, NOW)
        with pytest.raises(Invalid, match="escalation_percent: is 100 at level 4"):
            service.put_policies(tx, SYSTEM, town.street, {4: Policy(100, 100, 300, 90)}, NOW)
        assert service.put_policies(tx, SYSTEM, town.street, {}, NOW)
        assert service.policy(tx, town.community, 2) == BUILT_IN[2]
        with pytest.raises(Forbidden):
            service.put_policies(tx, town.who("sun", Role.SUPERVISOR), town.street, {}, NOW)
    assert told == [(town.district, NOW), (town.street, NOW), (town.street, NOW)]


def test_policies_are_imported_by_code_and_twice_changes_nothing(db: Database, town: Town) -> None:
    row = {"headcount_percent": 180, "revisit_percent": 50, "reporting_s": 40, "escalation_percent": 50}
    section: list[dict[str, Any]] = [{"node": "ch", "level": 2, **row}, {"node": "yt", "approver": "administrator"}]
    for _ in range(2):
        with db.begin() as tx:
            assert importing.apply(tx, SYSTEM, {"policies": section}, NOW) == {"policies": 2}
    with db.read() as tx:
        assert service.policy(tx, town.community, 2).headcount_percent == 180
        assert service.approver_of(tx, town.community) is Role.ADMINISTRATOR
        assert tx.execute(sa.select(sa.func.count()).where(audit.c.action.like("level.%"))).scalar() == 2


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"node": "nowhere", "level": 2}, r"policies\[1\]\.node nowhere: not known"),
        ({"level": 2}, r"policies\[1\]\.node: is missing"),
        ({"node": "ch", "level": 2}, r"policies\[1\]\.headcount_percent: Field required"),
        ({"node": "ch", "approver": "king"}, r"policies\[1\]\.approver: 'king' is no role"),
        ({"node": "ch", "approver": "supervisor", "level": 1}, r"policies\[1\]\.level: unknown key beside approver"),
        (
            {"node": "ch", "level": 2, "headcount_percent": 90, "revisit_percent": 60, "reporting_s": 60,
             "escalation_percent": 60},
            r"policies\[1\]\.headcount_percent: level 2 is laxer than level 3",
        ),
    ],
)  # fmt: skip
def test_a_wrong_entry_names_section_entry_and_key(db: Database, town: Town, entry: dict[str, Any], said: str) -> None:
    with pytest.raises((Invalid, NotFound), match=said), db.begin() as tx:
        importing.apply(tx, SYSTEM, {"policies": [entry]}, NOW)
