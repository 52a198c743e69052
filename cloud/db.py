"""The relational database: one metadata, one way to open it, two kinds of transaction.

Owns the engine. SQLite runs with WAL and `synchronous=FULL`; a write transaction begins IMMEDIATE, and writers of one
process wait in a queue, since SQLite's own waiting polls. PostgreSQL runs READ COMMITTED; whoever changes the state
of a gateway locks that gateway's row first.

What a transaction wants to say to the rest of the system (event-stream rows, audit rows) is buffered in its `Work` and
written at the very end, by `finishers`, under one lock. So their ids follow the order of commits, which is what makes
a stream resumable by id, and no other lock is ever taken after that one, which is what keeps it free of deadlocks.
"""

from __future__ import annotations

import sys
import threading
import zlib
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, OperationalError

from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import ModuleType, TracebackType

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

metadata: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of every folder's `store.py`."""

BigId: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""A 64-bit primary key that counts up by itself on both databases."""

SQLITE_FILE: Final = "patrolgrid.db"
BUSY_TIMEOUT_MS: Final = 10_000
FINISH_LOCK: Final = 0x5061747200000001
"""PostgreSQL advisory lock under which buffered rows are written."""
MIGRATE_LOCK: Final = 0x5061747200000002
TURN_LOCK: Final = 0x50617472
"""First half of the PostgreSQL advisory locks of `in_turn`."""


@dataclass
class Work:
    """What a write transaction collects: rows written last, and what to call once it is committed."""

    buffers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    after_commit: list[Callable[[], None]] = field(default_factory=list)


def work_of(tx: Connection) -> Work:
    """The buffers of a write transaction begun by `Database.begin`."""
    work = tx.info.get("work")
    if not isinstance(work, Work):
        raise TypeError("not a write transaction of Database.begin()")
    return work


def data_dir_of(tx: Connection) -> Path:
    """The service's data folder, whose files go with the database."""
    folder = tx.get_execution_options().get("patrol_data_dir")
    if not isinstance(folder, Path):
        raise TypeError("not a connection of open_database()")
    return folder


finishers: Final[list[Callable[[Connection, Work], None]]] = []
"""Called in order before a commit whose Work has buffered rows; `cloud.stream` and `cloud.org.audit` add theirs."""


class Turns:
    """A lock that is given in the order in which it was asked for.

    Whoever works off a queue asks again as soon as it has let go; by an ordinary lock it would be first each time, and
    a person who acknowledges an alarm would wait until a storm of them is over.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def __enter__(self) -> Self:
        turn = threading.Lock()
        with self._guard:
            if not self._taken:
                self._taken = True
                return self
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _at: TracebackType | None) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


class Database:
    """An open database. Safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sqlite = engine.dialect.name == "sqlite"
        self._writer = Turns() if self.sqlite else None
        self.committed: list[Callable[[], None]] = []
        """Called, in the committing thread, after each commit that wrote event rows."""

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: commits at the end of the block, rolls back when the block raises.

        Raises StoreError when the database refuses or cannot be reached.
        """
        if self._writer:
            with self._writer:
                work = yield from self._write()
        else:
            work = yield from self._write()
        for call in work.after_commit:
            call()
        if work.buffers.get("events"):
            for call in self.committed:
                call()

    def _write(self) -> Generator[Connection, None, Work]:
        work = Work()
        with _store_errors(), self.engine.connect() as plain:
            tx = plain.execution_options(patrol_write=True)
            with tx.begin():
                tx.info["work"] = work
                try:
                    yield tx
                    if work.buffers:
                        if not self.sqlite:
                            tx.execute(sa.select(sa.func.pg_advisory_xact_lock(FINISH_LOCK)))
                        for finish in finishers:
                            finish(tx, work)
                finally:
                    tx.info.pop("work", None)
        return work

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction. Raises StoreError when the database refuses or cannot be reached."""
        with _store_errors(), self.engine.connect() as tx, tx.begin():
            yield tx

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as e:
        raise StoreError("database", _first_line(e)) from e
    except DatabaseError as e:
        if type(e) is not DatabaseError:
            raise
        # Neither a constraint nor bad data: the file is damaged or no database.
        raise StoreError("database", _first_line(e)) from e


def _first_line(e: DBAPIError) -> str:
    return next(iter(str(e.orig).strip().splitlines()), type(e.orig).__name__)


def sqlite_module() -> ModuleType:
    """The SQLite binding: pysqlite3 on Linux, which bundles a current SQLite (3.40 has the WAL-reset bug)."""
    if sys.platform == "linux":
        from pysqlite3 import dbapi2  # noqa: PLC0415 - exists on Linux only
    else:
        from sqlite3 import dbapi2  # type: ignore[no-redef] # noqa: PLC0415
    module: ModuleType = dbapi2
    return module


def insert(tx: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can say ON CONFLICT, in the database's own dialect."""
    return sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)


def in_turn(tx: Connection, name: str) -> None:
    """Let transactions that name the same thing follow one another. SQLite's writers do so anyway."""
    if tx.dialect.name == "postgresql":
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(TURN_LOCK, zlib.crc32(name.encode()) - 2**31)))


def many(tx: Connection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    """Execute plain SQL for many rows without SQLAlchemy's cost for each; `?` is a parameter on any database."""
    if rows:
        tx.exec_driver_sql(sql if tx.dialect.name == "sqlite" else sql.replace("?", "%s"), rows)


def open_database(url: str, data_dir: Path, password: str | None = None) -> Database:
    """Open `sqlite` (a file below data_dir, which is made) or `postgresql://…`.

    Connects once, so that a wrong address or password is known now. Raises StoreError.
    """
    engine = _sqlite(data_dir) if url == "sqlite" else _postgresql(url, data_dir, password)
    database = Database(engine)
    try:
        with database.read() as tx:
            tx.execute(sa.text("SELECT 1"))
    except StoreError as e:
        engine.dispose()
        raise StoreError(data_dir.joinpath(SQLITE_FILE).as_posix() if url == "sqlite" else url, e.reason) from e
    return database


def _sqlite(data_dir: Path) -> Engine:
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise StoreError(str(data_dir), e.strerror or str(e)) from e
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(data_dir / SQLITE_FILE)),
        module=sqlite_module(),
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False, "cached_statements": 512},
        execution_options={"patrol_data_dir": data_dir},
        poolclass=sa.QueuePool,
        pool_size=8,
        max_overflow=40,
    )
    sa.event.listen(engine, "connect", _sqlite_connected)
    sa.event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_connected(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The binding must not begin transactions by itself: `_sqlite_begin` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=2000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(tx: Connection) -> None:
    write = tx.get_execution_options().get("patrol_write", False)
    tx.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _postgresql(url: str, data_dir: Path, password: str | None) -> Engine:
    try:
        parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as e:
        raise StoreError(url, "not a database URL") from e
    if password:
        parsed = parsed.set(password=password)
    return sa.create_engine(
        parsed,
        connect_args={"connect_timeout": 5, "application_name": "patrol-cloud"},
        execution_options={"patrol_data_dir": data_dir},
        pool_size=8,
        max_overflow=40,
        pool_pre_ping=True,
    )
