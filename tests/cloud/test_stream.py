"""The event stream over real HTTP: resumable, scoped, quick, and merciless to slow clients."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from cloud import stream
from cloud.alerts import service as alerts
from cloud.db import open_database
from cloud.devices import service as devices
from cloud.org import service as org
from cloud.org.rules import SYSTEM, Role
from cloud.paging import Page
from tests.cloud.cloud_support import NOW, Event, Served, cleared, know, raised, reading, streaming, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cloud.db import Database


def ring(db: Database, number: int, gateway: str = "gw-1") -> None:
    """An alarm of a kind that opens no incident: one event of the stream."""
    with db.begin() as tx:
        event = raised(f"o{number}", device=f"d{number}", kind="tamper")
        alerts.apply_events(tx, gateway, "e", [(number, event)], NOW)


def following(source: Iterator[Event], kind: str = "alarm") -> Event:
    return next(event for event in source if event.kind == kind)


def test_an_alarm_is_told_as_it_happens(service: Served) -> None:
    know(service.db, "gw-1")
    with streaming(service) as source:
        ring(service.db, 1)
        event = following(source)
        assert (event.data["kind"], event.data["state"]) == ("tamper", "open")
        with service.client() as api:
            api.post(f"/alarms/{event.data['id']}/ack", json={})
        assert following(source).data["state"] == "acknowledged"


def test_from_commit_to_client_takes_milliseconds_D1(service: Served) -> None:
    know(service.db, "gw-1")
    spans = []
    with streaming(service) as source:
        for number in range(1, 31):
            begun = time.perf_counter()
            ring(service.db, number)
            following(source)
            spans.append(time.perf_counter() - begun)
    assert sorted(spans)[15] < 0.1


def test_a_client_resumes_where_it_was(service: Served) -> None:
    know(service.db, "gw-1")
    with streaming(service) as source:
        ring(service.db, 1)
        last = following(source).id
    for number in range(2, 1300):
        if number % 100 == 0 or number < 5:
            ring(service.db, number)
    with streaming(service, last) as source:
        missed = [following(source).data["device"] for _ in range(15)]
        ring(service.db, 2000)
        assert following(source).data["device"] == "d2000"
    assert missed == ["d2", "d3", "d4", *(f"d{n}" for n in range(100, 1300, 100))]


def test_more_is_missed_than_a_page_and_nothing_comes_twice(service: Served) -> None:
    know(service.db, "gw-1")
    ring(service.db, 1)
    many = [(n, raised(f"o{n}", device=f"d{n}", kind="tamper")) for n in range(2, 1202)]
    with service.db.begin() as tx:
        alerts.apply_events(tx, "gw-1", "e", many, NOW)
    with streaming(service, 1) as source:
        ids = [following(source).id for _ in range(1200)]
    assert ids == list(range(2, 1202))


@pytest.mark.parametrize("last", [10**17, 0])
def test_an_id_that_cannot_be_resumed_is_told_by_a_reset(service: Served, last: int) -> None:
    know(service.db, "gw-1")
    for number in range(1, 5):
        ring(service.db, number)
    with service.db.begin() as tx:
        stream.forget(tx, NOW + 1)
    with streaming(service, last) as source:
        event = next(source)
        assert (event.kind, event.id) == ("reset", 4)
        ring(service.db, 5)
        assert following(source).id == 5


def test_a_stream_is_scoped_like_everything_S4(service: Served) -> None:
    know(service.db, "gw-1", node="/1/")
    know(service.db, "gw-2", node="/10/")
    ring(service.db, 1, "gw-1")
    token = service.token(Role.DISPATCHER, "/10/")
    with streaming(service, 0, token=token) as source:
        ring(service.db, 2, "gw-2")
        ring(service.db, 3, "gw-1")
        ring(service.db, 4, "gw-2")
        assert [following(source).data["device"] for _ in range(2)] == ["d2", "d4"]


def test_live_values_are_told_once_a_second_without_an_id(service: Served) -> None:
    know(service.db, "gw-1")
    with streaming(service) as source:
        for number in range(1, 200):
            now = int(time.time() * 1000)
            with service.db.begin() as tx:
                devices.apply_readings(tx, "gw-1", "e", [(number, reading("smk-1", "smoke", number, now))], now)
        told: list[float] = []
        while not told or told[-1] < 199:
            event = following(source, "device")
            assert event.id is None
            told.append(event.data["latest"]["smoke"]["value"])
    assert len(told) < 20


def test_a_revoked_token_ends_its_stream_S3(serve: Callable[..., AbstractContextManager[Served]]) -> None:
    with serve(http={"heartbeat_s": 0.2}) as served:
        token = served.token()
        with streaming(served, token=token) as source:
            with served.db.begin() as tx:
                org.revoke_token(tx, SYSTEM, org.list_tokens(tx, NOW)[0].name, NOW)
            assert list(source) == []


def test_a_slow_client_is_cut_and_resumes(serve: Callable[..., AbstractContextManager[Served]]) -> None:
    with serve(http={"stream_queue": 10}) as served:
        know(served.db, "gw-1")
        host, _, port = served.url.removeprefix("http://").partition(":")
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((host, int(port)))
            request = f"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token()}\r\n\r\n"
            slow.sendall(request.encode())
            clients = served.app.state.patrol.broadcaster.clients
            wait_for(lambda: clients, 10, "the slow client")
            with served.db.begin() as tx:
                for _ in range(500):
                    stream.append(tx, "test", Page(items=["x" * 20_000]), at=NOW, node="/")
            wait_for(lambda: all(client.cut for client in clients), 30, "the slow client to be cut")
        with streaming(served, 490) as source:
            assert [following(source, "test").id for _ in range(10)] == list(range(491, 501))


def test_another_processs_commit_is_told(service: Served, database_url: str, tmp_path: Path) -> None:
    know(service.db, "gw-1")
    other = open_database(database_url, tmp_path)
    with streaming(service) as source:
        with other.begin() as tx:
            alerts.apply_events(tx, "gw-1", "e", [(1, raised("o1"))], NOW)
        assert following(source).data["occurrence"] == "o1"
        with other.begin() as tx:
            alerts.apply_events(tx, "gw-1", "e", [(2, cleared("o1"))], NOW)
        assert following(source).data["state"] == "cleared"
    other.close()
