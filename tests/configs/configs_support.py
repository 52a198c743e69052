"""What the tests of configuration share: a tree, a gateway in it, texts, and what a gateway tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.devices import service as devices
from cloud.devices.configs import service as configs
from cloud.ingest import hooks
from cloud.ingest.store import outgoing
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.org.tree import Kind
from firmware_specs.wire_fleet import ConfigOrder, ConfigPhase, ConfigState, decode, encode
from tests.cloud.cloud_support import NOW, know

if TYPE_CHECKING:
    from cloud.db import Database

LINE = '[[connectors]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:1883"\n'
LOBBY = '[[devices]]\nid = "lobby"\nprofile = "generic-smoke-senml"\nconnector = "mqtt"\naddress = "s/lobby"\n'
OWN = f"# the box in the lobby\n{LINE}\n{LOBBY}"


def technician(node: str = ROOT) -> Principal:
    return Principal("user", 7, "tech", Role.TECHNICIAN, node)


def town(db: Database, *gateways: str) -> tuple[str, str]:
    """A street with a building; the gateways stand in the building, one more, `gw-far`, at the root."""
    with db.begin() as tx:
        street = tree.add_node(tx, SYSTEM, ROOT, Kind.STREET, ("街", "Street"), now_ms=NOW, code="S").path
        house = tree.add_node(tx, SYSTEM, street, Kind.BUILDING, ("楼", "House"), now_ms=NOW, code="H").path
    know(db, *gateways, "gw-far")
    with db.begin() as tx:
        for gateway in gateways:
            devices.place(tx, SYSTEM, gateway, None, house, NOW)
    return street, house


def propose(db: Database, gateway: str, text: str = OWN, now_ms: int = NOW) -> configs.ConfigDocument:
    with db.begin() as tx:
        return configs.propose(tx, technician(), gateway, text, now_ms)


def ordered(db: Database, gateway: str) -> tuple[ConfigOrder, int] | None:
    """What waits at the broker for a gateway, and which putting of it that is."""
    with db.read() as tx:
        row = tx.execute(
            outgoing.select().where(outgoing.c.gateway == gateway, outgoing.c.rest == "desired/config")
        ).first()
    return (decode(row.payload, ConfigOrder), row.version) if row else None


def tell(
    db: Database, gateway: str, phase: ConfigPhase, document: configs.ConfigDocument, reason: str = "", *,
    now_ms: int = NOW + 1000, running: configs.ConfigDocument | None = None,
) -> None:  # fmt: skip
    """A gateway says how an order stands."""
    runs = running or (document if phase in {ConfigPhase.IN_FORCE, ConfigPhase.TRIAL} else None)
    state = ConfigState(
        phase, document.version, document.hash, reason, now_ms, runs.version if runs else 0, runs.hash if runs else ""
    )
    with db.begin() as tx:
        hooks.DOCUMENTS["reported/config"](tx, gateway, "", encode(state), now_ms)


def state(db: Database, gateway: str, now_ms: int = NOW + 2000) -> configs.ConfigStanding:
    with db.read() as tx:
        return configs.state(tx, gateway, now_ms)
