"""What the tests of field work share: a community with a gateway and its detectors, and a gateway that signs."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud import timers
from cloud.alerts import service as alerts
from cloud.devices import service as devices
from cloud.devices.configs import service as configs
from cloud.ingest import hooks
from cloud.ingest.store import outgoing
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.org.tree import Kind
from firmware_specs import wire_fleet
from firmware_specs.fieldwork import statement
from firmware_specs.readings import Clock
from firmware_specs.wire import Reported, ReportedDevice, Status
from firmware_specs.wire_fleet import (
    Command,
    ConfigPhase,
    ConfigState,
    Discovered,
    DiscoveredDevice,
    Result,
    ResultPhase,
)
from tests.cloud.cloud_support import NOW, cleared, know, raised, reading

if TYPE_CHECKING:
    from cloud.alerts.models import AlarmDetail
    from cloud.db import Database

SMOKE = "generic-smoke-senml"
LINE = '[[connectors]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:1883"\ndiscover = ["sensors/#"]\n'
_sequence = itertools.count(1)
ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For pages and paper: what they show is made by services, which are tested on both."""


def technician(node: str = ROOT) -> Principal:
    return Principal("user", 7, "tech", Role.TECHNICIAN, node)


def site(db: Database, *detectors: str, gateway: str = "gw-1", profile: str = SMOKE) -> str:
    """A building with a gateway that serves detectors, online; the building's node."""
    with db.begin() as tx:
        street = tree.add_node(tx, SYSTEM, ROOT, Kind.STREET, ("街", "Street"), now_ms=NOW, code="S").path
        house = tree.add_node(tx, SYSTEM, street, Kind.BUILDING, ("楼", "House"), now_ms=NOW, code="H").path
    know(db, gateway)
    with db.begin() as tx:
        devices.place(tx, SYSTEM, gateway, None, house, NOW)
        devices.apply_status(tx, gateway, Status(True, "0.1", "b", "h", NOW, Clock.SYNCED, "", {}, {}, {}), NOW)
    serve(db, *detectors, gateway=gateway, profile=profile)
    return house


def serve(db: Database, *detectors: str, gateway: str = "gw-1", profile: str = SMOKE, version: int = 1) -> None:
    """The gateway reports that it serves these."""
    served = tuple(
        ReportedDevice(name, profile, "mqtt", f"sensors/{name}", f"building-1/floor-{n // 2 + 1}")
        for n, name in enumerate(detectors)
    )
    with db.begin() as tx:
        devices.apply_reported(tx, gateway, Reported(version, f"h{version}", served, 0), NOW)


def tell_strangers(db: Database, *addresses: str, gateway: str = "gw-1", now: int = NOW) -> None:
    heard = tuple(DiscoveredDevice("mqtt", "mqtt", each, (SMOKE,), 3, now, now, "[]") for each in addresses)
    with db.begin() as tx:
        hooks.DOCUMENTS["discovered"](tx, gateway, "", wire_fleet.encode(Discovered(now, heard)), now)


def configure(db: Database, gateway: str = "gw-1") -> None:
    """Have the cloud want a configuration of a gateway that runs it."""
    with db.begin() as tx:
        document = configs.propose(tx, technician(), gateway, LINE, NOW)
    in_force(db, document.version, document.hash, gateway)


def in_force(db: Database, version: int, config_hash: str, gateway: str = "gw-1", now: int = NOW) -> None:
    told = ConfigState(ConfigPhase.IN_FORCE, version, config_hash, "", now, version, config_hash)
    with db.begin() as tx:
        hooks.DOCUMENTS["reported/config"](tx, gateway, "", wire_fleet.encode(told), now)


def press(db: Database, device: str, now: int, occurrence: str = "", gateway: str = "gw-1") -> None:
    """A detector raises its alarm."""
    event = raised(occurrence or f"o-{device}", device, now - 300)
    with db.begin() as tx:
        alerts.apply_events(tx, gateway, "e1", [(next(_sequence), event)], now)


def release(db: Database, device: str, now: int, occurrence: str = "", gateway: str = "gw-1") -> None:
    """And clears it."""
    event = cleared(occurrence or f"o-{device}", device, now - 300)
    with db.begin() as tx:
        alerts.apply_events(tx, gateway, "e1", [(next(_sequence), event)], now)


def value(  # noqa: PLR0917 - what, when
    db: Database, device: str, metric: str, what: float | bool | str, now: int, gateway: str = "gw-1"
) -> None:  # fmt: skip
    with db.begin() as tx:
        items = [(next(_sequence), reading(device, metric, what, now))]
        devices.apply_readings(tx, gateway, "e1", items, now)


def tick(db: Database, now: int) -> None:
    """Everything that is due, until nothing is."""
    for _ in range(20):
        with db.begin() as tx:
            if not timers.tick(tx, now):
                return


def alarms(db: Database) -> list[AlarmDetail]:
    from cloud.alerts.models import AlarmFilter

    with db.read() as tx:
        listed = alerts.list_alarms(tx, SYSTEM, AlarmFilter()).items
        return [alerts.get_alarm(tx, SYSTEM, each.id) for each in listed]


class SigningGateway:
    """A gateway with a key: it answers the commands that wait for it."""

    def __init__(self, name: str = "gw-1") -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        self.certificate = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(self.key.public_key())
            .serial_number(7).not_valid_before(begin).not_valid_after(begin + dt.timedelta(days=900))
            .sign(self.key, hashes.SHA256())
        )  # fmt: skip

    def waiting(self, db: Database, kind: str) -> list[Command]:
        with db.read() as tx:
            rows = tx.execute(outgoing.select().where(outgoing.c.gateway == self.name)).all()
        found = [
            wire_fleet.decode(row.payload, Command) for row in rows if row.rest.startswith("command/") and row.payload
        ]
        return [each for each in found if each.kind == kind]

    def answer(self, db: Database, command: Command, *parts: str, reason: str = "", now: int = NOW) -> None:
        phase = ResultPhase.FAILED if reason else ResultPhase.DONE
        results = [Result(command.id, ResultPhase.RUNNING, n, text, "", now) for n, text in enumerate(parts)]
        for result in [*results, Result(command.id, phase, len(parts), "", reason, now)]:
            with db.begin() as tx:
                hooks.DOCUMENTS["result"](tx, self.name, command.id, wire_fleet.encode(result), now)

    def signed(self, command: Command, at_ms: int = NOW + 5) -> str:
        said = statement(self.name, command.arguments["sheet"], command.arguments["sha256"], at_ms)
        signature = base64.b64encode(self.key.sign(said, ec.ECDSA(hashes.SHA256()))).decode()
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return msgspec.json.encode({"at_ms": at_ms, "signature": signature, "certificate": pem}).decode()
