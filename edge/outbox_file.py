"""The outbox on disk: one SQLite file, one connection, one writer.

Owns the schema, the pragmas that make a commit survive a power cut, the check at opening and the words for a disk
that refuses. Readings stand in chunks, one a commit and lane: encoded wire records joined by commas, so that an
append is one row and a pack is a join. Sequence marks, rule states and repeat marks change in the same transaction
as the readings that caused them. The lock is exclusive: there is no shared memory file, and a power cut can be
played through any VFS. Synchronous; whoever calls it is its only thread.

Raises StoreError while the disk refuses, CorruptError when the file is no longer a database.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Final, NamedTuple

import apsw

from firmware_specs.errors import StoreError
from firmware_specs.readings import Lane

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_CHECK_S: Final = 3.0
"""Longest time spent on checking a file at opening; damage beyond shows when it is read."""
DISK_FULL: Final = "disk full"
_JOURNAL_BYTES: Final = 16_000_000
"""What the journal may take: a transaction stands in it whole, before it goes over into the file."""
APPLICATION_ID: Final = 0x50474F42
_VERSION: Final = 1
WAL_PAGES: Final = 1000
_SCHEMA: Final = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE head(lane TEXT PRIMARY KEY, next INTEGER NOT NULL, thinned INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE alarms(first INTEGER PRIMARY KEY, span INTEGER NOT NULL, items INTEGER NOT NULL,
  boot TEXT NOT NULL, at_ms INTEGER NOT NULL, body BLOB NOT NULL, marks BLOB NOT NULL);
CREATE TABLE telemetry(first INTEGER PRIMARY KEY, span INTEGER NOT NULL, items INTEGER NOT NULL,
  boot TEXT NOT NULL, at_ms INTEGER NOT NULL, body BLOB NOT NULL, marks BLOB NOT NULL);
CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE marks(id INTEGER PRIMARY KEY, marks BLOB NOT NULL);
"""
_SQL: Final = {
    "insert": "INSERT INTO {} VALUES(?,?,?,?,?,?,?)",
    "delete": "DELETE FROM {} WHERE first <= ?1 AND first + span <= ?1 + 1",
    "remove": "DELETE FROM {} WHERE first = ?",
    "total": "SELECT coalesce(sum(items), 0), coalesce(sum(length(body)), 0) FROM {} "
    "WHERE first <= ?1 AND first + span <= ?1 + 1",
    "load": "SELECT * FROM {0} WHERE first >= coalesce((SELECT max(first) FROM {0} WHERE first <= ?1), 0) "
    "ORDER BY first",
    "marks": "SELECT marks FROM {} WHERE first <= ?1 AND first + span <= ?1 + 1 AND marks <> x'' ORDER BY first",
    "last": "SELECT first + span FROM {} ORDER BY first DESC LIMIT 1",
    "oldest": "SELECT first, at_ms FROM {} ORDER BY first LIMIT 1",
}
_BY_LANE: Final = {(verb, lane): text.format(lane.value) for verb, text in _SQL.items() for lane in Lane}
_EVER: Final = 2**60
MARKS_KEPT: Final = 32768
"""Marks of committed messages; more than brokers are allowed to have unacknowledged at a time."""


class CorruptError(StoreError):
    """The file is damaged: set it aside and begin another."""


class Chunk(NamedTuple):
    """Consecutive items of a lane, as a row of the file.

    first: sequence of the first. span: how many sequence numbers it covers; items: how many are left of them.
    boot: the boot that received them. at_ms: received time of the oldest. body: records joined by commas, or zstd.
    marks: of the messages that it was made of, 8 bytes each.
    """

    first: int
    span: int
    items: int
    boot: str
    at_ms: int
    body: bytes
    marks: bytes = b""


class Totals:
    """What waits in a lane."""

    __slots__ = ("bytes", "next", "oldest_ms", "thinned", "waiting")

    def __init__(self) -> None:
        self.next = 1
        self.thinned = 0
        self.waiting = 0
        self.bytes = 0
        self.oldest_ms = 0


def _told(store: str, error: apsw.Error) -> StoreError:
    """The house's error for SQLite's."""
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return CorruptError(store, "file is corrupt")
    for kind, words in (
        (apsw.FullError, DISK_FULL),
        (apsw.ReadOnlyError, "read-only file system"),
        (apsw.CantOpenError, "cannot open the file"),
        (apsw.IOError, "input/output error"),
        (apsw.BusyError, "in use by another process"),
    ):
        if isinstance(error, kind):
            return StoreError(store, words)
    return StoreError(store, str(error))


class OutboxFile:
    """The file, open."""

    def __init__(
        self, path: Path, *, vfs: str | None = None, synchronous: str = "FULL", max_bytes: int = 1 << 40
    ) -> None:
        """Open or create. Raises StoreError or CorruptError.

        max_bytes: of file and journal together; a commit beyond it fails as if the disk were full.

        synchronous: anything less than FULL loses commits in a power cut; the test that proves it asks for OFF.
        """
        self.path = path
        self.totals = {lane: Totals() for lane in Lane}
        self.room_bytes = max_bytes
        """What the file itself may take."""
        self.checked = True
        """Whether the check at opening came to its end."""
        self._mark_ids: list[tuple[int, int]] = []
        try:
            self._db = apsw.Connection(str(path), vfs=vfs)
        except apsw.Error as e:
            raise _told("outbox", e) from e
        try:
            self._prepare(synchronous, max_bytes)
            self._read_head()
        except apsw.Error as e:
            self._shut()
            raise _told("outbox", e) from e
        except TypeError as e:
            self._shut()
            raise CorruptError("outbox", "a row that every outbox has is missing") from e
        except BaseException:
            self._shut()
            raise

    def _prepare(self, synchronous: str, max_bytes: int) -> None:
        run = self._db.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        run("PRAGMA journal_mode=WAL")
        run(f"PRAGMA synchronous={synchronous}")
        wal_pages = min(WAL_PAGES, max_bytes // 4096 // 16)
        run(f"PRAGMA wal_autocheckpoint={wal_pages}")
        run(f"PRAGMA journal_size_limit={wal_pages * 4096}")
        journal = max(2 * wal_pages * 4096, min(max_bytes * 2 // 5, _JOURNAL_BYTES))
        self.room_bytes = max_bytes - journal
        run(f"PRAGMA max_page_count={self.room_bytes // 4096}")
        run("PRAGMA cache_size=-2000")
        run("PRAGMA temp_store=MEMORY")
        application = run("PRAGMA application_id").get
        if application == 0 and run("SELECT count(*) FROM sqlite_master").get == 0:
            with self._db:
                run(_SCHEMA)
                run("INSERT INTO meta VALUES('epoch', ?)", (uuid.uuid4().hex,))
                for lane in Lane:
                    run("INSERT INTO head VALUES(?, 1, 0)", (lane.value,))
                run(f"PRAGMA application_id={APPLICATION_ID}")
                run(f"PRAGMA user_version={_VERSION}")
            return
        if application != APPLICATION_ID or run("PRAGMA user_version").get != _VERSION:
            raise CorruptError("outbox", "not an outbox of this version")
        self._check()

    def _check(self) -> None:
        deadline = time.monotonic() + _CHECK_S
        self._db.set_progress_handler(lambda: time.monotonic() > deadline, 20_000)
        try:
            found = self._db.execute("PRAGMA quick_check(1)").get
        except apsw.InterruptError:
            self.checked = False
        else:
            if found != "ok":
                raise CorruptError("outbox", f"file is corrupt: {str(found).splitlines()[-1][:120]}")
        finally:
            self._db.set_progress_handler(None)

    def _read_head(self) -> None:
        run = self._db.execute
        self.epoch: str = run("SELECT value FROM meta WHERE key='epoch'").get
        if not self.epoch:
            raise CorruptError("outbox", "no epoch in the file")
        for lane in Lane:
            totals = self.totals[lane]
            totals.next, totals.thinned = run("SELECT next, thinned FROM head WHERE lane=?", (lane.value,)).get
            totals.next = max(totals.next, run(_BY_LANE["last", lane]).get or 1)
            totals.waiting, totals.bytes = run(_BY_LANE["total", lane], (_EVER,)).get
            self._read_oldest(lane)
        self._mark_ids = [(row[0], row[1]) for row in run("SELECT id, length(marks) FROM marks ORDER BY id")]

    def _read_oldest(self, lane: Lane) -> None:
        row = self._db.execute(_BY_LANE["oldest", lane]).get
        self.totals[lane].oldest_ms = row[1] if row else 0

    def oldest(self, lane: Lane) -> int:
        """Sequence of the oldest item that waits, or of the next when none does."""
        row = self._db.execute(_BY_LANE["oldest", lane]).get
        return int(row[0]) if row else self.totals[lane].next

    def skip_to(self, lane: Lane, following: int) -> int:
        """Number what waits in a lane anew, from `following` on. Returns the oldest's number. Raises StoreError."""
        run = self._db.execute
        oldest = self.oldest(lane)
        shift = following - oldest
        totals = self.totals[lane]
        try:
            run("BEGIN IMMEDIATE")
            # In two steps: a number that is still taken cannot be given.
            run(f"UPDATE {lane.value} SET first = -(first + ?)", (shift,))  # noqa: S608 - a lane's name
            run(f"UPDATE {lane.value} SET first = -first")  # noqa: S608
            run("UPDATE head SET next = ? WHERE lane = ?", (totals.next + shift, lane.value))
            run("COMMIT")
        except apsw.Error as e:
            self._roll_back()
            raise _told("outbox", e) from e
        totals.next += shift
        return following

    def commit(
        self,
        chunks: Sequence[tuple[Lane, Chunk]],
        state: Mapping[str, bytes | None],
        marks: bytes,
        through: Mapping[Lane, int],
    ) -> None:
        """One transaction: append, keep states and marks, delete what the cloud has. On disk when it returns.

        state: key to value, None to forget. marks: of messages that no chunk holds.
        Raises StoreError; then nothing has changed.
        """
        run = self._db.execute
        ids = list(self._mark_ids)
        folded: list[tuple[Lane, int, int]] = []
        try:
            run("BEGIN IMMEDIATE")
            for lane, chunk in chunks:
                run(_BY_LANE["insert", lane], chunk)
            for key, value in state.items():
                if value is None:
                    run("DELETE FROM state WHERE key=?", (key,))
                else:
                    run(
                        "INSERT INTO state VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value",
                        (key, value),
                    )
            if marks:
                self._put_marks(ids, marks)
            for lane, last in through.items():
                folded.append((lane, *self._delete(lane, last, ids)))
            run("COMMIT")
        except apsw.Error as e:
            self._roll_back()
            raise _told("outbox", e) from e
        self._mark_ids = ids
        self._count(chunks, folded)

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except apsw.Error:
                self._shut()

    def _delete(self, lane: Lane, last: int, ids: list[tuple[int, int]]) -> tuple[int, int]:
        run = self._db.execute
        count, size = run(_BY_LANE["total", lane], (last,)).get
        marks = b"".join([row[0] for row in run(_BY_LANE["marks", lane], (last,))])
        if marks:
            self._put_marks(ids, marks)
        run(_BY_LANE["delete", lane], (last,))
        run("UPDATE head SET next=max(next, ?) WHERE lane=?", (last + 1, lane.value))
        return count, size

    def _put_marks(self, ids: list[tuple[int, int]], marks: bytes) -> None:
        row = ids[-1][0] + 1 if ids else 1
        self._db.execute("INSERT INTO marks VALUES(?,?)", (row, marks))
        ids.append((row, len(marks)))
        kept = sum(size for _, size in ids)
        if kept > 8 * MARKS_KEPT:
            drop = 0
            while kept > 8 * MARKS_KEPT:
                kept -= ids[drop][1]
                drop += 1
            self._db.execute("DELETE FROM marks WHERE id <= ?", (ids[drop - 1][0],))
            del ids[:drop]

    def _count(self, chunks: Sequence[tuple[Lane, Chunk]], folded: Iterable[tuple[Lane, int, int]]) -> None:
        for lane, chunk in chunks:
            totals = self.totals[lane]
            totals.next = chunk.first + chunk.span
            totals.waiting += chunk.items
            totals.bytes += len(chunk.body)
            totals.oldest_ms = totals.oldest_ms or chunk.at_ms
        for lane, count, size in folded:
            self.totals[lane].waiting -= count
            self.totals[lane].bytes -= size
            self._read_oldest(lane)

    def load(self, lane: Lane, first: int, items: int, size: int = 2_000_000) -> list[Chunk]:
        """The chunks from the one that covers `first` on, of about so many items or bytes. Raises StoreError."""
        chunks: list[Chunk] = []
        try:
            rows = self._db.cursor()
            for row in rows.execute(_BY_LANE["load", lane], (first,)):
                chunk = Chunk(*row)
                chunks.append(chunk)
                items -= chunk.items
                size -= len(chunk.body)
                if items <= 0 or size <= 0:
                    break
            rows.close()
        except apsw.Error as e:
            raise _told("outbox", e) from e
        return chunks

    def replace(self, lane: Lane, old: Sequence[Chunk], new: Sequence[Chunk]) -> None:
        """Put fewer or smaller chunks in the place of consecutive ones, in one transaction. Raises StoreError."""
        run = self._db.execute
        totals = self.totals[lane]
        waiting, size = sum(c.items for c in old), sum(len(c.body) for c in old)
        left, left_bytes = sum(c.items for c in new), sum(len(c.body) for c in new)
        try:
            run("BEGIN IMMEDIATE")
            for chunk in old:
                run(_BY_LANE["remove", lane], (chunk.first,))
            for chunk in new:
                run(_BY_LANE["insert", lane], chunk)
            run(
                "UPDATE head SET thinned=?, next=max(next, ?) WHERE lane=?",
                (totals.thinned + waiting - left, old[-1].first + old[-1].span, lane.value),
            )
            run("COMMIT")
        except apsw.Error as e:
            self._roll_back()
            raise _told("outbox", e) from e
        totals.thinned += waiting - left
        totals.waiting += left - waiting
        totals.bytes += left_bytes - size
        self._read_oldest(lane)

    def used_bytes(self) -> int:
        """What the file's live pages take. Raises StoreError."""
        try:
            pages = self._db.execute("PRAGMA page_count").get - self._db.execute("PRAGMA freelist_count").get
        except apsw.Error as e:
            raise _told("outbox", e) from e
        return int(pages) * 4096

    def state(self) -> dict[str, bytes]:
        """All states that were kept."""
        try:
            return {row[0]: row[1] for row in self._db.execute("SELECT key, value FROM state")}
        except apsw.Error as e:
            raise _told("outbox", e) from e

    def marks(self) -> bytes:
        """The marks of the messages that were committed last, 8 bytes each, oldest first."""
        try:
            run = self._db.execute
            parts = [row[0] for row in run("SELECT marks FROM marks ORDER BY id")]
            for lane in Lane:
                parts += [row[0] for row in run(_BY_LANE["marks", lane], (_EVER,))]
            return b"".join(parts)
        except apsw.Error as e:
            raise _told("outbox", e) from e

    def close(self) -> None:
        """Close; the journal is folded into the file when the disk allows."""
        self._shut()

    def _shut(self) -> None:
        """Let go of the file. A disk that refuses now has refused what mattered before."""
        with contextlib.suppress(apsw.Error):
            self._db.close(True)
