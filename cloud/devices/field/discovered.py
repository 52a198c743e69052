"""What gateways hear and no device has: taken as they tell it, listed for adoption.

Owns the rows of `discovered`. A gateway tells its whole list, so what is not in it is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.db import insert
from cloud.devices import service as devices
from cloud.devices.field.models import DiscoveredView
from cloud.devices.field.news import tell
from cloud.devices.field.store import discovered
from cloud.devices.places import gateway_node, hold
from cloud.ingest import hooks
from cloud.paging import at
from cloud.text import clean, clean_ms
from firmware_specs import wire_fleet

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Principal

SAMPLE: Final = 1024
_KEY: Final = ("gateway", "connector", "address")
_TOLD: Final = ("kind", "profiles", "frames", "first_at", "last_at", "sample")


def take(tx: Connection, gateway: str, _rest: str, payload: bytes, now_ms: int) -> None:
    """Take a gateway's list. Raises PackError. The same list again changes nothing."""
    told = wire_fleet.decode(payload, wire_fleet.Discovered)
    node = gateway_node(tx, gateway)
    if node is None:
        return
    hold(tx, gateway)
    wanted = {
        (clean(each.connector, 64), clean(each.address, 512)): {
            "kind": clean(each.kind, 16), "profiles": ",".join(clean(name, 64) for name in each.profiles[:20]),
            "frames": each.frames, "first_at": clean_ms(each.first_ms), "last_at": clean_ms(each.last_ms),
            "sample": clean(each.sample, SAMPLE),
        }
        for each in told.devices
    }  # fmt: skip
    had = {(row.connector, row.address) for row in tx.execute(_of(gateway))}
    gone = had - wanted.keys()
    if gone:
        address = sa.tuple_(discovered.c.connector, discovered.c.address)
        tx.execute(discovered.delete().where(discovered.c.gateway == gateway, address.in_(sorted(gone))))
    if wanted:
        put = insert(tx, discovered)
        told_anew = {name: put.excluded[name] for name in _TOLD}
        rows = [{"gateway": gateway, **dict(zip(_KEY[1:], key, strict=True)), **wanted[key]} for key in sorted(wanted)]
        tx.execute(put.on_conflict_do_update(index_elements=list(_KEY), set_=told_anew), rows)
    if gone or wanted.keys() - had:
        tell(tx, gateway, node, "discovered", now_ms)


def _of(gateway: str) -> sa.Select[Any]:
    return sa.select(discovered).where(discovered.c.gateway == gateway)


def listed(tx: Connection, principal: Principal, gateway: str) -> list[DiscoveredView]:
    """What a gateway hears and no device has, those that a profile reads first. Raises NotFound."""
    devices.get_gateway(tx, principal, gateway)
    rows = tx.execute(_of(gateway).order_by(discovered.c.last_at.desc(), discovered.c.address)).all()
    found = [
        DiscoveredView(
            connector=row.connector, kind=row.kind, address=row.address,
            profiles=[name for name in row.profiles.split(",") if name], frames=row.frames, first_at=at(row.first_at),
            last_at=at(row.last_at), sample=row.sample,
        )
        for row in rows
    ]  # fmt: skip
    return sorted(found, key=lambda each: not each.profiles)


def forget(tx: Connection, gateway: str, connector: str, address: str) -> None:
    """An address has a device now; the gateway will say so too, a little later."""
    mine = (discovered.c.gateway == gateway, discovered.c.connector == connector, discovered.c.address == address)
    tx.execute(discovered.delete().where(*mine))


hooks.DOCUMENTS["discovered"] = take
