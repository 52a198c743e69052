"""Arbitrary bytes into the ingest path: taken, refused or set aside, never an uncaught error (S8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.ingest import hooks
from cloud.ingest.commit import Incoming
from cloud.loaded import LOADED
from firmware_specs.readings import AlarmPhase
from tests.ingest.ingest_packs import NOW, Cloud, alarm, on_sqlite, pack, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

assert LOADED  # whoever takes what gateways tell has entered
GOOD = pack([reading(1.5), reading("x", metric="status"), alarm("o-1"), alarm("o-1", AlarmPhase.CLEARED)])

TAKEN = ["result/r-1", *sorted(set(hooks.DOCUMENTS) - {"result"})]
"""What other folders take."""

names = st.sampled_from(["epoch", "first", "count", "base", "boot", "encoding", "x"])
texts = st.one_of(st.text(max_size=20), st.integers(-5, 2**70).map(str), st.sampled_from(["e1", "zstd", "1"]))
properties = st.one_of(
    st.just(GOOD.properties), st.lists(st.tuples(names, texts), max_size=7).map(tuple),
    st.tuples(st.just(("epoch", "e1")), st.just(("boot", "b")), st.tuples(st.just("first"), texts),
              st.tuples(st.just("count"), texts), st.tuples(st.just("base"), texts)),
)  # fmt: skip


def damaged(chance: tuple[int, int, bytes]) -> bytes:
    begin, length, put = chance
    begin %= len(GOOD.payload)
    return GOOD.payload[:begin] + put + GOOD.payload[begin + length :]


payloads = st.one_of(
    st.binary(max_size=300),
    st.tuples(st.integers(0, 10**6), st.integers(0, 30), st.binary(max_size=12)).map(damaged),
    st.just(b"[" * 100_000), st.just(GOOD.payload), st.sampled_from([b"{}", b"[]", b"null", b'{"id":"r-1"}']),
)  # fmt: skip
messages = st.builds(
    Incoming, st.sampled_from(["gw-1", "gw-2", "stranger"]),
    st.sampled_from(["up/alarms", "up/telemetry", "up/zzz", "status", "reported", "canary", *TAKEN]), properties,
    payloads, st.booleans(),
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One cloud for all examples: what arbitrary messages leave behind must not matter to the next."""
    with on_sqlite(sqlite_template, tmp_path_factory.mktemp("cloud")) as made:
        yield made


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(messages, min_size=1, max_size=5))
def test_s8_arbitrary_messages_never_raise(shared: Cloud, batch: list[Incoming]) -> None:
    for ack in shared.commit_all(batch, NOW):
        assert ack.gateway in {"gw-1", "gw-2"}
        assert ack.ack.through >= 0
