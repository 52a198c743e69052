"""What connector tests share: a sink that remembers, and serial lines made by socat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.connectors.line_support import Memory, SerialPair

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import StartProcess


@pytest.fixture
def memory() -> Memory:
    """A sink that keeps what it is given and commits at once."""
    return Memory()


@pytest.fixture
def line(start_process: StartProcess, tmp_path: Path) -> SerialPair:
    """A serial line of two ptys joined by socat, plugged in."""
    pair = SerialPair(start_process, tmp_path / "ttyRADIO")
    pair.plug_in()
    return pair
