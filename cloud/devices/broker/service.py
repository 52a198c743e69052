"""What other folders may do with broker: ask who may do what, and what was done about revocations.

Entered in the loop of the worker by `keeping.run`; nothing here touches the broker itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from cloud.db import insert
from cloud.devices import places
from cloud.devices.broker import conf, rules
from cloud.devices.broker.store import cuts
from cloud.devices.enrolment import service as enrolment
from cloud.settings import secret

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sqlalchemy import Connection

    from cloud.config import Config

MOST_CUTS: Final = 200
"""Gateways, and rows that are over, in one pass; the rest are for the next."""


def shared_token(config: Config) -> str | None:
    """What a broker that asks over HTTP proves itself with, None when none does."""
    return secret(config.broker_http.token_file, "PATROL_BROKER_HTTP_TOKEN")


def certificate_files(config: Config) -> dict[str, Path]:
    """The certificates in the folder that is kept for mosquitto, each with a name."""
    kept = config.mosquitto
    if kept is None:
        return {}
    own = {"mosquitto-cloud": kept.dir / conf.CLOUD_CERT} if kept.cloud_tls else {}
    return {"mosquitto": kept.dir / conf.SERVER, **own}


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


class Cuts(NamedTuple):
    """The sessions to end now.

    due: by gateway, the serial numbers of what was revoked. over: those that are not refused any more, or have run out:
    if they are refused again, a session is to be ended again.
    """

    due: dict[str, list[str]]
    over: list[str]


def cuts_at(tx: Connection, now_ms: int) -> Cuts:
    """What is to be done about sessions now."""
    done = {row.serial: row for row in tx.execute(sa.select(cuts))}
    refused = enrolment.refused(tx, now_ms)
    due: dict[str, list[str]] = {}
    for serial, gateway in sorted(refused.items()):
        row = done.get(serial)
        if row and (row.times >= rules.CUTS or 0 <= now_ms - row.cut_at < rules.CUT_AGAIN_MS):
            continue
        if gateway in due or len(due) < MOST_CUTS:
            due.setdefault(gateway, []).append(serial)
    return Cuts(due, sorted(done.keys() - refused.keys())[:MOST_CUTS])


def forget_cuts(tx: Connection, serials: Iterable[str]) -> None:
    """What was done about these certificates is of no interest any more."""
    tx.execute(cuts.delete().where(cuts.c.serial.in_(list(serials))))


def note_cut(tx: Connection, gateway: str, serials: Iterable[str], now_ms: int) -> None:
    """Remember that a gateway's session was ended for these certificates."""
    rows = [{"serial": serial, "gateway": gateway, "cut_at": now_ms, "times": 1} for serial in serials]
    put = insert(tx, cuts).values(rows)
    again = {"cut_at": now_ms, "times": cuts.c.times + 1}
    tx.execute(put.on_conflict_do_update(index_elements=["serial"], set_=again))
