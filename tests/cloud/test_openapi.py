"""The OpenAPI document tells the truth: requests made from it are answered as it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cloud.alerts import service as alerts
from cloud.devices import service as devices
from cloud.org import service as org
from cloud.org.rules import SYSTEM, Role
from tests.cloud.cloud_support import know, raised, reading, wait_for

if TYPE_CHECKING:
    import pytest

    from cloud.db import Database
    from tests import support

PROGRAM = Path(sys.executable).with_name("patrol-cloud")
NOW = 1_800_000_000_000
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


Operation = schemathesis.APIOperation[Any, Any, Any, Any]


def operations(url: str) -> list[Operation]:
    schema = schemathesis.openapi.from_url(f"{url}/api/openapi.json")
    found: list[Operation] = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        found.append(result.ok())
    return [operation for operation in found if operation.path != "/api/v1/stream"]


def conforms(operation: Operation, headers: dict[str, str]) -> None:
    """Requests drawn from the document are answered as it says."""

    @settings(
        max_examples=12, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        data.draw(operation.as_strategy()).call_and_validate(headers=headers, checks=CHECKS)

    holds()


def test_every_operation_answers_as_documented(
    db: Database, database_url: str, tmp_path: Path, start_process: support.StartProcess, subtests: pytest.Subtests
) -> None:
    know(db, "gw-1")
    with db.begin() as tx:
        devices.heard(tx, "gw-1", NOW)
        devices.apply_readings(tx, "gw-1", "e", [(1, reading("smk-1", "smoke", 0.5, NOW))], NOW)
        alerts.apply_events(tx, "gw-1", "e", [(1, raised("o1", at=NOW))], NOW)
        token = org.add_token(tx, SYSTEM, "openapi", Role.ADMINISTRATOR, now_ms=NOW)
    file = tmp_path / "cloud.toml"
    file.write_text(f'data_dir = "{tmp_path}"\n[http]\nbind = "127.0.0.1:0"\n[database]\nurl = "{database_url}"\n')
    # A process of its own: beside a server's threads, CPython 3.11 crashed in the parser that hypothesis calls.
    running = start_process(PROGRAM, "serve", "--role", "api", "--config", file)
    wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+", running.text()), 30, "the service")
    found = re.search(r"http://127\.0\.0\.1:\d+", running.text())
    assert found
    for operation in operations(found[0]):
        with subtests.test(operation=operation.label):
            conforms(operation, {"Authorization": f"Bearer {token}"})
    assert "Traceback" not in running.text()
