"""The ledger and the sequence numbers agree whatever comes, and what is lost is listed with its cause (D6)."""

from __future__ import annotations

import uuid
from enum import Enum
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.devices import service as devices
from cloud.ingest import service as ingest
from cloud.ingest.commit import Incoming
from cloud.ingest.store import Tally
from cloud.org.rules import SYSTEM
from cloud.telemetry.store import DAY_MS
from firmware_specs.readings import GapReason, GapReport, Lane
from tests.ingest.ingest_packs import NOW, Cloud, on_sqlite, pack, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloud.ingest.service import Account
    from firmware_specs.readings import Item


def account(cloud: Cloud) -> Account:
    with cloud.database.read() as tx:
        return ingest.account(tx, "gw-1")


@pytest.mark.peer
def test_a_clean_lane_is_all_there_D6(cloud: Cloud) -> None:
    cloud.commit(pack([reading(float(n)) for n in range(5)]))
    found = account(cloud)
    (lane,) = found.lanes
    assert (lane.through, lane.arrived, lane.lost, lane.coming) == (5, 5, 0, 0)
    assert (found.losses, found.unexplained) == ((), 0)


@pytest.mark.peer
def test_what_is_lost_says_which_and_why_D6(cloud: Cloud) -> None:
    gap = GapReport(Lane.TELEMETRY, "e0", 7, GapReason.QUARANTINED, NOW - 9, NOW - 5)
    cloud.commit(
        pack([reading(), reading(), gap]),
        pack([reading()], 9, base=6),  # 4 and 5 are given up, 6 to 8 still come
        pack([reading()], 1, epoch="e2", count=3, offsets=[2]),  # two were thinned
    )
    poisoned = pack([reading()], 4, epoch="e2", count=1)
    cloud.commit(Incoming("gw-1", poisoned.kind, poisoned.properties, b"{"))
    found = account(cloud)
    causes = {(loss.cause, loss.epoch, loss.first, loss.last, loss.numbers) for loss in found.losses}
    assert {("epoch-ended", "e1", 4, 5, 2), ("quarantined", "e0", 0, 0, 7), ("refused", "", 0, 0, 0)} <= {
        ("epoch-ended" if cause == "never-sent" else cause, *rest) for cause, *rest in causes
    }
    assert (found.poisoned, found.quarantined, found.unexplained) == (1, 7, 0)
    assert found.ledger.lost == 2 + 7 + 1
    assert {(lane.epoch, lane.coming) for lane in found.lanes} == {("e1", 3), ("e2", 0)}


class Shape(Enum):
    """What is in a pack."""

    WHOLE = "whole"
    THINNED = "thinned"
    """Only the last of its numbers is there."""
    POISON = "poison"
    """It cannot be read."""
    GAP = "gap"
    """Its first item says that three were lost before they had a number."""


MIDNIGHT = NOW // DAY_MS * DAY_MS
PACKS = st.lists(
    st.tuples(
        st.tuples(st.sampled_from(["e1", "e2"]), st.sampled_from(Lane)),
        st.integers(1, 30),
        st.integers(1, 8),
        st.integers(1, 30),
        st.sampled_from(Shape),
        # By a clock that crosses midnight, goes back, and was never set.
        st.sampled_from([MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + DAY_MS, MIDNIGHT - 3 * DAY_MS, 5]),
        st.integers(1, 2),
    ),
    max_size=15,
)


class Book:
    """What the ledger must say, by sets of numbers instead of ranges."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, Lane], set[int]] = {}
        self.base: dict[tuple[str, Lane], int] = {}
        self.days: dict[int, Tally] = {}

    def never_came(self, key: tuple[str, Lane]) -> int:
        return len(set(range(1, self.base.get(key, 1))) - self.seen.get(key, set()))

    def take(self, key: tuple[str, Lane], numbers: range, base: int, shape: Shape, now_ms: int) -> None:
        lost, new = self.never_came(key), set(numbers) - self.seen.setdefault(key, set())
        self.seen[key] |= new
        self.base[key] = max(base, self.base.get(key, 1))
        lost = self.never_came(key) - lost
        there = {Shape.WHOLE: new, Shape.THINNED: {numbers[-1]}, Shape.POISON: set(), Shape.GAP: new}[shape] & new
        is_gap = shape is Shape.GAP and numbers[0] in new
        lost += len(new) * (shape is Shape.POISON) + 3 * is_gap
        late = (len(there) - is_gap) * (now_ms - NOW > 900_000)
        gained = Tally(len(there), late, (len(new) - len(there)) * (shape is not Shape.POISON), lost)
        if any(gained):
            day = now_ms // DAY_MS * DAY_MS
            self.days[day] = self.days.get(day, Tally()).plus(gained)


def shaped(gateway: str, key: tuple[str, Lane], numbers: range, base: int, shape: Shape) -> Incoming:
    offsets = [len(numbers) - 1] if shape is Shape.THINNED else list(range(len(numbers)))
    items: list[Item] = [reading(float(n)) for n in offsets]
    if shape is Shape.GAP:
        items[0] = GapReport(Lane.TELEMETRY, "e0", 3, GapReason.QUARANTINED, NOW, NOW)
    made = pack(
        items, numbers[0], gateway=gateway, epoch=key[0], lane=key[1], base=base, count=len(numbers), offsets=offsets
    )
    return made._replace(payload=b"{") if shape is Shape.POISON else made


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Cloud]:
    """A cloud for many examples, each with a gateway of its own."""
    with on_sqlite(sqlite_template, tmp_path_factory.mktemp("cloud")) as made:
        yield made


@settings(max_examples=50, deadline=None)
@given(packs=PACKS)
def test_the_ledger_of_each_day_is_what_became_of_every_number_D6(
    one: Cloud, packs: list[tuple[tuple[str, Lane], int, int, int, Shape, int, int]]
) -> None:
    gateway, book = f"gw-{uuid.uuid4().hex}", Book()
    with one.database.begin() as tx:
        devices.add_gateway(tx, SYSTEM, gateway, 1)
    for key, first, count, told, shape, now_ms, times in packs:
        numbers, base = range(first, first + count), min(told, first)
        one.commit(*[shaped(gateway, key, numbers, base, shape)] * times, now_ms=now_ms)
        book.take(key, numbers, base, shape, now_ms)
    with one.database.read() as tx:
        days = {each.begins_ms: each.tally for each in ingest.ledger_days(tx, gateway)}
        found = ingest.account(tx, gateway)
    assert days == book.days
    assert found.ledger == Tally(*(sum(parts) for parts in zip(Tally(), *days.values(), strict=True)))
    assert found.unexplained == 0
    assert found.ledger.lost == sum(lane.lost for lane in found.lanes) + found.quarantined + found.poisoned
