"""What other folders may ask of ingest: the loss ledger, the gaps, the dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from cloud.ingest.reconcile import Account, LaneAccount, Loss, account
from cloud.ingest.store import Tally, dead_letters, gaps, ledgers

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

__all__ = [
    "Account", "DeadLetterView", "Gap", "LaneAccount", "LedgerDay", "Loss", "Tally", "account", "forget_dead_letters",
    "ledger", "ledger_between", "ledger_days", "ledger_totals", "list_dead_letters", "list_gaps",
]  # fmt: skip

_DAY_MS: Final = 86_400_000
_CHUNK: Final = 500


class LedgerDay(NamedTuple):
    """A gateway's ledger of one day of arrival. begins_ms: midnight UTC."""

    begins_ms: int
    tally: Tally


class Gap(NamedTuple):
    """Readings that a gateway reported as not coming. from_ms, to_ms: 0 when unknown."""

    reason: str
    lane: str
    readings: int
    from_ms: int
    to_ms: int
    received_at: int


class DeadLetterView(NamedTuple):
    """A pack that was refused, and why. size: of the payload in bytes."""

    id: int
    gateway: str
    reason: str
    size: int
    times: int
    first_at: int
    last_at: int


def ledger(tx: Connection, gateway: str) -> Tally:
    """All days of a gateway together: received, late (part of received), thinned, lost."""
    return ledger_totals(tx, [gateway]).get(gateway, Tally())


def ledger_totals(tx: Connection, gateways: Sequence[str]) -> dict[str, Tally]:
    """`ledger` of several gateways in one query; those without any are absent."""
    query = (
        sa.select(ledgers.c.gateway, *(sa.func.sum(ledgers.c[name]) for name in Tally._fields))
        .where(ledgers.c.gateway.in_(list(gateways)))
        .group_by(ledgers.c.gateway)
    )
    return {row[0]: Tally(*(int(part) for part in row[1:])) for row in tx.execute(query)}


def ledger_days(tx: Connection, gateway: str, limit: int = 31) -> list[LedgerDay]:
    """The latest days of a gateway that have any entry, newest first."""
    query = (
        sa.select(ledgers.c.day, *(ledgers.c[name] for name in Tally._fields))
        .where(ledgers.c.gateway == gateway)
        .order_by(ledgers.c.day.desc())
        .limit(limit)
    )
    return [LedgerDay(row[0] * _DAY_MS, Tally(*row[1:])) for row in tx.execute(query)]


def ledger_between(tx: Connection, gateways: Collection[str], from_ms: int, to_ms: int) -> dict[str, Tally]:
    """The ledgers of gateways over the days that begin within a period; those without any are absent."""
    first, after = -(-from_ms // _DAY_MS), -(-to_ms // _DAY_MS)
    names = sorted(gateways)
    found: dict[str, Tally] = {}
    for begin in range(0, len(names), _CHUNK):
        query = (
            sa.select(ledgers.c.gateway, *(sa.func.sum(ledgers.c[name]) for name in Tally._fields))
            .where(ledgers.c.gateway.in_(names[begin : begin + _CHUNK]), ledgers.c.day >= first, ledgers.c.day < after)
            .group_by(ledgers.c.gateway)
        )
        found |= {row[0]: Tally(*(int(part) for part in row[1:])) for row in tx.execute(query)}
    return found


def list_gaps(tx: Connection, gateway: str, limit: int = 100) -> list[Gap]:
    """What a gateway reported as thinned or quarantined, newest first."""
    query = (
        sa.select(gaps.c.reason, gaps.c.of_lane, gaps.c["count"], gaps.c.from_ms, gaps.c.to_ms, gaps.c.received_at)
        .where(gaps.c.gateway == gateway)
        .order_by(gaps.c.received_at.desc(), gaps.c.sequence.desc())
        .limit(limit)
    )
    return [Gap(*row) for row in tx.execute(query)]


def list_dead_letters(tx: Connection, gateway: str | None = None, limit: int = 100) -> list[DeadLetterView]:
    """Refused packs, of one gateway or all, newest first."""
    c = dead_letters.c
    query = (
        sa.select(c.id, c.gateway, c.reason, c.size, c.times, c.first_at, c.last_at).order_by(c.id.desc()).limit(limit)
    )
    if gateway is not None:
        query = query.where(c.gateway == gateway)
    return [DeadLetterView(*row) for row in tx.execute(query)]


def forget_dead_letters(tx: Connection, before_ms: int) -> None:
    """Delete dead letters that did not come again since a time: they may say where somebody was (P3)."""
    tx.execute(dead_letters.delete().where(dead_letters.c.last_at < before_ms))
