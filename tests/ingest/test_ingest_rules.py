"""Sequence marks: any order and any number of packs give one state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.rules import MAX_RANGES, Mark, checked_header, take
from firmware_specs.errors import PackError
from firmware_specs.readings import Lane
from firmware_specs.wire import PackHeader


def head(first: int, count: int, base: int = 1) -> PackHeader:
    return PackHeader("e", Lane.TELEMETRY, first, count, base, "b")


packs = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 12), st.integers(0, 59)).map(
        lambda p: head(p[0], p[1], max(1, p[0] - p[2]))
    ),
    max_size=25,
)


@given(packs, st.randoms(use_true_random=False))
def test_d7_any_order_and_repeats_of_packs_give_the_same_mark(told: list[PackHeader], chance: object) -> None:
    shuffle = getattr(chance, "shuffle")  # noqa: B009 - hypothesis gives a Random
    mark = Mark()
    for header in told:
        mark = take(mark, header)
    again = told + told[::2]
    shuffle(again)
    other = Mark()
    for header in again:
        other = take(other, header)
    assert other == mark


@given(packs)
def test_a_mark_counts_as_a_set_would(told: list[PackHeader]) -> None:
    mark, seen, base = Mark(), set[int](), 1
    for header in told:
        covered = set(range(header.first, header.through + 1))
        missing = {n for low, high in mark.missing(header.first, header.through) for n in range(low, high + 1)}
        assert missing == covered - seen
        assert mark.has(header.first, header.through) == (not missing)
        mark = take(mark, header)
        seen |= covered
        base = max(base, header.base)
        through = base - 1
        while through + 1 in seen:
            through += 1
        assert mark.through == through
        assert mark.lost == len(set(range(1, base)) - seen)


def test_what_is_given_up_and_arrives_is_no_longer_lost() -> None:
    mark = take(Mark(), head(11, 5, base=11))
    assert (mark.lost, mark.through) == (10, 15)
    mark = take(mark, head(1, 10))
    assert (mark.lost, mark.through, mark.seen) == (0, 15, ((1, 15),))


def test_a_mark_stays_bounded_and_keeps_counting() -> None:
    mark = Mark()
    for i in range(3 * MAX_RANGES):
        mark = take(mark, head(2 * i + 2, 1, base=2 * i + 2))
    assert len(mark.seen) == MAX_RANGES
    assert mark.lost == 3 * MAX_RANGES
    assert mark.through == 6 * MAX_RANGES


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (head(1, 10_000_001), "pack refused: property count: 10000001 sequence numbers, more than 10000000"),
        (head(2**43, 1), "pack refused: property first: sequence 8796093022208 is not below 2^43"),
    ],
)
def test_a_header_beyond_counting_is_refused_by_name(header: PackHeader, message: str) -> None:
    with pytest.raises(PackError) as refused:
        checked_header(header)
    assert str(refused.value) == message
    assert checked_header(head(5, 10)) == head(5, 10)
