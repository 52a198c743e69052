"""Stores to test: the embedded one, a real VictoriaMetrics, and InfluxDB where a URL is given."""

from __future__ import annotations

import os
import shutil
import uuid
from typing import TYPE_CHECKING

import pytest

from cloud.telemetry.store import Retention, open_store
from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cloud.telemetry.store import TelemetryStore


@pytest.fixture
def start_victoria(start_process: support.StartProcess, tmp_path: Path) -> Callable[[int], support.Running]:
    """Start a real VictoriaMetrics on a port; the same data directory each time."""
    program = shutil.which("victoria-metrics")
    assert program, "victoria-metrics is not installed: the contract is tested against a real server"

    def start(port: int) -> support.Running:
        running = start_process(
            program, f"-storageDataPath={tmp_path / 'vm'}", f"-httpListenAddr=127.0.0.1:{port}",
            "-dedup.minScrapeInterval=1ms", "-retentionPeriod=100y", "-loggerLevel=ERROR", "-memory.allowedBytes=256MB",
            name="victoria",
        )  # fmt: skip
        support.wait_for(lambda: support.accepts(port) or not running.alive, 20, "victoria-metrics")
        assert running.alive, running.text()[-500:]
        return running

    return start


@pytest.fixture
def victoria(start_victoria: Callable[[int], support.Running]) -> str:
    """The URL of a running VictoriaMetrics."""
    port = support.free_port()
    start_victoria(port)
    return f"victoriametrics+http://127.0.0.1:{port}"


@pytest.fixture(params=["sqlite", "victoriametrics", "influxdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TelemetryStore]:
    """Each store, empty."""
    url, token = "sqlite", None
    if request.param == "victoriametrics":
        url = request.getfixturevalue("victoria")
    if request.param == "influxdb":
        url, token = os.environ.get("PATROL_TEST_INFLUX_URL", ""), os.environ.get("PATROL_TEST_INFLUX_TOKEN")
        if not url:
            pytest.skip(
                "PATROL_TEST_INFLUX_URL is not set (influxdb+http://host:port?org=…&bucket=…): no InfluxDB here"
            )
    opened = open_store(url, tmp_path / "data", token=token, retention=Retention(30, 365, 3650, 7))
    yield opened
    opened.close()


@pytest.fixture
def gateway() -> str:
    """A gateway that no other test writes of: an InfluxDB is not empty between tests."""
    return f"gw-{uuid.uuid4().hex[:12]}"
