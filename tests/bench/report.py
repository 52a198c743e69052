"""Render docs/benchmarks.md from bench-results/*.json, so that no figure in it is typed by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .results import RESULTS, ROOT, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- begin: rendered by `python -m tests.bench --report` from bench-results/*.json -->"
END = "<!-- end -->"
ORDER = ("peers", "edge", "cloud", "alarm_latency", "outage", "presence", "campaigns", "install")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | float | int]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    return lines + ["| " + " | ".join(shown(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]


def section(document: dict[str, Any]) -> list[str]:
    """One benchmark's tables in Markdown."""
    machine = document["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}, Python {machine['python']}"
    lines: list[str] = []
    for table in document["tables"]:
        lines += [f"## {table['title']}", "", *_table(table["columns"], table["rows"]), ""]
        if table["note"]:
            lines += [table["note"], ""]
    return [*lines, f"`{document['command']}` · {document['at'][:10]} · {where}", ""]


def render(documents: Sequence[dict[str, Any]]) -> str:
    """All sections, in a fixed order."""
    places = {name: place for place, name in enumerate(ORDER)}
    ordered = sorted(documents, key=lambda d: (places.get(d["name"], len(places)), d["name"]))
    return "\n".join(line for document in ordered for line in section(document))


def render_file() -> Path:
    """Replace what stands between the two marks of docs/benchmarks.md."""
    documents = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    text = DOCUMENT.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    DOCUMENT.write_text(f"{head}{BEGIN}\n\n{render([d for d in documents if 'tables' in d])}\n{END}{tail}")
    return DOCUMENT
