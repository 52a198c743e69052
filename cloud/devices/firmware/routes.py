"""The HTTP of device firmware: what each device runs, and how its last order stands."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from cloud.devices.firmware import service
from cloud.devices.firmware.models import FirmwareView  # noqa: TC001 - FastAPI reads annotations
from cloud.org.auth import State, Viewer  # noqa: TC001
from cloud.paging import MAX_LIMIT, Page
from cloud.problems import documented
from firmware_specs.readings import NAME_PATTERN
from firmware_specs.wire_fleet import UpdatePhase  # noqa: TC001

router = APIRouter(tags=["firmware"], responses=documented(401, 403, 422, 503))

Name = Annotated[str, Path(pattern=NAME_PATTERN)]


@router.get("/firmware")
def list_firmware(  # noqa: PLR0917 - one parameter each of the query
    state: State,
    who: Viewer,
    gateway: Annotated[str | None, Query(max_length=64)] = None,
    running: Annotated[str | None, Query(max_length=64)] = None,
    phase: UpdatePhase | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Page[FirmwareView]:
    """Devices of which a firmware version or an order is known, by gateway and device."""
    with state.db.read() as tx:
        return service.list_firmware(
            tx, who, gateway=gateway, running=running, phase=phase, limit=limit, cursor=cursor
        )  # fmt: skip


@router.get("/devices/{gateway}/{device}/firmware", responses=documented(404))
def get_firmware(state: State, who: Viewer, gateway: Name, device: Name) -> FirmwareView:
    """The firmware of one device, and how its last order stands."""
    with state.db.read() as tx:
        return service.get(tx, who, gateway, device)
