"""A journal for servers that acknowledge before they write: VictoriaMetrics keeps the last writes in memory only.

Measured with version 1.79: points that it had answered with 204 were gone after `kill -9` many seconds later. So every
batch is first put here, on our own disk, and sent again when the server turns out to have been restarted since. Rows
older than `KEEP_S`, written while the same server process still runs, are on its disk and are deleted.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import apsw

from firmware_specs import zstd
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

KEEP_S: Final = 300.0
_MAX_BATCH_BYTES: Final = 1 << 30
LOOK_EVERY_S: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS batch(id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, lines BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS server(id INTEGER PRIMARY KEY, started TEXT NOT NULL) STRICT;
"""


class Journal:
    """What was sent lately. `started` names the server's process: another answer means that it was restarted."""

    def __init__(
        self, path: Path, store: str, started: Callable[[], str], send: Callable[[Sequence[str]], None]
    ) -> None:
        self._store = store
        self._started = started
        self._send = send
        self._lock = threading.Lock()
        self._looked_at = -LOOK_EVERY_S
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = apsw.Connection(str(path))
            self._db.set_busy_timeout(30_000)
            self._db.pragma("journal_mode", "wal")
            self._db.pragma("synchronous", "full")
            self._db.execute(_SCHEMA)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (apsw.Error, OSError) as e:
            raise StoreError(self._store, f"journal: {e}") from e

    def write(self, lines: Sequence[str]) -> None:
        """Put lines on disk, then send them. Raises StoreError; the lines may be sent again later in any case."""
        packed = zstd.compress("\n".join(lines).encode())
        with self._lock, self._errors():
            self._db.execute("INSERT INTO batch(at, lines) VALUES(?, ?)", (time.time(), packed))
        try:
            self._send(lines)
        except StoreError:
            # It may have died and come back by the next look, even within the second that its start time tells.
            with self._lock, self._errors():
                self._db.execute("DELETE FROM server")
            raise
        self.settle()

    def settle(self, *, now: bool = False) -> None:
        """Send again what a restarted server may have lost; forget what is safe. Looks every few seconds, or now."""
        with self._lock:
            if not now and time.monotonic() - self._looked_at < LOOK_EVERY_S:
                return
            # Before the question, so that nothing is forgotten which was written after a restart it did not see.
            safe_before = time.time() - KEEP_S
            started = self._started()
            with self._errors():
                known = self._db.execute("SELECT started FROM server WHERE id = 1").get
                if known != started:
                    for row in self._db.execute("SELECT lines FROM batch ORDER BY id").fetchall():
                        packed: bytes = row[0]  # type: ignore[assignment] # the column is a BLOB
                        self._send(zstd.decompress(packed, _MAX_BATCH_BYTES).decode().split("\n"))
                    self._db.execute("UPDATE batch SET at = ?", (time.time(),))
                    self._db.execute("INSERT OR REPLACE INTO server(id, started) VALUES(1, ?)", (started,))
                self._db.execute("DELETE FROM batch WHERE at < ?", (safe_before,))
            self._looked_at = time.monotonic()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
