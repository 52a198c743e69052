"""What other folders may do with field work: from the claim to the acceptance sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.alerts import silences
from cloud.alerts.ops_models import SilenceBody, SilenceView
from cloud.alerts.rules import Purpose
from cloud.devices import service as devices
from cloud.devices.field.adoption import adopt, history, note_gateway, progress, replace
from cloud.devices.field.discovered import listed as list_discovered
from cloud.devices.field.news import tell
from cloud.devices.field.once import once
from cloud.devices.field.sheets import archived, list_sheets
from cloud.devices.field.sheets import get as get_sheet
from cloud.devices.field.sheets import make as make_sheet
from cloud.devices.field.sheets import sign as sign_sheet
from cloud.devices.field.steps import check
from cloud.devices.field.steps import of as installation
from cloud.devices.field.walks import end as end_walk
from cloud.devices.field.walks import get as get_walk
from cloud.devices.field.walks import held, list_walks
from cloud.devices.field.walks import last_of as last_walk
from cloud.devices.field.walks import mark as mark_device
from cloud.devices.field.walks import show as show_devices
from cloud.devices.field.walks import start as start_walk
from cloud.errors import NotFound

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.devices.field.models import MaintenanceBody
    from cloud.org.rules import Principal

__all__ = [
    "adopt", "archived", "check", "end_maintenance", "end_walk", "get_sheet", "get_walk", "history", "installation",
    "last_walk", "list_discovered", "list_sheets", "list_walks", "maintain", "maintained", "make_sheet", "mark_device",
    "note_gateway", "once", "progress", "replace", "show_devices", "sign_sheet", "start_walk",
]  # fmt: skip


def maintain(tx: Connection, actor: Principal, given: MaintenanceBody, now_ms: int) -> SilenceView:
    """Put a gateway or a device into maintenance that ends by itself. Raises Forbidden, NotFound."""
    home = devices.get_gateway(tx, actor, given.gateway)
    body = SilenceBody(
        purpose=Purpose.MAINTENANCE, gateway=given.gateway, device=given.device, reason=given.reason,
        seconds=given.minutes * 60,
    )  # fmt: skip
    made = silences.add_silence(tx, actor, body, now_ms)
    tell(tx, home.id, home.node, "maintenance", now_ms, device=given.device or "")
    return made


def maintained(tx: Connection, who: Principal, gateway: str, now_ms: int) -> list[SilenceView]:
    """The maintenances in force of a gateway and its devices, but those of a walk test. Raises NotFound."""
    devices.get_gateway(tx, who, gateway)
    return silences.maintained(tx, who, gateway, held(tx, gateway), now_ms)


def end_maintenance(tx: Connection, actor: Principal, gateway: str, silence: int, now_ms: int) -> None:
    """End one of them now; what still stands is told. A repeat changes nothing. Raises Forbidden, NotFound."""
    home = devices.get_gateway(tx, actor, gateway)
    if silences.get_silence(tx, actor, silence, now_ms).gateway != gateway:
        raise NotFound(f"maintenance {silence}: not found")
    silences.end_silence(tx, actor, silence, now_ms)
    tell(tx, home.id, home.node, "maintenance", now_ms)
