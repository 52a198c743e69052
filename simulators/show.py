"""What `patrol-sim` shows people: progress on stderr while it is a terminal, tables at the end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulators import load


@contextlib.contextmanager
def load_progress(seconds: float) -> Iterator[Callable[[load.Progress], None]]:
    """A bar of the time, with what was sent and what was acknowledged."""
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("connecting", total=seconds)

        def update(progress: load.Progress) -> None:
            text = f"{progress.offered:,} readings, {progress.acked:,} acknowledged"
            bar.update(task, completed=min(seconds, progress.elapsed_s), description=text)

        yield update


@contextlib.contextmanager
def counter(what: str) -> Iterator[Callable[[int], None]]:
    """A running count."""
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"0 {what}", total=None)
        yield lambda count: bar.update(task, description=f"{count:,} {what}")


def load_table(result: load.Result) -> str:
    """The figures, one a line."""
    rows = {
        "gateways × devices": f"{result.gateways:,} × {result.devices:,}",
        "readings offered": f"{result.offered:,}",
        "readings acknowledged": f"{result.acked:,}",
        "readings unacknowledged": f"{result.unacked:,}",
        "readings held back": f"{result.held_back:,}",
        "readings a second": f"{result.readings_per_s:,.0f}",
        "packs (sent again)": f"{result.packs:,} ({result.resent:,})",
        "ack, ms": ", ".join(f"{name} {ms:,.1f}" for name, ms in result.ack_ms.items()) or "none came",
    }
    width = max(len(name) for name in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
