"""The tables of ingest: sequence marks, the loss ledger, gaps, dead letters, and what waits to be sent.

Days of the ledger are days of arrival in UTC; whoever shows them says so.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from cloud.db import BigId, insert, metadata
from cloud.ingest.rules import Mark, Range
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from firmware_specs.readings import GapReport

Name: Final = sa.String(64)

marks: Final = sa.Table(
    "ingest_marks",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("epoch", Name, primary_key=True),
    sa.Column("lane", sa.String(16), primary_key=True),
    sa.Column("through", sa.BigInteger, nullable=False),
    sa.Column("base", sa.BigInteger, nullable=False),
    sa.Column("seen", sa.Text, nullable=False),
    sa.Column("closed", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

ledgers: Final = sa.Table(
    "ingest_ledger",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column("late", sa.BigInteger, nullable=False),
    sa.Column("thinned", sa.BigInteger, nullable=False),
    sa.Column("lost", sa.BigInteger, nullable=False),
    sa.Column("off_shift", sa.BigInteger, nullable=False, server_default="0"),
)
"""off_shift: positions of patrol members outside their shifts, which came and were not kept."""

gaps: Final = sa.Table(
    "ingest_gaps",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("epoch", Name, primary_key=True),
    sa.Column("lane", sa.String(16), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("of_epoch", Name, nullable=False),
    sa.Column("of_lane", sa.String(16), nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.Column("to_ms", sa.BigInteger, nullable=False),
    sa.Column("received_at", sa.BigInteger, nullable=False),
)

dead_letters: Final = sa.Table(
    "ingest_dead_letters",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("gateway", Name, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("properties", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("times", sa.BigInteger, nullable=False),
    sa.Column("first_at", sa.BigInteger, nullable=False),
    sa.Column("last_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("gateway", "digest"),
    sqlite_autoincrement=True,
)


outgoing: Final = sa.Table(
    "ingest_outgoing",
    metadata,
    sa.Column("gateway", Name, primary_key=True),
    sa.Column("rest", sa.String(160), primary_key=True),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("unsent", sa.Boolean, nullable=False, index=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("put_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, index=True),
)
"""See `cloud.ingest.outgoing`."""


class LaneKey(NamedTuple):
    """Whose sequence numbers."""

    gateway: str
    epoch: str
    lane: str


class Tally(NamedTuple):
    """What a day of a gateway's ledger gains. lost falls when something given up arrives after all.

    off_shift: arrived and was refused, because it said where a member was outside a shift.
    """

    received: int = 0
    late: int = 0
    thinned: int = 0
    lost: int = 0
    off_shift: int = 0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))


_ranges: Final = msgspec.json.Decoder(tuple[Range, ...]).decode


def load_marks(tx: Connection, keys: Iterable[LaneKey], *, lock: bool = False) -> dict[LaneKey, Mark]:
    """The marks that there are, of the keys given. lock: until the end of the transaction, in the keys' order."""
    wanted = sorted(set(keys))
    found: dict[LaneKey, Mark] = {}
    columns = (marks.c.gateway, marks.c.epoch, marks.c.lane)
    for begin in range(0, len(wanted), 200):
        query = sa.select(*columns, marks.c.seen, marks.c.base, marks.c.closed).where(
            sa.tuple_(*columns).in_(wanted[begin : begin + 200])
        )
        if lock:
            query = query.order_by(*columns).with_for_update()
        for gateway, epoch, lane, seen, base, closed in tx.execute(query):
            found[LaneKey(gateway, epoch, lane)] = Mark(_ranges(seen), base, closed)
    return found


def claim_marks(tx: Connection, keys: Iterable[LaneKey], now_ms: int) -> dict[LaneKey, Mark]:
    """The marks of the keys, made when they are new, locked against other workers until the transaction ends."""
    wanted = sorted(set(keys))
    found = load_marks(tx, wanted, lock=True)
    fresh = [key for key in wanted if key not in found]
    if not fresh:
        return found
    rows = [
        {**key._asdict(), "through": 0, "base": 1, "seen": "[]", "closed": 0, "updated_at": now_ms} for key in fresh
    ]
    tx.execute(insert(tx, marks).on_conflict_do_nothing(), rows)
    return found | load_marks(tx, fresh, lock=True)


def save_marks(tx: Connection, changed: Mapping[LaneKey, Mark], now_ms: int) -> None:
    """Write marks that `claim_marks` gave."""
    if not changed:
        return
    update = (
        marks.update()
        .where(
            marks.c.gateway == sa.bindparam("g"), marks.c.epoch == sa.bindparam("e"), marks.c.lane == sa.bindparam("l")
        )
        .values(
            through=sa.bindparam("t"), base=sa.bindparam("b"), seen=sa.bindparam("s"), closed=sa.bindparam("c"),
            updated_at=now_ms,
        )
    )  # fmt: skip
    tx.execute(
        update,
        [
            {
                "g": key.gateway, "e": key.epoch, "l": key.lane, "t": mark.through, "b": mark.base,
                "s": msgspec.json.encode(mark.seen).decode(), "c": mark.closed,
            }
            for key, mark in sorted(changed.items())
        ],
    )  # fmt: skip


def add_to_ledger(tx: Connection, day: int, gained: Mapping[str, Tally]) -> None:
    """Add to the ledgers of gateways on a day (days since 1970, UTC)."""
    rows = [
        {"gateway": gateway, "day": day, **tally._asdict()} for gateway, tally in sorted(gained.items()) if any(tally)
    ]
    if not rows:
        return
    put = insert(tx, ledgers)
    tx.execute(
        put.on_conflict_do_update(
            index_elements=[ledgers.c.gateway, ledgers.c.day],
            set_={name: ledgers.c[name] + put.excluded[name] for name in Tally._fields},
        ),
        rows,
    )


def add_gaps(tx: Connection, key: LaneKey, reports: Iterable[tuple[int, GapReport]], now_ms: int) -> None:
    """Keep gap reports; the same again changes nothing."""
    rows = [
        {
            **key._asdict(), "sequence": sequence, "reason": gap.reason.value, "of_epoch": clean(gap.epoch, 64),
            "of_lane": gap.lane.value, "count": gap.count, "from_ms": gap.from_ms, "to_ms": gap.to_ms,
            "received_at": now_ms,
        }
        for sequence, gap in reports
    ]  # fmt: skip
    if rows:
        tx.execute(insert(tx, gaps).on_conflict_do_nothing(), rows)


class DeadLetter(NamedTuple):
    """A pack that cannot be taken in. payload: all of it when it will be acknowledged, else its beginning."""

    gateway: str
    topic: str
    properties: str
    payload: bytes
    size: int
    reason: str

    @property
    def digest(self) -> str:
        """By which a repeat is recognised."""
        return hashlib.sha256(b"\0".join((self.topic.encode(), self.properties.encode(), self.payload))).hexdigest()


def count_dead_letters(tx: Connection, gateway: str) -> int:
    """How many different ones of a gateway are kept."""
    query = sa.select(sa.func.count()).select_from(dead_letters).where(dead_letters.c.gateway == gateway)
    return int(tx.execute(query).scalar_one())


def add_dead_letter(tx: Connection, letter: DeadLetter, now_ms: int) -> None:
    """Keep a pack with its reason; the same again is counted."""
    row: dict[str, Any] = {
        "gateway": letter.gateway, "digest": letter.digest, "topic": letter.topic, "properties": letter.properties,
        "payload": letter.payload, "size": letter.size, "reason": letter.reason, "times": 1, "first_at": now_ms,
        "last_at": now_ms,
    }  # fmt: skip
    put = insert(tx, dead_letters)
    tx.execute(
        put.on_conflict_do_update(
            index_elements=[dead_letters.c.gateway, dead_letters.c.digest],
            set_={"times": dead_letters.c.times + 1, "last_at": now_ms},
        ),
        [row],
    )
