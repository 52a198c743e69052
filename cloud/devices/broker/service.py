"""What other folders may do with broker: ask who may do what, and what was done about revocations.

Entered in the loop of the worker by `keeping.run`; nothing here touches the broker itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cloud.devices import places
from cloud.devices.broker import rules
from cloud.devices.broker.store import cuts
from cloud.devices.enrolment import service as enrolment
from cloud.settings import secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from cloud.config import Config

MOST_CUTS: Final = 200
"""Gateways in one pass; the rest are for the next."""


def shared_token(config: Config) -> str | None:
    """What a broker that asks over HTTP proves itself with, None when none does."""
    return secret(config.broker_http.token_file, "PATROL_BROKER_HTTP_TOKEN")


def may_connect(tx: Connection, name: str, client_id: str, cloud: Iterable[str], now_ms: int) -> tuple[bool, bool]:
    """Whether the holder of a certificate of that common name may connect under a client id; whether it may everything.

    cloud: common names of the cloud's own certificates. A gateway that was given such a name is nobody.
    """
    known = places.gateway_node(tx, name) is not None if rules.is_name(name) else False
    if name in set(cloud):
        return not known, not known
    # A client id names the session, and whoever may choose it may end the session of another.
    if client_id != name:
        return False, False
    standing = enrolment.certificates_in_time(tx, name, now_ms) if known else []
    return rules.may_connect(name, known=known, revoked=standing), False


def due_cuts(tx: Connection, now_ms: int) -> dict[str, list[str]]:
    """The gateways whose session has to be ended now, each with the serial numbers of what was revoked."""
    done = {row.serial: row for row in tx.execute(sa.select(cuts))}
    due: dict[str, list[str]] = {}
    for serial, gateway in sorted(enrolment.refused(tx, now_ms).items()):
        row = done.get(serial)
        if row and (row.times >= rules.CUTS or now_ms - row.cut_at < rules.CUT_AGAIN_MS):
            continue
        if gateway in due or len(due) < MOST_CUTS:
            due.setdefault(gateway, []).append(serial)
    return due


def note_cut(tx: Connection, gateway: str, serials: Iterable[str], now_ms: int) -> None:
    """Remember that a gateway's session was ended for these certificates."""
    insert: Any = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    rows = [{"serial": serial, "gateway": gateway, "cut_at": now_ms, "times": 1} for serial in serials]
    put = insert(cuts).values(rows)
    again = {"cut_at": now_ms, "times": cuts.c.times + 1}
    tx.execute(put.on_conflict_do_update(index_elements=["serial"], set_=again))
