"""The ledger and the sequence numbers agree whatever comes, and what is lost is listed with its cause (D6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.ingest import service as ingest
from cloud.ingest.commit import Incoming
from firmware_specs.readings import GapReason, GapReport, Lane
from tests.ingest.ingest_packs import NOW, Cloud, on_sqlite, pack, reading

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.ingest.service import Account


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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packs=st.lists(
        st.tuples(
            st.sampled_from(["e1", "e2"]), st.integers(1, 30), st.integers(1, 8), st.integers(0, 29), st.booleans()
        ),
        max_size=15,
    )
)
def test_ledger_and_numbers_agree_whatever_comes_D6(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, packs: list[tuple[str, int, int, int, bool]]
) -> None:
    with on_sqlite(sqlite_template, tmp_path_factory.mktemp("cloud")) as cloud:
        for epoch, first, count, base, whole in packs:
            offsets = list(range(count)) if whole else [count - 1]
            items = [reading(float(n), NOW + n) for n in offsets]
            cloud.commit(pack(items, first, epoch=epoch, base=min(max(base, 1), first), count=count, offsets=offsets))
        found = account(cloud)
    assert found.unexplained == 0
    assert found.ledger.lost == sum(lane.lost for lane in found.lanes)
