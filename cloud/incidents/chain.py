"""An incident's timeline: append-only rows, each holding the hash of the one before it.

Owns the table, the hash and the exported form. A row's hash is SHA-256 over the row without it, as JSON with sorted
keys, no blanks and UTF-8; `previous` is the hash before, 64 zeros for the first. The export is one such JSON object a
line. `verify_timeline.py` checks it and shares no code with this module. Whoever appends holds the incident's row.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.incidents.store import timeline
from cloud.text import clean, clean_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection

GENESIS: Final = "0" * 64


def canonical(row: dict[str, Any]) -> str:
    """The one way to write a row."""
    return json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(row: dict[str, Any]) -> str:
    """The hash of a row that holds `previous` and not yet `hash`."""
    return hashlib.sha256(canonical(row).encode()).hexdigest()


def append(
    tx: Connection,
    incident: int,
    actor: str,
    action: str,
    detail: Mapping[str, str | int | None],
    *,
    at: int,
    now_ms: int,
) -> None:
    """Add a row. at: when it happened; now_ms: when we wrote it down."""
    last = sa.select(timeline.c.seq, timeline.c.hash).where(timeline.c.incident == incident)
    row = tx.execute(last.order_by(timeline.c.seq.desc()).limit(1)).first()
    told = {name: clean(value, 2000) if isinstance(value, str) else value for name, value in detail.items()}
    body: dict[str, Any] = {
        "incident": incident, "seq": row.seq + 1 if row else 1, "at": clean_ms(at), "recorded_at": now_ms,
        "actor": clean(actor, 200), "action": action, "detail": told, "previous": row.hash if row else GENESIS,
    }  # fmt: skip
    hashed = digest(body)
    del body["previous"]
    tx.execute(timeline.insert().values({**body, "detail": canonical(told), "hash": hashed}))


def rows(tx: Connection, incident: int) -> Iterator[dict[str, Any]]:
    """The whole timeline, oldest first, as exported."""
    previous = GENESIS
    wanted = sa.select(timeline).where(timeline.c.incident == incident).order_by(timeline.c.seq)
    for row in tx.execute(wanted).mappings():
        yield {**row, "detail": json.loads(row["detail"]), "previous": previous}
        previous = row["hash"]


def export(tx: Connection, incident: int) -> str:
    """The timeline as JSON lines."""
    return "".join(canonical(row) + "\n" for row in rows(tx, incident))
