"""Making devices of what is heard, putting other hardware in their place, and the history of both.

Owns `device_steps`. What a gateway serves is its configuration, which `configs` owns; where it belongs is a
place. A device that is replaced keeps its id, and by that its telemetry, its alarms and its history.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from pydantic import ValidationError

from cloud.devices import service as devices
from cloud.devices.configs import service as configs
from cloud.devices.field import discovered
from cloud.devices.field.models import AdoptedView, Adoption, DeviceProgress, Replacement, StepView
from cloud.devices.field.news import tell
from cloud.devices.field.store import device_steps
from cloud.devices.places import known_place
from cloud.devices.placing import Point, place_adopted
from cloud.errors import Conflict, Forbidden, Invalid
from cloud.org import audit
from cloud.org.rules import Permission, Principal, visible
from cloud.paging import at
from cloud.text import clean
from firmware_specs.gateway_file import DeviceConfig

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.devices.models import DeviceView, GatewayView

STEPS_SHOWN: Final = 50


def may_provision(actor: Principal) -> None:
    """Raises Forbidden when the actor's role does not permit work in the field."""
    if not actor.may(Permission.PROVISION):
        raise Forbidden(f"role {actor.role} may not {Permission.PROVISION}")


def adopt(tx: Connection, actor: Principal, gateway: str, given: Adoption, now_ms: int) -> AdoptedView:
    """Put a device into a gateway's configuration, and where it belongs.

    Raises Forbidden, NotFound, Conflict when the gateway has a device of the id, Invalid when it cannot serve it.
    """
    may_provision(actor)
    home = devices.get_gateway(tx, actor, gateway)
    if known_place(tx, gateway, given.device) is not None:
        raise Conflict(f"device {gateway}/{given.device}: there is one already")
    config = _config(
        id=given.device, profile=given.profile, connector=given.connector, address=given.address,
        location=clean(given.location, 256), drill=given.drill,
    )  # fmt: skip
    version = configs.change_devices(tx, actor, gateway, [config], (), now_ms).version
    node = given.node or home.node
    if given.node is not None or given.lat is not None:
        point = None if given.lat is None or given.lon is None else Point(given.lat, given.lon)
        place_adopted(tx, actor, gateway, given.device, node, now_ms, point)
    discovered.forget(tx, gateway, given.connector, given.address)
    _note(tx, actor, home, config, "adopted", version, "", now_ms, node)
    return AdoptedView(
        gateway=gateway, device=given.device, profile=given.profile, connector=given.connector, address=given.address,
        location=config.location, node=node, config_version=version,
    )  # fmt: skip


def replace(  # noqa: PLR0917 - who, what, with what, when
    tx: Connection, actor: Principal, gateway: str, device: str, given: Replacement, now_ms: int
) -> AdoptedView:  # fmt: skip
    """Give a device another address: the same place, other hardware.

    Raises Forbidden, NotFound, Conflict when nothing would change, Invalid when the gateway cannot serve it.
    """
    may_provision(actor)
    home = devices.get_gateway(tx, actor, gateway)
    served = devices.get_device(tx, actor, gateway, device, now_ms)
    had = _wanted(tx, gateway, device) or _config(
        id=device, profile=served.profile, connector=served.connector, address=served.address, location=served.location
    )
    connector = given.connector or had.connector
    if (connector, given.address) == (had.connector, had.address):
        raise Conflict(f"device {gateway}/{device}: has this address already")
    config = _config(**had.model_dump() | {"connector": connector, "address": given.address})
    version = configs.change_devices(tx, actor, gateway, [config], [device], now_ms).version
    discovered.forget(tx, gateway, connector, given.address)
    note = clean(f"{had.connector} {had.address} → {connector} {given.address}. {given.note}".strip(), 1500)
    _note(tx, actor, home, config, "replaced", version, note, now_ms, served.node)
    return AdoptedView(
        gateway=gateway, device=device, profile=config.profile, connector=connector, address=given.address,
        location=config.location, node=served.node, config_version=version,
    )  # fmt: skip


def _wanted(tx: Connection, gateway: str, device: str) -> DeviceConfig | None:
    """A device as the configuration has it that the gateway is to run, which it may not do yet."""
    document = configs.current(tx, gateway)
    tables = tomllib.loads(document.text).get("devices", ()) if document else ()
    return next((_config(**each) for each in tables if each.get("id") == device), None)


def note_gateway(tx: Connection, actor: Principal, gateway: str, note: str, now_ms: int) -> None:
    """Write into a gateway's history that its hardware is another one from now on. Raises NotFound."""
    home = devices.get_gateway(tx, actor, gateway)
    note = clean(note, 1500)
    values = {
        "gateway": gateway, "device": "", "node": home.node, "at": now_ms, "actor": actor.label, "action": "replaced",
        "connector": "", "address": "", "config_version": 0, "note": note,
    }  # fmt: skip
    tx.execute(device_steps.insert().values(values))
    audit.record(tx, actor, "field.replaced", f"gateway/{gateway}", at=now_ms, detail=note)
    tell(tx, gateway, home.node, "replaced", now_ms)


def _config(**values: object) -> DeviceConfig:
    try:
        return DeviceConfig.model_validate(values)
    except ValidationError as e:
        first = e.errors()[0]
        raise Invalid(f"{first['loc'][0] if first['loc'] else 'device'}: {first['msg']}") from e


def _note(  # noqa: PLR0917 - what, by whom, when
    tx: Connection, actor: Principal, home: GatewayView, config: DeviceConfig, action: str, version: int, note: str,
    now_ms: int, node: str,
) -> None:  # fmt: skip
    """Write what was done: the device's history, the audit chain, the stream."""
    values = {
        "gateway": home.id, "device": config.id, "node": node, "at": now_ms, "actor": actor.label, "action": action,
        "connector": config.connector, "address": clean(config.address, 512), "config_version": version, "note": note,
    }  # fmt: skip
    tx.execute(device_steps.insert().values(values))
    said = note or f"{config.profile} {config.connector} {config.address}"
    audit.record(tx, actor, f"field.{action}", f"device/{home.id}/{config.id}", at=now_ms, detail=clean(said, 500))
    tell(tx, home.id, node, action, now_ms, device=config.id)


def history(tx: Connection, principal: Principal, gateway: str, device: str | None = None) -> list[StepView]:
    """What was done with a gateway and its devices, or with one of them, the latest first. Raises NotFound."""
    devices.get_gateway(tx, principal, gateway)
    wanted = sa.select(device_steps).where(device_steps.c.gateway == gateway)
    if device is not None:
        wanted = wanted.where(device_steps.c.device == device)
    rows = tx.execute(wanted.order_by(device_steps.c.id.desc()).limit(STEPS_SHOWN))
    return [
        StepView(
            at=at(row.at), device=row.device, actor=row.actor, action=row.action, connector=row.connector,
            address=row.address, config_version=row.config_version, note=row.note,
        )
        for row in rows
    ]  # fmt: skip


def installed(tx: Connection, gateway: str) -> dict[str, int]:
    """Since when devices have the hardware that they have, as far as that was put in here."""
    c = device_steps.c
    latest = sa.select(c.device, sa.func.max(c.at).label("since")).where(c.gateway == gateway, c.device != "")
    return {row.device: row.since for row in tx.execute(latest.group_by(c.device))}


def progress(tx: Connection, principal: Principal, gateway: str) -> list[DeviceProgress]:
    """How far the devices are that were adopted or replaced last, the latest first. Raises NotFound."""
    running = configs.state(tx, gateway).running_version
    newest: dict[str, StepView] = {}
    for step in history(tx, principal, gateway):
        if step.device:
            newest.setdefault(step.device, step)
    served = devices.devices_by_key(tx, [(gateway, name) for name in newest], 0)
    views = {view.id: view for node, view in served if visible(principal, node)}
    return [_progress_of(step, views.get(name), running) for name, step in newest.items()]


def _progress_of(step: StepView, view: DeviceView | None, running: int) -> DeviceProgress:
    in_force = view is not None and running >= step.config_version and view.address == step.address
    heard = view.last_seen_at if view is not None and in_force else None
    return DeviceProgress(
        device=step.device, profile=view.profile if view else "", location=view.location if view else "",
        address=step.address, config_version=step.config_version, in_force=in_force,
        heard_at=heard if heard and heard >= step.at else None,
    )  # fmt: skip
