"""The journal before a series server: order, room, restarts of the server and of the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud.telemetry import journal
from cloud.telemetry.journal import Journal
from firmware_specs.errors import StoreError
from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


class Server:
    """What stands behind the journal: what it took, which process it is, whether it answers."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.process = "1"
        self.answers = True

    def started(self) -> str:
        self._reached()
        return self.process

    def send(self, lines: Sequence[str]) -> None:
        self._reached()
        self.took += lines

    def _reached(self) -> None:
        if not self.answers:
            raise StoreError("server", "not reachable")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask often."""
    monkeypatch.setattr(journal, "_AGAIN_FIRST_S", 0.01)
    monkeypatch.setattr(journal, "_AGAIN_MOST_S", 0.02)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def opened(server: Server, tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Open the journal of the server; all are closed at the end."""
    made: list[Journal] = []

    def open_it(most_bytes: int = journal.MOST_BYTES) -> Journal:
        made.append(Journal(tmp_path / "journal.db", "server", server.started, server.send, most_bytes))
        return made[-1]

    yield open_it
    for each in made:
        each.close()


def caught_up(kept: Journal) -> bool:
    return not kept.stats()["journal_waiting_bytes"] and not kept.away_s()


def test_what_comes_while_the_server_is_away_follows_in_order(server: Server, opened: Callable[..., Journal]) -> None:
    kept = opened()
    kept.write(["a"])
    server.answers = False
    for line in "bcd":
        kept.write([line])
    assert server.took == ["a"]
    assert kept.ask() > 0
    server.answers = True
    support.wait_for(lambda: caught_up(kept), 5, "the backlog")
    assert server.took[-3:] == ["b", "c", "d"]
    kept.write(["e"])
    assert server.took[-1] == "e"


def test_a_journal_without_room_accepts_nothing_more_until_there_is(
    server: Server, opened: Callable[..., Journal]
) -> None:
    kept = opened(most_bytes=64)
    server.answers = False
    kept.write(["first"])
    kept.write(["second"])
    with pytest.raises(StoreError, match=r"^server: not reachable, and the journal is full: 0 MiB$"):
        kept.write(["a third, for which there is no room any more"])
    server.answers = True
    support.wait_for(lambda: caught_up(kept), 5, "the backlog")
    kept.write(["last"])
    assert server.took == ["first", "second", "last"]


def test_what_waits_outlives_the_cloud(server: Server, opened: Callable[..., Journal]) -> None:
    server.answers = False
    first = opened()
    first.write(["a"])
    first.write(["b"])
    first.close()
    server.answers = True
    after = opened()
    support.wait_for(lambda: caught_up(after), 5, "the backlog")
    assert server.took == ["a", "b"]


def test_a_server_that_was_restarted_is_sent_all_of_late_again(server: Server, opened: Callable[..., Journal]) -> None:
    kept = opened()
    kept.write(["a"])
    kept.write(["b"])
    server.took, server.process = [], "2"
    kept.ask()
    support.wait_for(lambda: caught_up(kept), 5, "what was sent lately")
    assert server.took == ["a", "b"]
    kept.catch_up()
    assert server.took == ["a", "b"]


def test_a_restart_that_another_process_saw_first_loses_nothing(server: Server, opened: Callable[..., Journal]) -> None:
    worker, ingest = opened(), opened()
    assert worker.ask() == ingest.ask() == 0
    ingest.write(["a"])
    server.took, server.process = [], "2"
    worker.ask()
    support.wait_for(lambda: "a" in server.took, 5, "what was sent lately")
    ingest.write(["b"])
    server.took, server.process = [], "3"
    server.answers = False
    ingest.write(["c"])
    server.answers = True
    support.wait_for(lambda: caught_up(ingest) and caught_up(worker), 5, "the backlog")
    assert {"a", "b", "c"} <= set(server.took)


def test_what_the_same_server_took_long_ago_is_forgotten(
    server: Server, opened: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = opened()
    kept.write(["a"])
    monkeypatch.setattr(journal, "KEEP_S", -1.0)
    kept.ask()
    server.took, server.process = [], "2"
    kept.catch_up()
    assert server.took == []
