"""Fixtures of the tests of a gateway's enrolment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broker.broker_support import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests import support


@pytest.fixture
def cloud(tmp_path: Path, sqlite_template: Path, start_process: support.StartProcess) -> Iterator[Site]:
    """A cloud that gateways can enrol at; its broker runs when the test starts it."""
    from tests.support import mosquitto_path

    made = Site(tmp_path, sqlite_template, start_process, mosquitto_path() or "mosquitto")
    made.listen()
    yield made
    made.close()
