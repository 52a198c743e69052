"""The loss ledger reconciled with the sequence numbers: every number that was ever assigned is somewhere (D6).

Owns the account. Of each lane of each epoch numbers run from 1; what arrived, was covered and is missing is in its
mark. The ledger counts the same by day. If both agree, nothing is lost that is not listed here with its range, its time
and its cause; if they do not, the difference is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from cloud.ingest.rules import Mark, Range
from cloud.ingest.store import Tally, dead_letters, gaps, ledgers, marks

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_LISTED: Final = 200
"""Ranges and causes that are listed; all are counted."""
QUARANTINED: Final = "quarantined"
_ranges: Final = msgspec.json.Decoder(tuple[Range, ...]).decode


class LaneAccount(NamedTuple):
    """The numbers of one lane of one epoch. through: the highest that is known of. base: none below it comes any more.

    arrived: numbers that packs covered. missing: ranges below base that never came. closed: lost between ranges that
    were joined. coming: numbers between, which are still to come. current: of the epoch that was heard last.
    """

    epoch: str
    lane: str
    through: int
    base: int
    arrived: int
    missing: tuple[Range, ...]
    closed: int
    coming: int
    updated_at: int
    current: bool

    @property
    def lost(self) -> int:
        """How many numbers will never come."""
        return sum(high - low + 1 for low, high in self.missing) + self.closed


class Loss(NamedTuple):
    """Something that is lost.

    first, last: sequence numbers, 0 when it is not known which. numbers: how many, 0 when that is not known.
    from_ms, to_ms: of what time the readings were, 0 when unknown.
    cause: `never-sent`, `epoch-ended`, `joined`, `quarantined`, `refused`.
    """

    epoch: str
    lane: str
    first: int
    last: int
    numbers: int
    cause: str
    at_ms: int
    from_ms: int = 0
    to_ms: int = 0
    detail: str = ""


class Account(NamedTuple):
    """A gateway's whole account. unexplained: by how much the ledger and the numbers differ; 0 when they agree."""

    lanes: tuple[LaneAccount, ...]
    losses: tuple[Loss, ...]
    ledger: Tally
    poisoned: int
    quarantined: int
    unexplained: int


def lane_account(
    epoch: str, lane: str, mark: Mark, updated_at: int, *, current: bool
) -> LaneAccount:  # fmt: skip
    """The account of one mark. Pure."""
    through = max([mark.base - 1, *(high for _, high in mark.seen)])
    arrived = sum(high - low + 1 for low, high in mark.seen)
    missing = tuple(mark.missing(1, mark.base - 1))
    # What was lost between joined ranges is counted as arrived by them.
    lost = sum(high - low + 1 for low, high in missing)
    coming = through - arrived - lost
    return LaneAccount(
        epoch, lane, through, mark.base, arrived - mark.closed, missing, mark.closed, coming, updated_at, current
    )  # fmt: skip


def balance(lanes: tuple[LaneAccount, ...], ledger: Tally, quarantined: int) -> tuple[int, int]:
    """How many numbers were refused with their pack, and by how much ledger and numbers differ. Pure.

    Numbers that arrived were received (gap reports too), off shift, thinned, or in a pack that cannot be read.
    """
    arrived = sum(lane.arrived for lane in lanes)
    poisoned = arrived - ledger.received - ledger.off_shift - ledger.thinned
    lost = sum(lane.lost for lane in lanes) + quarantined + max(poisoned, 0)
    return max(poisoned, 0), (ledger.lost - lost) + min(poisoned, 0)


def account(tx: Connection, gateway: str) -> Account:
    """A gateway's account over everything that the ledger covers."""
    rows = tx.execute(sa.select(marks).where(marks.c.gateway == gateway).order_by(marks.c.updated_at.desc())).all()
    newest = rows[0].epoch if rows else ""
    lanes = tuple(
        lane_account(
            row.epoch, row.lane, Mark(_ranges(row.seen), row.base, row.closed), row.updated_at,
            current=row.epoch == newest,
        )
        for row in rows
    )  # fmt: skip
    sums = (sa.func.coalesce(sa.func.sum(ledgers.c[name]), 0) for name in Tally._fields)
    ledger = Tally(*(int(part) for part in tx.execute(sa.select(*sums).where(ledgers.c.gateway == gateway)).one()))
    by_reason = sa.select(gaps.c.reason, sa.func.sum(gaps.c["count"])).where(gaps.c.gateway == gateway)
    reported = {row[0]: int(row[1]) for row in tx.execute(by_reason.group_by(gaps.c.reason))}
    quarantined = reported.get(QUARANTINED, 0)
    poisoned, unexplained = balance(lanes, ledger, quarantined)
    losses = tuple(_losses(tx, gateway, lanes))[:MAX_LISTED]
    return Account(lanes, losses, ledger, poisoned, quarantined, unexplained)


def _losses(tx: Connection, gateway: str, lanes: tuple[LaneAccount, ...]) -> list[Loss]:
    """What is lost, the latest first."""
    found: list[Loss] = []
    for lane in lanes:
        cause = "never-sent" if lane.current else "epoch-ended"
        found += [
            Loss(lane.epoch, lane.lane, low, high, high - low + 1, cause, lane.updated_at) for low, high in lane.missing
        ]
        if lane.closed:
            found.append(Loss(lane.epoch, lane.lane, 0, 0, lane.closed, "joined", lane.updated_at))
    mine = sa.select(gaps).where(gaps.c.gateway == gateway, gaps.c.reason == QUARANTINED)
    for row in tx.execute(mine.order_by(gaps.c.received_at.desc()).limit(MAX_LISTED)).mappings():
        found.append(
            Loss(
                row["of_epoch"], row["of_lane"], 0, 0, row["count"], QUARANTINED, row["received_at"], row["from_ms"],
                row["to_ms"],
            )
        )  # fmt: skip
    c = dead_letters.c
    letters = sa.select(c.topic, c.reason, c.size, c.times, c.last_at).where(c.gateway == gateway)
    for letter in tx.execute(letters.order_by(c.last_at.desc()).limit(MAX_LISTED)):
        lane_name = letter.topic.rpartition("/")[2]
        found.append(Loss("", lane_name, 0, 0, 0, "refused", letter.last_at, detail=letter.reason))
    return sorted(found, key=lambda loss: -loss.at_ms)
