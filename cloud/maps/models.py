"""What the API says of the map. Coordinates are on the datum that was asked for."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from typing import Any, Literal

from cloud.devices.models import DeviceState  # noqa: TC001 - pydantic reads it
from cloud.maps.datum import Datum  # noqa: TC001
from cloud.org.tree import Kind  # noqa: TC001
from cloud.paging import View
from firmware_specs.readings import Severity  # noqa: TC001


class MapNode(View):
    """A node with an outline, at the detail of the window."""

    id: int
    path: str
    kind: Kind
    name_zh: str
    name_en: str
    outline: dict[str, Any]


class MapDevices(View):
    """Devices at a point, or within a cell when there are many."""

    lat: float
    lon: float
    count: int
    states: dict[DeviceState, int]
    node: str
    """Where the first of them belongs."""
    gateway: str | None
    """When it is one device."""
    device: str | None


class MapShape(View):
    """A post, a route or an area."""

    kind: Literal["post", "route", "area"]
    id: int
    name_zh: str
    name_en: str
    state: str
    """Of a post: manned, understaffed, unmanned, unknown; of a route: overdue; of an area: gaps; else normal."""
    geometry: dict[str, Any]


class MapIncident(View):
    """An open incident."""

    id: int
    title_zh: str
    title_en: str
    category: str
    severity: Severity
    lat: float
    lon: float
    drill: bool


class MapMember(View):
    """Where a member on shift was last."""

    id: int
    call_sign: str
    lat: float
    lon: float
    accuracy_m: float
    at: datetime


class MapView(View):
    """What lies in a window of the map, within the caller's scope."""

    datum: Datum
    nodes: list[MapNode]
    devices: list[MapDevices]
    clustered: bool
    """Whether devices of different places are drawn as one."""
    shapes: list[MapShape]
    incidents: list[MapIncident]
    members: list[MapMember] | None
    """None when they were not asked for, or may not be seen. The look is recorded for those that are here."""
