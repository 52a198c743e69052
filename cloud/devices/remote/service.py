"""What other folders may do with remote help: ask something of a gateway, and see what came of it.

Owns the asking: who may, what, how many at a time; it is sent once and retained until it is answered or expired, which
`life` follows. Everything that a person asks and how it ended is on record.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.devices import service as devices
from cloud.devices.places import hold
from cloud.devices.remote import bundles
from cloud.devices.remote.life import DUE, taken, tell
from cloud.devices.remote.models import CommandView
from cloud.devices.remote.rules import (
    BUNDLE,
    GRACE_MS,
    KINDS,
    MAX_OPEN,
    MAX_TTL_S,
    OVER,
    Kind,
    Phase,
    fault,
)
from cloud.devices.remote.store import commands, parts
from cloud.errors import Forbidden, Invalid, NotFound, TooManyTries
from cloud.ingest import outgoing
from cloud.org import audit
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor
from cloud.text import clean
from firmware_specs.readings import checked_name
from firmware_specs.wire_fleet import Command, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Row

__all__ = ["KINDS", "Kind", "Phase", "download", "fault", "get", "list_commands", "send", "taken"]

READ_AT_ONCE: Final = 500
"""Parts that a view holds at most."""


def _may(principal: Principal) -> None:
    if not principal.may(Permission.PROVISION):
        raise Forbidden(f"role {principal.role} may not help gateways from afar")


def send(  # noqa: PLR0917 - who, whom, what, when
    tx: Connection, actor: Principal, gateway: str, kind: str, arguments: Mapping[str, str], now_ms: int,
    ttl_s: int = 60,
) -> CommandView:  # fmt: skip
    """Ask something of a gateway; it is done once, or not at all after ttl_s.

    Raises Forbidden, NotFound, Invalid, TooManyTries.
    """
    _may(actor)
    checked_name("kind", kind)
    if kind in KINDS and (why := fault(kind, arguments)):
        raise Invalid(why)
    devices.get_gateway(tx, actor, gateway)
    hold(tx, gateway)  # or two who ask at once would both be the last that may
    mine = (commands.c.gateway == gateway, commands.c.phase.not_in([each.value for each in OVER]))
    if kind != "stop" and tx.execute(sa.select(sa.func.count()).where(*mine)).scalar_one() >= MAX_OPEN:
        raise TooManyTries(f"gateway {gateway}: {MAX_OPEN} commands are on their way already", 30)
    expires_ms = now_ms + 1000 * min(max(ttl_s, 1), MAX_TTL_S)
    given = {clean(name, 64): clean(text, 256) for name, text in arguments.items()}
    command = Command(f"c{secrets.token_hex(12)}", kind, now_ms, expires_ms, given, gateway)
    row: dict[str, Any] = {
        "id": command.id, "gateway": gateway, "kind": kind, "arguments": json.dumps(given, ensure_ascii=False),
        "phase": Phase.WAITING.value, "reason": "", "asked_by": actor.label, "issued_at": now_ms,
        "expires_at": expires_ms, "ended_at": None, "last_part": -1, "size": 0, "stranger": "",
    }  # fmt: skip
    tx.execute(commands.insert().values(row))
    outgoing.put(tx, gateway, f"command/{command.id}", encode(command), now_ms, expires_ms=expires_ms)
    timers.set_timer(tx, DUE, command.id, expires_ms + GRACE_MS)
    said = " ".join([command.id, *(f"{name}={text}" for name, text in sorted(given.items()))])
    audit.record(tx, actor, f"remote.{kind}", f"gateway/{gateway}", at=now_ms, detail=said)
    tell(tx, command.id, now_ms)
    return get(tx, actor, command.id)


def get(tx: Connection, principal: Principal, command_id: str, after: int = 0) -> CommandView:
    """One command and its answer from a part on; below 0: so many parts from its end. Raises Forbidden, NotFound."""
    row = _row(tx, principal, command_id)
    after = max(0, row.last_part + 1 + after) if after < 0 else after
    node = devices.get_gateway(tx, principal, row.gateway).node
    return _view(tx, row, node, _counts(tx, [row]).get(row.id, 0), after)


def _row(tx: Connection, principal: Principal, command_id: str) -> Row[Any]:
    """Raises Forbidden, NotFound."""
    _may(principal)
    command_id = clean(command_id, 64)
    row = tx.execute(sa.select(commands).where(commands.c.id == command_id)).first()
    if row is not None:
        try:
            devices.get_gateway(tx, principal, row.gateway)
        except NotFound:
            row = None
    if row is None:
        raise NotFound(f"command {command_id}: not found")
    return row


def _counts(tx: Connection, rows: Sequence[Row[Any]]) -> dict[str, int]:
    """How many parts of the answers to commands are kept."""
    counted = sa.select(parts.c.command, sa.func.count().label("kept")).where(
        parts.c.command.in_([row.id for row in rows])
    )
    return {row.command: row.kept for row in tx.execute(counted.group_by(parts.c.command))}


def _view(tx: Connection, row: Row[Any], node: str, count: int, after: int | None) -> CommandView:
    """count: of the parts that are kept. after: None for no parts."""
    is_file = row.kind == BUNDLE
    found: list[Row[Any]] = []
    if after is not None and not is_file:
        mine = sa.select(parts).where(parts.c.command == row.id, parts.c.part >= after)
        found = list(tx.execute(mine.order_by(parts.c.part).limit(READ_AT_ONCE)))
    return CommandView(
        id=row.id, gateway=row.gateway, node=node, kind=row.kind, arguments=json.loads(row.arguments),
        phase=Phase(row.phase), reason=row.reason, asked_by=row.asked_by, issued_at=at(row.issued_at),
        expires_at=at(row.expires_at), ended_at=at_or_none(row.ended_at), parts=[each.text for each in found],
        next_part=found[-1].part + 1 if found else max(after or 0, 0),
        known_parts=row.last_part + 1,
        missing=row.last_part + 1 - count if count else 0,
        bundle=bundles.view(tx, row) if is_file and count and row.phase == Phase.DONE.value else None,
    )  # fmt: skip


def list_commands(
    tx: Connection, principal: Principal, gateway: str, *, limit: int = 50, cursor: str | None = None
) -> Page[CommandView]:
    """What was asked of a gateway, the latest first, without what was said. Raises Forbidden, NotFound, Invalid."""
    _may(principal)
    node = devices.get_gateway(tx, principal, gateway).node
    limit = min(max(limit, 1), MAX_LIMIT)
    c = commands.c
    wanted = sa.select(commands).where(c.gateway == gateway)
    if cursor:
        issued_at, command_id = decode_cursor(cursor, int, str)
        wanted = wanted.where(sa.tuple_(c.issued_at, c.id) < sa.tuple_(issued_at, command_id))
    rows = tx.execute(wanted.order_by(c.issued_at.desc(), c.id.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].issued_at, shown[-1].id) if len(rows) > limit else None
    counts = _counts(tx, shown)
    return Page(items=[_view(tx, row, node, counts.get(row.id, 0), None) for row in shown], next_cursor=following)


def download(tx: Connection, principal: Principal, command_id: str, now_ms: int) -> bytes:
    """The file that a gateway made, on record: for who asked for it and for administrators.

    Raises Forbidden, NotFound.
    """
    row = _row(tx, principal, command_id)
    if row.asked_by != principal.label and not principal.may(Permission.ADMINISTER):
        raise Forbidden(f"command {row.id}: its file is for who asked for it and for administrators")
    data = bundles.data(tx, row.id) if row.kind == BUNDLE and row.phase == Phase.DONE.value else None
    if data is None:
        raise NotFound(f"command {row.id}: there is no file")
    audit.record(tx, principal, "remote.download", f"gateway/{row.gateway}", at=now_ms, detail=row.id)
    return data
