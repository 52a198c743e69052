"""SQLite file systems for tests: one that writes down what reaches the disk, one whose disk refuses."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import apsw


class Op(NamedTuple):
    """What one file was told. kind: write, truncate, sync, delete, or note (of the test itself)."""

    kind: str
    file: str
    offset: int = 0
    data: bytes = b""


def _name(name: str | apsw.URIFilename | None) -> str:
    return Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "temp").name


class RecordingVFS(apsw.VFS):
    """Passes everything on and keeps a log of it."""

    def __init__(self, name: str, log: list[Op]) -> None:
        self.log = log
        super().__init__(name, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> RecordingFile:
        return RecordingFile(self.log, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.log.append(Op("delete", Path(filename).name))
        super().xDelete(filename, syncdir)


class RecordingFile(apsw.VFSFile):
    def __init__(self, log: list[Op], name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._log = log
        self._name = _name(name)
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._log.append(Op("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._log.append(Op("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self._log.append(Op("sync", self._name))
        super().xSync(flags)


def after_power_cut(log: list[Op], seed: int) -> dict[str, bytes]:
    """What files hold when the power goes after the last operation of the log.

    What was synced is there. Of what was not, any subset is, and the very last write may be torn anywhere.
    """
    dice = random.Random(seed)
    synced: dict[str, bytearray] = {}
    unsynced: dict[str, list[Op]] = {}
    for op in log:
        if op.kind == "note":
            continue
        pending = unsynced.setdefault(op.file, [])
        if op.kind == "delete":
            synced.pop(op.file, None)
            pending.clear()
        elif op.kind == "sync":
            for done in pending:
                _apply(synced.setdefault(op.file, bytearray()), done, len(done.data))
            pending.clear()
        else:
            pending.append(op)
    for file, pending in unsynced.items():
        content = synced.setdefault(file, bytearray())
        for index, op in enumerate(pending):
            torn = index == len(pending) - 1
            if dice.random() < 0.5 or torn:
                _apply(content, op, dice.randint(0, len(op.data)) if torn else len(op.data))
    return {file: bytes(content) for file, content in synced.items()}


def _apply(content: bytearray, op: Op, length: int) -> None:
    if op.kind == "truncate":
        del content[op.offset :]
        return
    if len(content) < op.offset:
        content.extend(bytes(op.offset - len(content)))
    content[op.offset : op.offset + length] = op.data[:length]


class Faults:
    """What the disk does now: `write` is raised by every write, or nothing is."""

    write: type[apsw.Error] | None = None
    room: int | None = None
    """Bytes that files may still grow by; no limit when None."""
    opened = 0
    """How often a file was opened."""


class FaultyVFS(apsw.VFS):
    """A disk that can be told to refuse writes."""

    def __init__(self, name: str, faults: Faults) -> None:
        self.faults = faults
        super().__init__(name, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> FaultyFile:
        self.faults.opened += 1
        return FaultyFile(self.faults, name, flags)


class FaultyFile(apsw.VFSFile):
    def __init__(self, faults: Faults, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._faults = faults
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._faults.write:
            raise self._faults.write("injected")
        if self._faults.room is not None:
            grows = max(0, offset + len(data) - self.xFileSize())
            if grows > self._faults.room:
                raise apsw.FullError("injected")
            self._faults.room -= grows
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self._faults.write:
            raise self._faults.write("injected")
        super().xSync(flags)
