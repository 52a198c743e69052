"""What other folders may do with the fleet: apply what gateways tell, judge silence, read views."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from cloud.devices.models import DeviceView, GatewayView, StateCounts
    from cloud.org.rules import Principal
    from cloud.paging import Page
    from firmware_specs.readings import Reading
    from firmware_specs.wire import Reported, Status


def apply_readings(tx: Connection, gateway: str, epoch: str, items: Sequence[tuple[int, Reading]], now_ms: int) -> None:
    """Take new readings of one gateway and outbox epoch, each with its sequence number, into the latest values.

    The highest sequence wins, whatever the clocks say. Unknown devices are created with profile "".
    """
    raise NotImplementedError


def heard(tx: Connection, gateway: str, now_ms: int) -> None:
    """The gateway is alive: a pack or a canary came. Renews its lease; brings it back online."""
    raise NotImplementedError


def apply_status(tx: Connection, gateway: str, status: Status, now_ms: int, *, retained: bool = False) -> None:
    """Take a status. `online: false` (the will) puts the gateway offline at once; a retained one proves no life."""
    raise NotImplementedError


def apply_reported(tx: Connection, gateway: str, reported: Reported, now_ms: int) -> None:
    """Take the devices that a gateway serves. The same report again changes nothing."""
    raise NotImplementedError


def known_gateways(tx: Connection) -> set[str]:
    """The gateways whose packs are accepted."""
    raise NotImplementedError


def add_gateway(tx: Connection, actor: Principal, gateway: str, now_ms: int, location: str = "") -> None:
    """Make a gateway known. Raises Conflict when it is, NameRefused when the name cannot be."""
    raise NotImplementedError


def remove_gateway(tx: Connection, actor: Principal, gateway: str, now_ms: int) -> None:
    """Forget a gateway and its devices; telemetry and alarms stay. Raises NotFound."""
    raise NotImplementedError


def list_devices(
    tx: Connection, principal: Principal, now_ms: int, *, gateway: str | None = None, profile: str | None = None,
    search: str | None = None, limit: int = 100, cursor: str | None = None,
) -> Page[DeviceView]:  # fmt: skip
    """Devices within scope, by gateway and id."""
    raise NotImplementedError


def get_device(tx: Connection, principal: Principal, gateway: str, device: str, now_ms: int) -> DeviceView:
    """One device. Raises NotFound when absent or out of scope."""
    raise NotImplementedError


def list_gateways(
    tx: Connection, principal: Principal, *, limit: int = 100, cursor: str | None = None
) -> Page[GatewayView]:
    """Gateways within scope, by id."""
    raise NotImplementedError


def get_gateway(tx: Connection, principal: Principal, gateway: str) -> GatewayView:
    """One gateway. Raises NotFound when absent or out of scope."""
    raise NotImplementedError


def state_counts(tx: Connection, principal: Principal) -> StateCounts:
    """Devices by state and gateways by line, within scope."""
    raise NotImplementedError


def tick(tx: Connection, now_ms: int) -> None:
    """Judge every deadline that is due: gateways not heard, devices silent."""
    raise NotImplementedError
