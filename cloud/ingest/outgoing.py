"""What waits to be sent to gateways beside their desired documents: orders and commands, each under a topic of its own.

Owns one row a topic: the latest payload, whether the broker has it, and until when it is wanted. Everything is
retained at the broker, so a gateway that is away gets it when it comes; what is over is cleared there. A broker that
was away may have forgotten: whoever connects to it sends everything again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.db import insert
from cloud.ingest.store import outgoing

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH: Final = 50


class Waiting(NamedTuple):
    """A message that the broker does not have yet.

    rest: the topic below the gateway's. version: of this payload; it begins with the time, so that none comes again.
    """

    gateway: str
    rest: str
    payload: bytes
    version: int


def put(tx: Connection, gateway: str, rest: str, payload: bytes, now_ms: int, *, expires_ms: int = 0) -> None:
    """Have a payload sent to `patrolgrid/v1/<gateway>/<rest>`, in place of what was there.

    expires_ms: when it is cleared at the broker by itself, 0 for never. An empty payload clears it now.
    """
    row: dict[str, Any] = {
        "gateway": gateway, "rest": rest, "payload": payload, "unsent": True, "version": now_ms, "put_at": now_ms,
        "expires_at": expires_ms or None,
    }  # fmt: skip
    put = insert(tx, outgoing).values(row)
    again = {
        **{key: row[key] for key in ("payload", "unsent", "put_at", "expires_at")},
        "version": outgoing.c.version + 1,
    }
    tx.execute(put.on_conflict_do_update(index_elements=["gateway", "rest"], set_=again))


def held(tx: Connection, gateway: str, rest: str) -> bytes:
    """The payload under a topic, empty when there is none."""
    mine = (outgoing.c.gateway == gateway, outgoing.c.rest == rest)
    return tx.execute(sa.select(outgoing.c.payload).where(*mine)).scalar() or b""


def clear(tx: Connection, gateway: str, rest: str, now_ms: int) -> None:
    """Take a message back: a gateway that did not get it yet never will."""
    there = tx.execute(sa.select(outgoing.c.gateway).where(outgoing.c.gateway == gateway, outgoing.c.rest == rest))
    if there.first() is not None:
        put(tx, gateway, rest, b"", now_ms)


def any_over(tx: Connection, now_ms: int) -> bool:
    """Whether something is not wanted any more."""
    return tx.execute(sa.select(outgoing.c.gateway).where(outgoing.c.expires_at <= now_ms).limit(1)).first() is not None


def expire(tx: Connection, now_ms: int) -> None:
    """Have what is over cleared at the broker."""
    over = outgoing.c.expires_at <= now_ms
    tx.execute(
        outgoing.update().where(over).values(
            payload=b"", unsent=True, expires_at=None, version=outgoing.c.version + 1
        )
    )  # fmt: skip


def waiting(tx: Connection) -> list[Waiting]:
    """What the broker does not have, the oldest first, at most 50."""
    c = outgoing.c
    todo = sa.select(c.gateway, c.rest, c.payload, c.version).where(c.unsent).order_by(c.put_at, c.gateway).limit(BATCH)
    return [Waiting(*row) for row in tx.execute(todo)]


def sent(tx: Connection, message: Waiting, now_ms: int) -> None:
    """The broker has a message; one that cleared its topic is forgotten.

    When another process sent a later one meanwhile, the broker may have this one in its place: it is sent again.
    """
    c = outgoing.c
    here = (c.gateway == message.gateway, c.rest == message.rest)
    mine = (*here, c.version == message.version)
    done = outgoing.update().values(unsent=False) if message.payload else outgoing.delete()
    if tx.execute(done.where(*mine)).rowcount:
        return
    if not tx.execute(outgoing.update().where(*here).values(unsent=True)).rowcount and message.payload:
        put(tx, message.gateway, message.rest, b"", now_ms)


def resend(tx: Connection) -> None:
    """Nothing is known of what the broker has: send everything that is still wanted."""
    tx.execute(outgoing.update().where(~outgoing.c.unsent).values(unsent=True))


def forget_gateway(tx: Connection, gateway: str, now_ms: int) -> None:
    """A gateway is removed: take everything back."""
    values = {"payload": b"", "unsent": True, "expires_at": None, "version": outgoing.c.version + 1, "put_at": now_ms}
    tx.execute(outgoing.update().where(outgoing.c.gateway == gateway).values(**values))
