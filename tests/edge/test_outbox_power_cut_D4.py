"""D4: a power cut at any byte loses nothing that was committed; without syncs the same test must fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge import outbox_file
from edge.outbox_file import Chunk, CorruptError, OutboxFile
from edge.outbox_open import FILE, open_outbox
from firmware_specs.errors import StoreError
from firmware_specs.readings import Lane
from tests.edge.vfs import Op, RecordingVFS, after_power_cut

if TYPE_CHECKING:
    from pathlib import Path

COMMITS = 40


def record(folder: Path, monkeypatch: pytest.MonkeyPatch, synchronous: str) -> list[Op]:
    """Fill an outbox as the agent does, checkpoints and acknowledgements included; the log notes each commit."""
    monkeypatch.setattr(outbox_file, "WAL_PAGES", 12)
    log: list[Op] = []
    vfs = RecordingVFS(f"recording-{synchronous}", log)
    try:
        file = OutboxFile(folder / FILE, vfs=f"recording-{synchronous}", synchronous=synchronous)
        for number in range(1, COMMITS + 1):
            chunks = [
                (Lane.TELEMETRY, Chunk(3 * number - 2, 3, 3, "boot", number, b"%d," % number * (number % 7 * 60 + 1)))
            ]
            if number % 5 == 0:
                chunks.append((Lane.ALARMS, Chunk(number // 5, 1, 1, "boot", number, b"alarm-%d" % number)))
            through = {Lane.TELEMETRY: 3 * (number - 8)} if number % 6 == 0 and number > 8 else {}
            file.commit(chunks, {"rule/x": b"state-%d" % number}, b"", through)
            log.append(Op("note", "", number))
        file.close()
    finally:
        vfs.unregister()
    return log


def lost_at(log: list[Op], at: int, seed: int, folder: Path) -> str:
    """What is wrong after a power cut behind operation `at`; empty when all is well."""
    done = max((op.offset for op in log[:at] if op.kind == "note"), default=0)
    for name, content in after_power_cut(log[:at], seed).items():
        (folder / name).write_bytes(content)
    try:
        file = OutboxFile(folder / FILE) if done else open_outbox(folder)[0]
    except (CorruptError, StoreError) as e:
        return f"operation {at}: {e}"
    try:
        return _missing(file, done, at)
    finally:
        file.close()
        for path in folder.iterdir():
            path.unlink()


def _missing(file: OutboxFile, done: int, at: int) -> str:
    if not done:
        return ""
    acked = max((number - 8 for number in range(9, done + 2) if number % 6 == 0), default=0)
    numbers = {chunk.at_ms for chunk in file.load(Lane.TELEMETRY, 1, 10_000)}
    wanted = set(range(acked + 1, done + 1))
    if not wanted <= numbers:
        return f"operation {at}: committed {sorted(wanted - numbers)} are gone"
    alarms = {chunk.at_ms for chunk in file.load(Lane.ALARMS, 1, 10_000)}
    if not set(range(5, done + 1, 5)) <= alarms:
        return f"operation {at}: alarms are gone"
    if int(file.state()["rule/x"].rpartition(b"-")[2]) < done:
        return f"operation {at}: the state is older than its readings"
    if file.totals[Lane.TELEMETRY].next <= 3 * done:
        return f"operation {at}: sequence numbers would be given twice"
    return ""


@pytest.mark.parametrize("seed", range(3))
def test_D4_every_write_offset_keeps_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    (tmp_path / "live").mkdir()
    log = record(tmp_path / "live", monkeypatch, "FULL")
    assert sum(op.kind == "write" for op in log) > 3 * COMMITS
    assert {op.file for op in log if op.kind == "write"} >= {FILE, FILE + "-wal"}, "no checkpoint was cut"
    replay = tmp_path / "replay"
    replay.mkdir()
    problems = [lost_at(log, at, seed, replay) for at in range(1, len(log) + 1)]
    assert [problem for problem in problems if problem] == []


def test_D4_negative_control_without_syncs_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "live").mkdir()
    log = record(tmp_path / "live", monkeypatch, "OFF")
    replay = tmp_path / "replay"
    replay.mkdir()
    problems = 0
    for at in range(1, len(log) + 1, 5):
        problems += bool(lost_at(log, at, 1, replay))
        for path in replay.iterdir():
            path.unlink()
    assert problems > len(log) // 20
