"""S11: a timeline is chained, and a tool that shares no code with us finds every changed byte; the audit chain too."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloud.incidents import service
from cloud.incidents import verify_timeline as tool
from cloud.org.rules import Role
from tests.cloud.cloud_support import NOW
from tests.incidents.incidents_support import LI, WANG, detail, fire, patrol, stay, tick, town

if TYPE_CHECKING:
    from cloud.db import Database
    from tests.cloud.cloud_support import Served

TOOL = Path(tool.__file__)


def told(db: Database) -> bytes:
    """The exported timeline of an incident with a bit of everything."""
    made = town(db)
    [member] = patrol(db, made.community, ["巡01"])
    incident = fire(db)
    with db.begin() as tx:
        service.take(tx, LI, incident, NOW + 1)
        service.comment(tx, WANG, incident, NOW + 2, 'line\u2028one "quoted" \\ 火\x07 {"hash":"0"}')
        service.tick(tx, LI, incident, NOW + 3, 0, is_done=True)
    stay(db, member, NOW + 5000)
    tick(db, NOW + 700_000)
    with db.begin() as tx:
        service.close(tx, LI, incident, NOW + 800_000, cause="x", follow_up="y")
        return service.export_timeline(tx, LI, incident).encode()


def run(file: Path, *options: str) -> tuple[int, str]:
    """The tool as somebody would run it, far from our code."""
    argv = [sys.executable, "-I", str(TOOL), str(file), *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd=file.parent)
    return done.returncode, done.stdout + done.stderr


def test_the_tool_imports_nothing_of_ours() -> None:
    tree = ast.walk(ast.parse(TOOL.read_text()))
    names = {a.name for node in tree if isinstance(node, ast.Import) for a in node.names}
    tree = ast.walk(ast.parse(TOOL.read_text()))
    names |= {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_S11_the_tool_verifies_a_timeline_and_finds_any_flipped_byte(db: Database, tmp_path: Path) -> None:
    data = told(db)
    file = tmp_path / "timeline.jsonl"
    file.write_bytes(data)
    count = data.count(b"\n")
    head = json.loads(data.splitlines()[-1])["hash"]
    assert run(file) == (0, f"ok: {count} rows, the last hash is {head}\n")
    assert run(file, "--head", head)[0] == 0
    assert run(file, "--head", "0" * 64)[0] == 1
    rng = random.Random(11)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        with pytest.raises(tool.Broken, match=r"row \d+: "):
            tool.verify(bytes(changed))
    for at in rng.sample(range(len(data)), 300):
        changed = bytearray(data)
        changed[at] = rng.choice([byte for byte in range(256) if byte != data[at]])
        with pytest.raises(tool.Broken):
            tool.verify(bytes(changed))
    broken = bytearray(data)
    third = data.index(b"\n", data.index(b"\n") + 1) + 20
    broken[third] ^= 1
    file.write_bytes(bytes(broken))
    status, said = run(file)
    assert (status, said.startswith(f"{file}: row 3: ")) == (1, True)


def test_S11_rows_that_are_removed_doubled_or_swapped_are_found(db: Database) -> None:
    lines = told(db).splitlines(keepends=True)
    for changed in (lines[1:], [*lines[:2], *lines[3:]], [*lines[:2], lines[1], *lines[2:]], [lines[1], lines[0]]):
        with pytest.raises(tool.Broken):
            tool.verify(b"".join(changed))
    assert tool.verify(b"") == (0, tool.GENESIS)
    count, head = tool.verify(b"".join(lines[:-1]))
    assert (count, head) == (len(lines) - 1, json.loads(lines[-2])["hash"]), "a cut end is what --head is for"


def test_S11_the_tool_verifies_the_audit_chain_as_the_api_gives_it(service: Served, tmp_path: Path) -> None:
    told(service.db)
    with service.client(Role.AUDITOR) as client:
        rows = client.get("/audit", params={"limit": 1000}).json()["items"]
    file = tmp_path / "audit.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert run(file, "--format", "audit")[0] == 0
    assert any(row["action"] == "incident.taken" for row in rows)
    for name in ("at", "actor", "action", "target", "detail", "node", "hash"):
        changed = [dict(row) for row in rows]
        changed[2][name] = "2027-01-15T08:00:00.001Z" if name == "at" else changed[2][name] + "x"
        text = "".join(json.dumps(row) + "\n" for row in changed).encode()
        with pytest.raises(tool.Broken, match=r"row [34]: "):
            tool.verify(text, "audit")


def test_the_tool_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    assert run(tmp_path / "none")[0] == 2
    file = tmp_path / "f"
    for text in ("{}\n", "[]\n", "\n", "x" * 10, "[" * 100_000 + "\n"):
        file.write_text(text)
        status, said = run(file)
        assert (status, "row 1: " in said) == (1, True), text[:10]


def test_a_timeline_cannot_be_read_across_the_tree_S4(service: Served) -> None:
    made = town(service.db)
    incident = fire(service.db)
    with service.client(Role.DISPATCHER, made.other) as client:
        assert client.get(f"/incidents/{incident}/timeline?format=jsonl").status_code == 404
    with service.client(Role.DISPATCHER, made.street) as client:
        answer = client.get(f"/incidents/{incident}/timeline?format=jsonl")
        assert tool.verify(answer.content)[0] == len(detail(service.db, incident).timeline)
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        rows = client.get(f"/incidents/{incident}/timeline").json()["items"]
    assert [row["action"] for row in rows] == ["opened"]
