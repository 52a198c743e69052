"""A journal on our own disk before a series server: what is in it is kept, whatever becomes of the server.

A batch is put here first and then sent. VictoriaMetrics acknowledges before it writes: with version 1.79 points that it
had answered with 204 were gone after `kill -9` many seconds later, so what was sent lately stays here and is sent again
when the server turns out to have been restarted. And a server that is away holds nobody up, since alarms travel in the
same packs as readings: batches wait here, `MOST_BYTES` at most, and a thread sends them in their order when it is back.
Sending twice changes nothing. Several processes may share a file; one of them at a time sends what waits.
"""

from __future__ import annotations

import fcntl
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import apsw
import structlog

from firmware_specs import zstd
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

KEEP_S: Final = 300.0
"""What a server process took longer ago, and still runs, is on its disk."""
MOST_BYTES: Final = 2 * 1024**3
"""Of batches that wait, compressed; then gateways keep what they have."""
LOOK_EVERY_S: Final = 5.0
_MAX_BATCH_BYTES: Final = 1 << 30
_AGAIN_FIRST_S: Final = 0.5
_AGAIN_MOST_S: Final = 10.0
_CLOSE_S: Final = 10.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS batch(id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, lines BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sent(id INTEGER PRIMARY KEY, at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS server(id INTEGER PRIMARY KEY, started TEXT NOT NULL) STRICT;
"""
"""sent: when the server took a batch; a batch that is not there waits. server: the process that took them, empty while
it is not known."""
_WAITS: Final = "FROM batch WHERE id NOT IN (SELECT id FROM sent)"
_log: Final = structlog.get_logger("telemetry")


class Journal:
    """What waits for a server, and what it took lately.

    started: asks the server which process it is, by its start; another answer means that it was restarted.
    Raises StoreError when the file cannot be used.
    """

    def __init__(
        self, path: Path, store: str, started: Callable[[], str], send: Callable[[Sequence[str]], None],
        most_bytes: int = MOST_BYTES,
    ) -> None:  # fmt: skip
        self._path = path
        self._store = store
        self._started = started
        self._send = send
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        """Held around every use of the file in this process, never while the server is waited for."""
        self._sent: list[tuple[int, float]] = []
        """What the server took since the last look; should that never reach the file, it is sent twice."""
        self._process: object = None
        """The server's process, as this one knows it."""
        self._looked_at = -LOOK_EVERY_S
        self._away_since: float | None = None
        self._closing = False
        self._wake = threading.Event()
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = apsw.Connection(str(path))
            self._db.set_busy_timeout(30_000)
            self._db.pragma("journal_mode", "wal")
            self._db.pragma("synchronous", "full")
            self._db.execute(_SCHEMA)
            self._waiting_bytes = self._count()
        self._behind = self._waiting_bytes > 0
        """Whether batches wait, so that new ones come after them."""
        self._thread = threading.Thread(target=self._work, name="telemetry-journal", daemon=True)
        self._thread.start()
        if self._behind:
            self._wake.set()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (apsw.Error, OSError) as e:
            raise StoreError(self._store, f"journal: {e}") from e

    @contextmanager
    def _file(self) -> Iterator[apsw.Connection]:
        with self._lock, self._errors():
            yield self._db

    def _count(self) -> int:
        waiting: int = self._db.execute(f"SELECT coalesce(sum(length(lines)), 0) {_WAITS}").get
        return waiting

    def write(self, lines: Sequence[str]) -> None:
        """Put lines on disk, then send them unless others wait. Raises StoreError when the disk or the room is out."""
        packed = zstd.compress("\n".join(lines).encode())
        with self._file() as db:
            if self._behind and self._waiting_bytes + len(packed) > self._most_bytes:
                raise StoreError(self._store, f"not reachable, and the journal is full: {self._most_bytes >> 20} MiB")
            db.execute("INSERT INTO batch(at, lines) VALUES(?, ?)", (time.time(), packed))
            batch = db.last_insert_rowid()
            if self._behind:
                self._waiting_bytes += len(packed)
                return
        try:
            self._send(lines)
            self._sent.append((batch, time.time()))
            self._look()
        except StoreError as e:
            self._lost(e)

    def _look(self, *, now: bool = False) -> None:
        """Every few seconds, or now: have a restarted server sent all again; forget what is safe."""
        if not now and time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        # Before the question, so that nothing is forgotten which was written after a restart it did not see.
        safe_before = time.time() - KEEP_S
        started = self._started()
        with self._file() as db, db:
            known = self._note_sent(db)
            if known != started:
                db.execute("INSERT OR REPLACE INTO server(id, started) VALUES(1, ?)", (started,))
            if known not in {None, started}:
                db.execute("DELETE FROM sent")
            if known not in {None, started} or known != self._process:
                self._waiting_bytes = self._count()
                self._behind = self._waiting_bytes > 0
                self._wake.set()
            db.execute("DELETE FROM batch WHERE id IN (SELECT id FROM sent WHERE at < ?)", (safe_before,))
            db.execute("DELETE FROM sent WHERE at < ?", (safe_before,))
            self._process = started
            self._looked_at = time.monotonic()

    def _note_sent(self, db: apsw.Connection) -> object:
        """Write down what was sent; gives the server's process in the file.

        When that is another than this process knows, somebody else saw a restart first, and what was sent may be lost.
        """
        known: object = db.execute("SELECT started FROM server WHERE id = 1").get
        sent, self._sent = self._sent, []
        if known == self._process:
            db.executemany("INSERT OR REPLACE INTO sent(id, at) VALUES(?, ?)", sent)
        return known

    def _lost(self, error: StoreError) -> None:
        """The server does not answer: what comes waits behind what it did not take."""
        if self._away_since is None:
            _log.warning("telemetry store away, readings wait in the journal", store=self._store, cause=error.reason)
            self._away_since = time.monotonic()
        self._behind = True
        self._wake.set()
        # It may have died and come back by the next look, even within the second that its start time tells.
        with self._file() as db:
            self._note_sent(db)
            db.execute("INSERT OR REPLACE INTO server(id, started) VALUES(1, '')")
            self._process = ""
            self._waiting_bytes = self._count()

    def _found(self) -> None:
        if self._away_since is not None:
            _log.info("telemetry store serves again", store=self._store, away_s=round(self.away_s(), 1))
            self._away_since = None

    def _work(self) -> None:
        pause_s = _AGAIN_FIRST_S
        while not self._closing:
            self._wake.wait(pause_s if self._behind else None)
            self._wake.clear()
            if not self._behind or self._closing:
                continue
            try:
                self.catch_up()
                pause_s = _AGAIN_FIRST_S
            except StoreError as e:
                with suppress(StoreError):  # of the disk, which the next writer is told of
                    self._lost(e)
                self._wake.clear()
                pause_s = min(2 * pause_s, _AGAIN_MOST_S)

    def catch_up(self) -> None:
        """Send all that waits, oldest first. Raises StoreError when the server is away."""
        self._look(now=True)
        with self._alone() as alone:
            while alone and not self._closing:
                with self._file() as db:
                    if self._note_sent(db) != self._process:
                        return  # begin anew with the server as it is now
                    row = db.execute(f"SELECT id, lines {_WAITS} ORDER BY id LIMIT 1").fetchone()
                    if row is None:
                        self._behind, self._waiting_bytes = False, 0
                        break
                batch: int = row[0]
                packed: bytes = row[1]
                self._send(zstd.decompress(packed, _MAX_BATCH_BYTES).decode().split("\n"))
                with self._lock:
                    self._sent.append((batch, time.time()))
                    self._waiting_bytes = max(0, self._waiting_bytes - len(packed))
        self._found()

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other thread or process sends what waits meanwhile."""
        with self._path.with_name(self._path.name + ".send-lock").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def away_s(self) -> float:
        """For how long the server has not answered, as far as is known here; 0 when it did at last."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    def ask(self) -> float:
        """`away_s` after asking the server now."""
        try:
            self._look(now=True)
            if not self._behind:
                self._found()
        except StoreError as e:
            self._lost(e)
        return self.away_s()

    def stats(self) -> dict[str, float]:
        """What waits, and for how long the server has been away."""
        return {"journal_waiting_bytes": self._waiting_bytes, "away_seconds": self.away_s()}

    def close(self) -> None:
        """End the thread and close the file; what waits is sent after the next start."""
        self._closing = True
        self._wake.set()
        self._thread.join(_CLOSE_S)
        with self._lock:
            self._db.close()
