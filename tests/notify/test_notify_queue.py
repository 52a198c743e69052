"""Messages in, deliveries out, on both databases: who hears, repeats, limits, digests, failures, crashes (D7, D11)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from cloud import metrics
from cloud.alerts.notify import channels, deliveries, queue, service, store
from cloud.alerts.notify.models import ChannelChange, ChannelState, DeliveryFilter, Status
from cloud.alerts.notify.queue import Outcome
from cloud.errors import Conflict, NotFound
from cloud.org import tree
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.org.tree import Kind
from firmware_specs.readings import Severity
from tests.cloud.cloud_support import NOW
from tests.notify.notify_support import Work, channel, listed, message, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud.config import Config
    from cloud.db import Database
    from tests.notify.receivers import Hooks

MINUTE = 60_000
URL = "https://hook.example.com/h"


@pytest.fixture
def work(db: Database, configured: Callable[..., Config], hooks: Hooks) -> Work:
    """A sender with one channel to a receiver that takes everything."""
    channel(db, hooks.url, [hooks.host], language="en", rate=3)
    return Work(configured(notify={"allow_hosts": [hooks.host]}), db)


def test_channels_at_and_above_the_node_hear_those_who_are_named(db: Database) -> None:
    with db.begin() as tx:
        street = tree.add_node(tx, SYSTEM, "/", Kind.STREET, ("街道", "Street"), now_ms=NOW).path
        other = tree.add_node(tx, SYSTEM, "/", Kind.STREET, ("另街", "Other"), now_ms=NOW).path
        house = tree.add_node(tx, SYSTEM, street, Kind.BUILDING, ("楼", "House"), now_ms=NOW).path
    made: dict[str, dict[str, Any]] = {
        "root": {}, "street": {"node": street}, "house": {"node": house}, "other": {"node": other},
        "auditors": {"audience": ["auditor"]}, "li": {"audience": ["user:li"]},
        "critical": {"min_severity": "critical"}, "drills": {"sandbox": True}, "off": {"enabled": False},
    }  # fmt: skip
    for name, more in made.items():
        channel(db, URL, name=name, **{"audience": ["dispatcher"], **more})

    def told(**more: object) -> set[str]:
        before = {row.id for row in listed(db)}
        put(db, message(str(len(before)), **more))
        return {row.channel_name for row in listed(db) if row.id not in before}

    assert told(node=street) == {"root", "street"}
    assert told(node=house) == {"root", "street", "house"}
    assert told(node=house, roles=(Role.AUDITOR,)) == {"auditors"}
    assert told(node=house, roles=(), users=("li",)) == {"li"}
    assert told(roles=(Role.DISPATCHER,), severity=Severity.CRITICAL) == {"root", "critical"}
    assert told(roles=(Role.DISPATCHER,), urgent=True) == {"root", "critical"}
    assert told(node=house, drill=True) == {"drills"}


def test_the_same_key_again_makes_nothing_D7(db: Database) -> None:
    channel(db, URL, name="a")
    channel(db, URL, name="b")
    assert put(db, message(), message(), message("other")) == [2, 0, 2]
    long = "k" * 300
    assert put(db, message(long + "1"), message(long + "2"), message(long + "1")) == [2, 2, 0]


def test_a_message_is_kept_with_its_cause_or_not_at_all(db: Database) -> None:
    channel(db, URL)

    def fail() -> None:
        with db.begin() as tx:
            service.enqueue(tx, message(), NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert listed(db) == []


def test_a_message_that_no_channel_hears_is_counted(db: Database) -> None:
    def count() -> float:
        return metrics.REGISTRY.get_sample_value("patrol_notify_unheard_total", {"urgent": "true"}) or 0

    before = count()
    assert put(db, message(urgent=True)) == [0]
    assert count() == before + 1


def test_beyond_its_rate_a_channel_gets_one_digest_and_every_urgent_message(
    work: Work, db: Database, hooks: Hooks
) -> None:
    for n in range(3):
        put(db, message(f"a{n}", values={"what": f"early {n}"}))
    assert work.drain() == 3
    put(db, *(message(f"b{n}", values={"what": f"late {n}"}) for n in range(40)))
    put(db, *(message(f"fire{n}", values={"what": f"fire {n}"}, urgent=True) for n in range(10)))
    assert work.drain() == 10, "only the urgent ones"
    assert all("fire" in got.data["title"] for got in hooks.got[3:])
    work.now += MINUTE
    assert work.drain() == 1
    digest = hooks.got[-1].data
    assert digest["title"] == "40 messages in one"
    assert all(f"late {n}" in digest["body"] for n in range(40))
    counted = [row.status for row in listed(db)]
    assert (counted.count(Status.SENT), counted.count(Status.DIGESTED), len(counted)) == (14, 40, 54)
    (whole,) = listed(db, subject="digest")
    assert {row.digest for row in listed(db, status=["digested"])} == {whole.id}


def test_a_burst_at_once_goes_as_one(work: Work, db: Database, hooks: Hooks) -> None:
    put(db, *(message(f"b{n}", values={"what": str(n)}) for n in range(30)))
    assert work.drain() == 1
    assert hooks.got[0].data["title"] == "30 messages in one"


def test_a_digest_by_text_message_says_how_many_it_cannot_list(db: Database) -> None:
    target = "vonage://abcd1234:abcdef0123456789@15551234567/15551234568"
    channel(db, target, kind="apprise", language="en", rate=3)
    put(db, *(message(f"b{n}", values={"what": f"smoke {n:02}"}) for n in range(30)))
    with db.begin() as tx:
        (taken,) = queue.take(tx, NOW, 65_000, free={}, most=2, places=9)
    assert len(f"{taken.title}\n{taken.body}") <= 140
    first, *listed_lines, more = taken.body.split("\n")
    assert first == "These messages are sent together:"
    assert listed_lines == [f"· Major alarm: smoke {n:02}" for n in range(len(listed_lines))]
    assert more == f"… and {30 - len(listed_lines)} more; see the console"


def test_what_comes_and_goes_waits_and_goes_as_one(work: Work, db: Database, hooks: Hooks) -> None:
    for n in range(8):
        put(db, message(f"f{n}", subject_id=n), now=NOW + n * MINUTE // 2)
        work.now = NOW + n * MINUTE // 2
        work.drain()
    assert len(hooks.got) == 3
    put(db, message("urgent", urgent=True), now=work.now)
    assert work.drain() == 1, "an urgent one never waits"
    work.now = NOW + 3 * MINUTE // 2 + 10 * MINUTE
    assert work.drain() == 1
    assert hooks.got[-1].data["title"] == "5 messages in one"
    put(db, message("told", values={"what": "says so itself"}, digest=True), now=work.now)
    assert work.drain() == 0
    work.now += 10 * MINUTE
    assert work.drain() == 1
    assert "says so itself" in hooks.got[-1].data["title"], "a lone one needs no list"


def test_a_digest_that_fails_for_good_has_failed_for_all_that_it_lists(work: Work, db: Database, hooks: Hooks) -> None:
    hooks.answer = lambda _: (500, {}, b"")
    put(db, *(message(f"b{n}", values={"what": str(n)}) for n in range(5)))
    for _ in range(15):
        work.drain()
        work.now += 1_800_000
    assert {row.status for row in listed(db)} == {Status.FAILED}
    assert len(hooks.got) == 15


def test_between_sending_and_noting_a_crash_means_once_more_under_the_same_name_D7(
    work: Work, db: Database, hooks: Hooks
) -> None:
    """What a killed worker leaves behind: taken, sent, not noted."""
    put(db, message())
    with db.begin() as tx:
        (taken,) = queue.take(tx, NOW, 65_000, free={}, most=2, places=9)
    assert work.sender.deliver(taken).sent
    assert work.drain() == 0, "it is taken for now"
    work.now += 65_000
    assert work.drain() == 1
    first, second = hooks.got
    assert first.headers["X-PatrolGrid-Delivery"] == second.headers["X-PatrolGrid-Delivery"]
    assert (first.data["attempt"], second.data["attempt"]) == (1, 2)
    with db.begin() as tx:
        queue.note(tx, taken, Outcome(False, "late news"), work.now)
    (row,) = listed(db)
    assert (row.status, row.attempts) == (Status.SENT, 2)


@pytest.mark.parametrize(("urgent", "tries"), [(False, 15), (True, 55)])
def test_what_its_sender_dies_of_each_time_is_given_up_and_shown(db: Database, urgent: bool, tries: int) -> None:
    channel(db, URL)
    put(db, message(urgent=urgent))
    now, taken = NOW, 0
    for _ in range(tries + 3):
        with db.begin() as tx:
            taken += len(queue.take(tx, now, 65_000, free={}, most=2, places=9))
        now += 65_000
    (row,) = listed(db, status=["failed"])
    assert (taken, row.attempts, row.receipt) == (tries, tries, queue.DIED)


def test_two_workers_at_once_send_each_message_once(db: Database) -> None:
    for n in range(6):
        channel(db, URL, name=f"c{n}")
    put(db, message())
    got: list[int] = []
    ready = threading.Barrier(2)

    def work() -> None:
        ready.wait()
        with db.begin() as tx:
            got.extend(taken.id for taken in queue.take(tx, NOW, 65_000, free={}, most=2, places=64))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got))
    with db.begin() as tx:
        got += [taken.id for taken in queue.take(tx, NOW, 65_000, free={}, most=2, places=64)]
    assert len(got) == len(set(got)) == 6


def test_a_channel_that_fails_for_five_minutes_is_named_until_it_works(work: Work, db: Database, hooks: Hooks) -> None:
    def failing(at: int) -> list[str]:
        with db.read() as tx:
            return service.failing(tx, at)

    hooks.answer = lambda _: (500, {}, b"broken")
    put(db, message())
    work.drain()
    assert failing(NOW + 5 * MINUTE - 1) == []
    assert failing(NOW + 5 * MINUTE) == ["desk"]
    with db.read() as tx:
        (shown,) = channels.list_channels(tx, SYSTEM).items
    assert (shown.state, shown.last_error, shown.waiting) == (ChannelState.FAILING, "HTTP 500: broken", 1)
    hooks.answer = lambda _: (200, {}, b"")
    work.now += 5 * MINUTE
    work.drain()
    assert failing(NOW + 9 * MINUTE) == []
    with db.read() as tx:
        assert channels.get_channel(tx, SYSTEM, shown.id).state is ChannelState.WORKING


def test_switching_off_and_removing_end_what_waits(db: Database) -> None:
    made = channel(db, URL)
    put(db, message())
    with db.begin() as tx:
        off = channels.change_channel(tx, SYSTEM, made.id, ChannelChange(enabled=False), now_ms=NOW, allowed=())
    assert (off.state, off.waiting) == (ChannelState.OFF, 0)
    (row,) = listed(db)
    assert (row.status, row.receipt) == (Status.FAILED, "the channel was switched off")
    with db.begin() as tx, pytest.raises(Conflict, match="switched off"):
        channels.try_out(tx, SYSTEM, made.id, NOW)
    with db.begin() as tx:
        deliveries.resend(tx, SYSTEM, row.id, NOW)
        assert queue.take(tx, NOW, 65_000, free={}, most=2, places=9) == []
    assert listed(db)[0].receipt == "the channel was switched off"
    with db.begin() as tx:
        channels.remove_channel(tx, SYSTEM, made.id, NOW)
    with db.read() as tx, pytest.raises(NotFound):
        channels.get_channel(tx, SYSTEM, made.id)
    with db.begin() as tx, pytest.raises(Conflict, match="its channel is gone"):
        deliveries.resend(tx, SYSTEM, row.id, NOW)
    assert listed(db)[0].channel_name == ""


def test_one_subjects_deliveries_and_sending_one_again(work: Work, db: Database, hooks: Hooks) -> None:
    put(db, message("a", subject="incident", subject_id=7), message("b", subject="incident", subject_id=8))
    work.drain()
    with db.read() as tx:
        (told,) = service.deliveries_of(tx, "incident", 7)
    assert (told.status, told.channel_name) == (Status.SENT, "desk")
    with db.begin() as tx:
        assert deliveries.resend(tx, SYSTEM, told.id, work.now).status is Status.WAITING
        with pytest.raises(Conflict, match="waiting"):
            deliveries.resend(tx, SYSTEM, told.id, work.now)
    assert work.drain() == 1
    first, second, again = (got.data["delivery"] for got in hooks.got)
    assert again in {first, second}
    assert again.startswith(f"{told.id}-")


def test_scope_holds_for_channels_and_deliveries_S4(db: Database) -> None:
    with db.begin() as tx:
        one = tree.add_node(tx, SYSTEM, "/", Kind.STREET, ("一", "One"), now_ms=NOW).path
        two = tree.add_node(tx, SYSTEM, "/", Kind.STREET, ("二", "Two"), now_ms=NOW).path
    mine, theirs = channel(db, URL, name="mine", node=one), channel(db, URL, name="theirs", node=two)
    put(db, message("1", node=one), message("2", node=two))
    inside = Principal("user", 1, "li", Role.ADMINISTRATOR, one)
    (foreign,) = listed(db, channel=theirs.id)
    with db.begin() as tx:
        assert [c.id for c in channels.list_channels(tx, inside).items] == [mine.id]
        assert {d.node for d in deliveries.list_deliveries(tx, inside, DeliveryFilter()).items} == {one}
        for call in (
            lambda: channels.get_channel(tx, inside, theirs.id),
            lambda: channels.change_channel(tx, inside, theirs.id, ChannelChange(), now_ms=NOW, allowed=()),
            lambda: channels.remove_channel(tx, inside, theirs.id, NOW),
            lambda: channels.try_out(tx, inside, theirs.id, NOW),
            lambda: deliveries.resend(tx, inside, foreign.id, NOW),
        ):
            with pytest.raises(NotFound):
                call()


def test_ended_deliveries_are_forgotten_and_waiting_ones_are_not(work: Work, db: Database) -> None:
    put(db, message("a"))
    work.drain()
    put(db, message("b"))
    with db.begin() as tx:
        deliveries.forget(tx, NOW + 1)
        assert tx.execute(sa.select(sa.func.count()).select_from(store.deliveries)).scalar() == 1
        assert queue.figures(tx, NOW + 5000) == (1, 5.0)
