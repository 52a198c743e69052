"""What a benchmark hands back: tables of figures, printed for people and written as JSON for the documentation.

Owns the shape of `bench-results/<name>.json`. A module of this folder has `run(*, quick: bool) -> Result`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench-results"
Cell = str | float | int


@dataclass(frozen=True)
class Table:
    """One table. note: how it was measured, in a sentence or two."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Result:
    """What one benchmark measured."""

    tables: list[Table] = field(default_factory=list)


def shown(cell: Cell) -> str:
    """A figure as people read it: three significant digits, thousands apart."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 1000:
        return f"{cell:,.0f}"
    return f"{cell:.3g}"


def show(result: Result) -> None:
    """Print the tables."""
    console = Console()
    for table in result.tables:
        rich = RichTable(title=table.title, title_justify="left", caption=table.note or None, caption_justify="left")
        for index, column in enumerate(table.columns):
            rich.add_column(column, justify="left" if index == 0 else "right")
        for row in table.rows:
            rich.add_row(*(escape(shown(cell)) for cell in row))
        console.print(rich)


def save(name: str, result: Result, *, quick: bool) -> Path:
    """Write the JSON of one benchmark."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    document = {
        "name": name,
        "command": f"./patrol bench {'--quick ' if quick else ''}--only {name}",
        "quick": quick,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "tables": [asdict(table) for table in result.tables],
    }
    file.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    return file


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, 0 when there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """The middle value, 0 when there are none."""
    return statistics.median(values) if values else 0.0
