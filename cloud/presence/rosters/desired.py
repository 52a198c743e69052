"""What each gateway is to hold to: when positions of what is carried may exist, and how often readings are kept.

Owns the documents: made from shifts, overrides and the response level, numbered by a version that rises when their
content does, and kept until the broker has them. Whoever changes what they are made of marks them stale in the same
transaction; the process that speaks with the broker makes and sends what is stale. A gateway that reports another
version than ours is sent ours again, so nothing has to be remembered by the broker.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec
import sqlalchemy as sa

from cloud import timers
from cloud.db import insert
from cloud.devices.places import gateway_node, gateway_nodes
from cloud.incidents.levels import hooks as level_hooks
from cloud.incidents.levels import service as levels
from cloud.presence.rosters import rules
from cloud.presence.rosters.duty import BEGINS, ENDS, running
from cloud.presence.rosters.models import CARRIED
from cloud.presence.rosters.store import desired, equipment, overrides, shifts
from firmware_specs.carried import merged
from firmware_specs.wire import MAX_DESIRED_BYTES, MAX_WINDOWS, Desired, encode_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from cloud.timers import Timer
    from firmware_specs.carried import Window

KIND: Final = "rosters.desired"
AHEAD_MS: Final = 48 * rules.HOUR_MS
BEHIND_MS: Final = 24 * rules.HOUR_MS
"""Windows that ended are kept this long: a device may still hold fixes from them."""
REFRESH_MS: Final = 6 * rules.HOUR_MS
"""How often a document is made anew though nothing changed, so that its windows reach far enough ahead."""
BATCH: Final = 50
_FEWER: Final = (16, 4, 1)
"""Windows of a device in a document that would otherwise be too large for its gateway to take."""
_HEAD_BYTES: Final = 200


def mark(tx: Connection, gateways: Iterable[str]) -> None:
    """What these gateways hold to has changed."""
    rows = [
        {"gateway": gateway, "version": 0, "hash": "", "document": "", "stale": True, "unsent": False,
         "reported_version": 0}
        for gateway in sorted(set(gateways))
    ]  # fmt: skip
    if rows:
        put = insert(tx, desired)
        tx.execute(put.on_conflict_do_update(index_elements=["gateway"], set_={"stale": True}), rows)


def reported(tx: Connection, gateway: str, version: int) -> None:
    """A gateway says which document it holds to; another than ours is sent anew."""
    row = tx.execute(sa.select(desired).where(desired.c.gateway == gateway)).first()
    if row is None:
        mark(tx, [gateway])
        return
    unsent = row.unsent or (bool(row.document) and version != row.version)
    values = {"reported_version": version, "unsent": unsent}
    tx.execute(desired.update().where(desired.c.gateway == gateway).values(**values))


def waiting(tx: Connection) -> list[str]:
    """Gateways whose document has to be made or sent, at most 50."""
    todo = sa.select(desired.c.gateway).where(sa.or_(desired.c.stale, desired.c.unsent))
    return list(tx.execute(todo.order_by(desired.c.gateway).limit(BATCH)).scalars())


def refresh(tx: Connection, gateway: str, now_ms: int, sos_s: int) -> tuple[int, bytes] | None:
    """Make a document anew when it is stale; its version and bytes when the broker does not have it."""
    row = tx.execute(sa.select(desired).where(desired.c.gateway == gateway).with_for_update()).first()
    if row is None or not (row.stale or row.unsent):
        return None
    node = gateway_node(tx, gateway)
    if node is None:  # it was removed; should it come back, its report asks for a document
        tx.execute(desired.delete().where(desired.c.gateway == gateway))
        timers.drop_timer(tx, KIND, gateway)
        return None
    version, document, unsent = row.version, row.document, row.unsent
    if row.stale:
        made = build(tx, gateway, node, now_ms=now_ms, sos_s=sos_s)
        values: dict[str, object] = {"stale": False}
        if made.hash != row.hash:
            version, unsent = row.version + 1, True
            document = encode_message(msgspec.structs.replace(made, version=version)).decode()
            values |= {"version": version, "hash": made.hash, "document": document, "unsent": True}
        tx.execute(desired.update().where(desired.c.gateway == gateway).values(**values))
        timers.set_timer(tx, KIND, gateway, now_ms + REFRESH_MS)
    return (version, document.encode()) if unsent else None


def sent(tx: Connection, gateway: str, version: int, now_ms: int) -> None:
    """The broker has a document."""
    mine = (desired.c.gateway == gateway, desired.c.version == version)
    tx.execute(desired.update().where(*mine).values(unsent=False, sent_at=now_ms))


def build(tx: Connection, gateway: str, node: str, *, now_ms: int, sos_s: int) -> Desired:
    """The document of a gateway as it should be now, without its version."""
    reporting_s = levels.policy(tx, node, levels.effective(tx, node, now_ms)).reporting_s
    windows = _windows(tx, gateway, now_ms)
    for most in (MAX_WINDOWS, *_FEWER):
        few = {device: rules.nearest_windows(each, now_ms, most) for device, each in windows.items()}
        body = Desired(0, "", few, {"*": reporting_s} if reporting_s > 0 else {}, sos_s)
        encoded = encode_message(body)
        if len(encoded) < MAX_DESIRED_BYTES - _HEAD_BYTES:
            break
    return msgspec.structs.replace(body, hash=hashlib.sha256(encoded).hexdigest()[:16])


def _windows(tx: Connection, gateway: str, now_ms: int) -> dict[str, tuple[Window, ...]]:
    from_ms, to_ms = now_ms - BEHIND_MS, now_ms + AHEAD_MS
    mine = (equipment.c.gateway == gateway, equipment.c.kind.in_(CARRIED), equipment.c.archived_at.is_(None))
    found: dict[str, list[Window]] = {
        device: [] for device in tx.execute(sa.select(equipment.c.device).where(*mine)).scalars()
    }
    of = sa.or_(equipment.c.id == shifts.c.armband, equipment.c.id == shifts.c.radio)
    planned = sa.select(equipment.c.device, BEGINS, ENDS).join(shifts, of).where(*mine, running(from_ms, to_ms))
    lifted = sa.select(overrides.c.device, overrides.c.at, overrides.c.ends_at).where(
        overrides.c.gateway == gateway, overrides.c.ends_at > from_ms, overrides.c.at < to_ms
    )
    for device, begins, ends in [*tx.execute(planned), *tx.execute(lifted)]:
        if device in found:
            found[device].append((begins, ends))
    return {device: merged(windows) for device, windows in sorted(found.items())}


def _due(tx: Connection, timer: Timer, _now_ms: int) -> None:
    mark(tx, [timer.key])


def _level_changed(tx: Connection, node: str, _now_ms: int) -> None:
    mark(tx, (gateway for gateway, at in gateway_nodes(tx).items() if at.startswith(node)))


timers.HANDLERS[KIND] = _due
level_hooks.LISTENERS.append(_level_changed)
