"""What is peculiar to the stores behind a network, and every way of naming one wrongly."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.telemetry.influx import InfluxStore
from cloud.telemetry.lines import pack_text, unpack_text
from cloud.telemetry.store import DAY_MS, PointRefused, Retention, Series, open_store
from cloud.telemetry.victoriametrics import retention_days
from firmware_specs.errors import StoreError
from firmware_specs.readings import Position
from tests import support
from tests.telemetry.telemetry_points import point, visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERIES = Series("gw-1", "dev-1", "temperature")


@pytest.mark.system
def test_d3_what_a_killed_victoriametrics_acknowledged_is_sent_again(
    start_victoria: Callable[[int], support.Running], tmp_path: Path
) -> None:
    port, now = support.free_port(), time.time_ns() // 1_000_000
    server = start_victoria(port)
    store = open_store(f"victoriametrics+http://127.0.0.1:{port}", tmp_path / "data")
    store.write([point("gw-1", float(i), now - 1000 + i) for i in range(100)])
    server.kill()
    store.write([point("gw-1", 100.0, now - 900)])
    start_victoria(port)
    support.wait_for(lambda: store.away_s() == 0, 20, "the server's return")
    visible(store)
    assert [p.value for p in store.history(SERIES, now - 2000, now).points] == [float(i) for i in range(101)]
    store.close()


@pytest.mark.system
def test_d3_a_victoriametrics_that_is_away_holds_nobody_up(
    start_victoria: Callable[[int], support.Running], tmp_path: Path
) -> None:
    port, now = support.free_port(), time.time_ns() // 1_000_000
    url = f"victoriametrics+http://127.0.0.1:{port}"
    store = open_store(url, tmp_path / "data")  # before the server is there
    store.write([point("gw-1", 0.0, now - 1000)])
    server = start_victoria(port)
    support.wait_for(lambda: store.stats()["journal_waiting_bytes"] == 0, 20, "the server's first batch")
    assert store.away_s() == 0
    store.write([point("gw-1", 1.0, now - 999)])
    server.kill()
    for number in (2, 3):
        store.write([point("gw-1", float(number), now - 1000 + number)])
    assert store.away_s() > 0
    assert store.stats()["journal_waiting_bytes"] > 0
    with pytest.raises(StoreError, match=r"^telemetry victoriametrics http://127\.0\.0\.1:\d+: not reachable: "):
        store.history(SERIES, now - 2000, now)
    store.close()
    store = open_store(url, tmp_path / "data")  # the cloud is started anew meanwhile
    store.write([point("gw-1", 4.0, now - 996)])
    start_victoria(port)
    support.wait_for(lambda: store.away_s() == 0, 20, "the server's return")
    support.wait_for(lambda: store.stats()["journal_waiting_bytes"] == 0, 20, "what waited")
    visible(store)
    assert [p.value for p in store.history(SERIES, now - 2000, now).points] == [0.0, 1.0, 2.0, 3.0, 4.0]
    store.close()


@pytest.mark.peer
def test_P3_positions_older_than_their_days_are_deleted_and_nothing_else(victoria: str, tmp_path: Path) -> None:
    store = open_store(victoria, tmp_path / "data", retention=Retention(track_days=7))
    now = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
    ages = [10 * DAY_MS, 7 * DAY_MS + 1, 6 * DAY_MS, DAY_MS, DAY_MS // 2 + 1, DAY_MS // 2, 0]
    store.write([point("gw-1", Position(30.0, 110.0 + n), now - age, metric="position") for n, age in enumerate(ages)])
    store.write([point("gw-1", float(n), now - age) for n, age in enumerate(ages)])
    visible(store)
    places = Series("gw-1", "dev-1", "position")
    weeks = store.history(places, 0, now + 1, 7 * DAY_MS).points
    assert (sum(p.readings for p in weeks), weeks[-1].value) == (len(ages), Position(30.0, 116.0))
    store.retain(now)
    visible(store)
    assert [p.value.lon for p in store.history(places, 0, now + 1).points] == [112.0, 113.0, 114.0, 115.0, 116.0]  # type: ignore[union-attr]
    assert len(store.history(SERIES, 0, now + 1).points) == len(ages)
    store.close()


@pytest.mark.peer
def test_a_huge_number_does_not_spoil_its_neighbours(victoria: str, tmp_path: Path) -> None:
    store, now = open_store(victoria, tmp_path / "data"), time.time_ns() // 1_000_000
    numbers = [21.5, 1e300, 21.25, -1e200, 22.0]
    store.write([point("gw-1", number, now - 1000 + i) for i, number in enumerate(numbers)])
    visible(store)
    assert [p.value for p in store.history(SERIES, now - 2000, now).points] == numbers
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlit", """telemetry: url 'sqlit' names no store (did you mean "sqlite"?)"""),
        ("victoriametrics+ftp://h", """telemetry: url 'victoriametrics+ftp://h' names no store"""),
        ("influxdb+http://127.0.0.1:1", "telemetry influxdb http://127.0.0.1:1: url has no org and no bucket"),
        ("influxdb+http://127.0.0.1:1?org=o&bucket=b", "telemetry influxdb http://127.0.0.1:1: no token"),
    ],
)
def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(StoreError) as refused:
        open_store(url, tmp_path)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_influxdb_out_of_reach_is_named(tmp_path: Path) -> None:
    store = open_store("influxdb+http://127.0.0.1:1?org=o&bucket=b", tmp_path, token="t")
    store.write([point("gw-1", 1.0, 1)])
    assert store.away_s() > 0
    assert store.stats()["journal_waiting_bytes"] > 0
    with pytest.raises(StoreError, match=r"^telemetry influxdb http://127\.0\.0\.1:1: not reachable: "):
        store.history(SERIES, 0, 10)
    store.close()


def test_influxdb_refuses_what_it_can_never_keep(tmp_path: Path) -> None:
    store = InfluxStore("http://127.0.0.1:1?org=o&bucket=b", tmp_path, "t", Retention())
    with pytest.raises(PointRefused) as refused:
        store.write([point("gw-1", 1.0, 2**62)])
    assert str(refused.value) == f"{store.name}: time {2**62} ms is beyond what the server can keep"
    with pytest.raises(PointRefused) as refused:
        store.write([point("gw-1", "x" * 65_001, 1)])
    assert str(refused.value) == f"{store.name}: text of 65001 characters is longer than 65000 bytes"
    store.close()


@given(st.text())
def test_any_text_survives_a_label(text: str) -> None:
    packed = pack_text(text)
    assert unpack_text(packed) == text
    assert not any(ord(c) < 32 for c in packed)


@pytest.mark.parametrize(
    ("period", "days"), [("1", 28), ("12", 336), ("30d", 30), ("2w", 14), ("100y", 36500), ("36h", 1.5), ("?", 28)]
)
def test_a_servers_retention_is_read_short_rather_than_long(period: str, days: float) -> None:
    assert retention_days(period) == days
