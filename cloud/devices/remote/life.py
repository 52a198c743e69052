"""A command's life after it was asked: answered part by part, over; never answered; forgotten.

Owns every change of its row. An answer that comes again, or after the end, changes nothing; one that a gateway gives to
what another was asked is refused and put on record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import stream, timers
from cloud.devices import service as devices
from cloud.devices.remote import bundles
from cloud.devices.remote.models import CommandNews
from cloud.devices.remote.rules import (
    BUNDLE,
    KEPT_MS,
    MAX_PARTS,
    MAX_TEXT,
    OVER,
    ROW_KEPT_MS,
    Phase,
    after_result,
    quiet_reason,
    run_ms,
)
from cloud.devices.remote.store import commands, parts
from cloud.ingest import hooks, outgoing
from cloud.org import audit
from cloud.org.rules import SYSTEM
from cloud.text import clean
from firmware_specs.errors import PackError
from firmware_specs.wire_fleet import Result, decode

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

DUE: Final = "remote-due"
FORGET: Final = "remote-forget"


def taken(tx: Connection, gateway: str, rest: str, payload: bytes, now_ms: int) -> None:
    """An answer of a gateway, `…/result/<id>`. Raises PackError."""
    result = decode(payload, Result)
    if result.id != rest:
        raise PackError(f"result: topic and payload name two commands, {rest[:64]!r} and {result.id!r}")
    row = tx.execute(sa.select(commands).where(commands.c.id == result.id).with_for_update()).first()
    if row is None:
        raise PackError(f"result: no command {result.id!r}")
    if row.gateway != gateway:
        _strange(tx, row, gateway, now_ms)
        raise PackError(f"result: command {result.id!r} is another gateway's")
    before = Phase(row.phase)
    if before in OVER:
        return
    phase, reason = after_result(before, result.phase), clean(result.reason, 500)
    text = clean(result.text, len(result.text))
    if text and (row.size + len(text) > MAX_TEXT or result.part >= MAX_PARTS):
        phase, reason, text = Phase.FAILED, "the answer is too long", ""
    new = _keep(tx, row, result.part, text)
    if phase in OVER:
        if row.kind == BUNDLE and phase is Phase.DONE and (why := bundles.fault(tx, row.id, reason)):
            phase, reason = Phase.FAILED, why
        end(tx, row, phase, reason, now_ms)
    elif before is Phase.WAITING:
        tx.execute(commands.update().where(commands.c.id == row.id).values(phase=phase.value))
        timers.set_timer(tx, DUE, row.id, now_ms + run_ms(row.kind))
        tell(tx, row.id, now_ms)
    elif new:
        tell(tx, row.id, now_ms)


def _keep(tx: Connection, row: Row[Any], part: int, text: str) -> bool:
    """Keep a part, and that all before it were sent; whether it is new."""
    there = sa.select(parts.c.part).where(parts.c.command == row.id, parts.c.part == part)
    new = bool(text) and tx.execute(there).first() is None
    if new:
        tx.execute(parts.insert().values(command=row.id, part=part, text=text))
    last = max(row.last_part, min(part, MAX_PARTS) if text else min(part, MAX_PARTS) - 1)
    size = row.size + len(text) if new else row.size
    if (last, size) != (row.last_part, row.size):
        tx.execute(commands.update().where(commands.c.id == row.id).values(last_part=last, size=size))
    return new


def _strange(tx: Connection, row: Row[Any], gateway: str, now_ms: int) -> None:
    """Put on record, once a command, that another gateway answered it."""
    if row.stranger == gateway:
        return
    tx.execute(commands.update().where(commands.c.id == row.id).values(stranger=gateway))
    audit.record(tx, SYSTEM, "remote.foreign", f"gateway/{gateway}", at=now_ms, detail=f"{row.id} of {row.gateway}")


def end(tx: Connection, row: Row[Any], phase: Phase, reason: str, now_ms: int) -> None:
    """Nothing follows any more: take it back at the broker, put its end on record."""
    values = {"phase": phase.value, "reason": reason, "ended_at": now_ms}
    tx.execute(commands.update().where(commands.c.id == row.id).values(values))
    outgoing.clear(tx, row.gateway, f"command/{row.id}", now_ms)
    timers.drop_timer(tx, DUE, row.id)
    timers.set_timer(tx, FORGET, row.id, now_ms + KEPT_MS)
    detail = f"{row.id} {row.kind}" + (f": {reason}" if reason else "")
    audit.record(tx, SYSTEM, f"remote.{phase}", f"gateway/{row.gateway}", at=now_ms, detail=detail)
    tell(tx, row.id, now_ms)


def tell(tx: Connection, command_id: str, now_ms: int) -> None:
    """Have pages know that a command moved on."""
    row = tx.execute(sa.select(commands).where(commands.c.id == command_id)).one()
    node = devices.get_gateway(tx, SYSTEM, row.gateway).node
    news = CommandNews(
        id=row.id, gateway=row.gateway, kind=row.kind, phase=Phase(row.phase), parts=row.last_part + 1
    )  # fmt: skip
    stream.append(tx, "command", news, at=now_ms, node=node, gateway=row.gateway)


def _due(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    """A command was not answered, or its answer did not end, in time."""
    row = tx.execute(sa.select(commands).where(commands.c.id == timer.key).with_for_update()).first()
    if row is not None and Phase(row.phase) not in OVER:
        end(tx, row, *quiet_reason(Phase(row.phase)), now_ms)


def _forget(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    """The text of an answer goes first, then that there was one."""
    if timer.data.get("row"):
        tx.execute(commands.delete().where(commands.c.id == timer.key))
        return
    tx.execute(parts.delete().where(parts.c.command == timer.key))
    if tx.execute(sa.select(commands.c.id).where(commands.c.id == timer.key)).first() is not None:
        timers.set_timer(tx, FORGET, timer.key, now_ms + ROW_KEPT_MS - KEPT_MS, {"row": True})


hooks.DOCUMENTS["result"] = taken
timers.HANDLERS[DUE] = _due
timers.HANDLERS[FORGET] = _forget
