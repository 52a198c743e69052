"""P3 on InfluxDB, whose bucket keeps everything alike: positions are deleted when their own time is over."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from cloud.telemetry.influx import InfluxStore
from cloud.telemetry.store import Retention
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_800_000_000_000


class Peer(HTTPServer):
    """Stands where InfluxDB would, keeps what it was asked and answers with a status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.status = 204


class _Handler(BaseHTTPRequestHandler):
    server: Peer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_P3_positions_older_than_their_days_are_deleted_and_nothing_else(peer: Peer, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{peer.server_port}?org=o&bucket=b"
    store = InfluxStore(url, tmp_path, "t", Retention(track_days=7))
    store.retain(NOW)
    ((path, body),) = peer.asked
    assert path == "/api/v2/delete?org=o&bucket=b"
    assert body["predicate"] == '_measurement="patrol" AND metric="position"'
    assert (body["start"][:10], body["stop"][:19]) == ("1970-01-01", "2027-01-08T08:00:00")
    peer.status = 403
    with pytest.raises(StoreError, match="deletion refused: 403"):
        store.retain(NOW)
    store.close()
