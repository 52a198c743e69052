"""`patrol-edge listen`: live readings for a technician beside the device.

Owns the table. With an agent running it shows what that hears, kept or not; without one it hears the devices itself
(`edge.probe`), and keeps nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from edge.binding import make_plan
from edge.clock import GatewayClock
from edge.control import ask
from edge.probe import ProbeSink, borrowed
from edge.supervise import supervise
from firmware_specs.errors import ConfigError, ProfileError
from firmware_specs.wire import encode_item

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from edge.binding import Plan
    from firmware_specs.readings import Reading

_REDRAW_S: Final = 0.25
_STALE_S: Final = 60.0
_ROWS: Final = 200


class _Row(NamedTuple):
    value: str
    quality: str
    at: float


async def listen(path: Path, *, as_json: bool) -> None:
    """Show readings until interrupted. Raises ConfigError when the configuration cannot be served."""
    plan = make_plan(path)
    source = _lines(path, plan)
    if as_json or not sys.stdout.isatty():
        async for line in source:
            print(json.dumps(line, ensure_ascii=False) if as_json else _plain(line), flush=True)
        return
    await _table(source)


async def _lines(path: Path, plan: Plan) -> AsyncIterator[dict[str, Any]]:
    """Lines of the running agent, else what is heard here."""
    try:
        async for line in ask(plan.config.state_dir, "listen"):
            yield line
    except OSError:
        print("patrol-edge: no agent is running; listening without keeping anything", file=sys.stderr)
    else:
        raise ConfigError(path, "state_dir", "the agent has stopped")
    async for line in _own_ears(path, plan):
        yield line


async def _own_ears(path: Path, plan: Plan) -> AsyncIterator[dict[str, Any]]:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def heard(readings: Sequence[Reading]) -> None:
        for reading in readings:
            queue.put_nowait(msgspec.json.decode(encode_item(reading)))

    def refused(device: str, _frame: bytes, error: str) -> None:
        queue.put_nowait({"refused": device, "error": error})

    sink = ProbeSink(plan, GatewayClock(), heard, refused)
    try:
        connectors = [borrowed(plan, connector.name) for connector in plan.config.connectors]
    except ProfileError as e:
        raise ConfigError(path, "devices", str(e)) from e
    async with asyncio.TaskGroup() as group:
        for connector in connectors:

            def tell(state: str, name: str = connector.name) -> None:
                queue.put_nowait({"connector": name, "state": state})

            group.create_task(supervise(connector, sink, tell, 10.0), name=f"listen-{connector.name}")
        while True:
            yield await queue.get()


def _value(line: dict[str, Any]) -> str:
    for key in ("v", "vs", "vb"):
        if key in line:
            value = line[key]
            text = str(value).lower() if isinstance(value, bool) else str(value)
            unit = line.get("u", "")
            return text if unit in {"", "geo"} else f"{text} {unit}"
    return "-"


def _plain(line: dict[str, Any]) -> str:
    if "connector" in line:
        return f"{line['connector']}: {line['state']}"
    if "refused" in line:
        return f"{line['refused']}: refused: {line['error']}"
    if "missed" in line:
        return f"({line['missed']} lines missed)"
    if "alarm_" in line:
        return f"{line['n']}: ALARM {line['alarm_']['kind']} {line['alarm_']['phase']}"
    return f"{line['n']}: {_value(line)} ({line.get('q', 'good')})"


async def _table(source: AsyncIterator[dict[str, Any]]) -> None:
    from rich.console import Group  # noqa: PLC0415 - only people need tables
    from rich.live import Live  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    rows: dict[str, _Row] = {}
    notes: dict[str, str] = {}

    def draw() -> Group:
        now = time.monotonic()
        table = Table(show_edge=False, expand=False)
        for head in ("device", "metric", "value", "quality", "age"):
            table.add_column(head)
        for name in sorted(rows)[:_ROWS]:
            row = rows[name]
            device, _, metric = name.partition("/")
            age = now - row.at
            style = "dim" if age > _STALE_S else "red" if row.quality == "bad" else ""
            table.add_row(device, metric, Text(row.value), row.quality, f"{age:.0f} s", style=style)
        return Group(table, *(Text(f"{name}: {note}") for name, note in notes.items()))

    with Live(draw(), auto_refresh=False, screen=False) as live:

        async def redraw() -> None:
            while True:
                await asyncio.sleep(_REDRAW_S)
                live.update(draw(), refresh=True)

        task = asyncio.ensure_future(redraw())
        try:
            async for line in source:
                if "missed" in line:
                    notes["missed"] = f"{line['missed']} lines"
                elif "n" in line and "alarm_" not in line:
                    rows[line["n"]] = _Row(_value(line), line.get("q", "good"), time.monotonic())
                else:
                    note = _plain(line)
                    notes[note.partition(":")[0]] = note.partition(": ")[2]
        finally:
            task.cancel()
