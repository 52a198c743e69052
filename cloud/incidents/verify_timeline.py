"""Check an exported hash chain offline: an incident's timeline, or the audit chain.

    python verify_timeline.py FILE [--format timeline|audit] [--head HASH]

Prints `ok`, the number of rows and the last hash; or the first broken row and why, and ends with 1. It needs nothing
but the standard library of Python 3.11 and imports nothing of ours: whoever doubts the product need not trust it.

A timeline is one JSON object a line. A row's hash is SHA-256 over the row without `hash`, written as JSON with sorted
keys and no blanks, in UTF-8. `previous` is the hash of the row before, 64 zeros at first; `seq` counts from 1. Every
byte counts: a line that is not exactly what its own content would be written as is broken too.

The audit chain is one JSON object a line, as `GET /api/v1/audit` gives them. A row's hash is SHA-256 over the hash
before, a line feed, and `action, actor, at, detail, target` as JSON with sorted keys, with `node` unless that is `/`;
`at` is milliseconds UTC.

What a chain cannot show is that its end was cut off: compare the last hash with one written down earlier (`--head`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

GENESIS = "0" * 64
TIMELINE = {"incident", "seq", "at", "recorded_at", "actor", "action", "detail", "previous", "hash"}
AUDIT = {"id", "at", "actor", "action", "target", "detail", "node", "hash"}
ROOT = "/"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Broken(Exception):  # noqa: N818 - states what is wrong
    """A row is not as the chain says. The message is the reason."""


def parsed(line: bytes, keys: set[str]) -> dict[str, object]:
    """The object of a line. Raises Broken."""
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise Broken(f"not JSON: {e}") from e
    if not isinstance(row, dict) or set(row) != keys:
        raise Broken(f"not an object with the keys {', '.join(sorted(keys))}")
    return row


def timeline_row(line: bytes, before: dict[str, object] | None) -> dict[str, object]:
    """A row of a timeline after the one before it. Raises Broken."""
    row = parsed(line, TIMELINE)
    if written(row, compact=True) != line:
        raise Broken("not written as its content would be")
    if row["seq"] != (before["seq"] if before else 0) + 1:  # type: ignore[operator] # a sequence number that was checked
        raise Broken("its sequence number does not follow")
    if before and row["incident"] != before["incident"]:
        raise Broken("it is of another incident")
    if row["previous"] != (before["hash"] if before else GENESIS):
        raise Broken("it does not hold the hash of the row before")
    body = {name: value for name, value in row.items() if name != "hash"}
    if row["hash"] != hashlib.sha256(written(body, compact=True)).hexdigest():
        raise Broken("its hash is wrong")
    return row


def audit_row(line: bytes, before: dict[str, object] | None) -> dict[str, object]:
    """A row of the audit chain after the one before it. Raises Broken."""
    row = parsed(line, AUDIT)
    if before and not int(str(row["id"])) > int(str(before["id"])):
        raise Broken("its id does not follow")
    body = {name: row[name] for name in ("action", "actor", "detail", "target")}
    if row["node"] != ROOT:
        body["node"] = row["node"]
    previous = str(before["hash"] if before else GENESIS).encode()
    hashed = previous + b"\n" + written({**body, "at": milliseconds(row["at"])}, compact=False)
    if row["hash"] != hashlib.sha256(hashed).hexdigest():
        raise Broken("its hash is wrong")
    return row


def written(row: dict[str, object], *, compact: bool) -> bytes:
    """A row as JSON with sorted keys."""
    separators = (",", ":") if compact else (", ", ": ")
    return json.dumps(row, sort_keys=True, ensure_ascii=False, separators=separators).encode("utf-8", "replace")


def milliseconds(at: object) -> int:
    """A time of the audit chain as milliseconds UTC. Raises Broken."""
    if isinstance(at, int):
        return at
    try:
        return (datetime.fromisoformat(str(at)) - EPOCH) // timedelta(milliseconds=1)
    except (TypeError, ValueError) as e:
        raise Broken(f"at: {e}") from e


def verify(data: bytes, form: str = "timeline") -> tuple[int, str]:
    """How many rows hold, and the last hash. Raises Broken, its message beginning with the row's number."""
    check = {"timeline": timeline_row, "audit": audit_row}[form]
    lines = data.split(b"\n")
    if lines.pop() != b"":
        raise Broken(f"row {len(lines) + 1}: the file does not end with a line feed")
    before: dict[str, object] | None = None
    for number, line in enumerate(lines, 1):
        try:
            before = check(line, before)
        except Broken as e:
            raise Broken(f"row {number}: {e}") from e
    return len(lines), str(before["hash"]) if before else GENESIS


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check an exported hash chain offline.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--format", choices=("timeline", "audit"), default="timeline")
    parser.add_argument("--head", default="", help="the last hash as it was written down before")
    given = parser.parse_args(argv)
    try:
        count, head = verify(given.file.read_bytes(), given.format)
    except OSError as e:
        sys.stderr.write(f"{given.file}: {e.strerror or e}\n")
        return 2
    except Broken as e:
        sys.stdout.write(f"{given.file}: {e}\n")
        return 1
    if given.head and head != given.head:
        sys.stdout.write(f"{given.file}: row {count}: the chain does not end with the hash {given.head}\n")
        return 1
    sys.stdout.write(f"ok: {count} rows, the last hash is {head}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
