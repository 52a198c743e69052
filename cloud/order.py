"""The gateways' own order of things, as one number that survives repeats, disorder and lying clocks.

Owns the table of outbox epochs. A gateway numbers what it sends from 1 within an epoch (an outbox file); the cloud
numbers the epochs of each gateway in the order in which it first hears of them. `rank` joins the two. Latest values and
alarm occurrences are ordered by rank and never by a clock, so a clock that jumps to 2099 and back freezes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from cloud.db import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

SEQUENCE_BITS: Final = 44

epochs: Final = sa.Table(
    "epochs",
    metadata,
    sa.Column("gateway", sa.String(64), primary_key=True),
    sa.Column("epoch", sa.String(64), primary_key=True),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("first_heard_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("gateway", "ordinal"),
)


def rank(ordinal: int, sequence: int) -> int:
    """Where something stands in the order of its gateway; ordinal 0 is the cloud's own."""
    return (ordinal << SEQUENCE_BITS) | sequence


def ordinal_of(tx: Connection, gateway: str, epoch: str, now_ms: int) -> int:
    """The epoch's place among those of its gateway, from 1; given on first use."""
    mine = sa.select(epochs.c.ordinal).where(epochs.c.gateway == gateway, epochs.c.epoch == epoch)
    known = tx.execute(mine).scalar()
    if known is not None:
        return int(known)
    top = tx.execute(sa.select(sa.func.max(epochs.c.ordinal)).where(epochs.c.gateway == gateway)).scalar()
    ordinal = int(top or 0) + 1
    tx.execute(epochs.insert().values(gateway=gateway, epoch=epoch, ordinal=ordinal, first_heard_at=now_ms))
    return ordinal
