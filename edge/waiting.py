"""`patrol-edge outbox`: what waits for the cloud, asked of the running agent or read from its file."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from edge.config import load_config
from edge.control import status_of
from edge.lock import take_lock
from edge.outbox_file import CorruptError, OutboxFile
from edge.outbox_open import FILE
from firmware_specs.errors import StoreError
from firmware_specs.readings import Lane
from firmware_specs.wire import LaneStatus, Status

if TYPE_CHECKING:
    from pathlib import Path


def show(path: Path, *, as_json: bool) -> None:
    """Print a table, or one JSON object. Raises ConfigError, StoreError."""
    config = load_config(path).config
    status = asyncio.run(status_of(config.state_dir))
    lanes = status.lanes if status else _of_file(path, config.state_dir)
    if as_json:
        running = status is not None
        degraded = status.degraded if status else ""
        print(json.dumps({"running": running, "degraded": degraded, "lanes": msgspec.to_builtins(lanes)}))
        return
    _print(lanes, status)


def _of_file(path: Path, state_dir: Path) -> dict[str, LaneStatus]:
    if not (state_dir / FILE).exists():
        raise StoreError(str(state_dir / FILE), "there is no outbox yet; the agent has not run")
    lock = take_lock(path, state_dir)
    try:
        file = OutboxFile(state_dir / FILE)
    except CorruptError as e:
        raise StoreError(str(state_dir / FILE), f"{e.reason}; the agent sets it aside at its next start") from e
    finally:
        os.close(lock)
    try:
        return {
            lane.value: LaneStatus(total.waiting, total.bytes, total.oldest_ms, total.thinned)
            for lane, total in file.totals.items()
        }
    finally:
        file.close()


def _print(lanes: dict[str, LaneStatus], status: Status | None) -> None:
    from rich.console import Console  # noqa: PLC0415 - only people need tables
    from rich.table import Table  # noqa: PLC0415

    now_ms = time.time_ns() // 1_000_000
    table = Table(title=None, show_edge=False)
    for head in ("lane", "waiting", "bytes", "oldest", "thinned"):
        table.add_column(head, justify="left" if head == "lane" else "right")
    for lane in Lane:
        of = lanes.get(lane.value, LaneStatus())
        age = f"{max(0, now_ms - of.oldest_ms) / 1000:.0f} s ago" if of.oldest_ms else "-"
        table.add_row(lane.value, f"{of.waiting:,}", f"{of.bytes:,}", age, f"{of.thinned:,}")
    console = Console(file=sys.stdout)
    console.print(table)
    if status is None:
        console.print("The agent is not running.")
    elif status.degraded:
        console.print(f"Degraded: {status.degraded}", markup=False)
