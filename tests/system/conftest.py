"""Fixtures of the system tests: a stack that ends with the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.harness import Device, Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Make stacks, each in a folder of its own; all their processes are ended afterwards."""
    made: list[Stack] = []

    def make(
        devices: Iterable[Device] = (), *, edge_lines: Mapping[str, str] | None = None, cloud_lines: str = "",
        uplink_port: int | None = None,
    ) -> Stack:  # fmt: skip
        folder = tmp_path / f"stack-{len(made)}"
        folder.mkdir()
        stack = Stack(folder, devices, edge_lines=edge_lines, cloud_lines=cloud_lines, uplink_port=uplink_port)
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.stop()
